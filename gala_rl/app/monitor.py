"""Reads a run's metrics files during training, for the terminal, sinks, hooks and the summary."""

import math
from collections.abc import Sequence

from gala_rl.app.progress import Progress
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.event_log import EventLog
from gala_rl.records.metrics import BestMean, MetricsReader, RecentGames, Row, learner_rows
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunStatus
from gala_rl.sinks.charts import SILENT_S, Charts
from gala_rl.sinks.threads import Sinks


class MetricsMonitor:
    """Reads the rows that learners write, shows them and passes them to sinks.

    Args:
        config: config of the run.
        folder: folder of the run.
        progress: shows the newest values.
        start: checkpoint from which the run continues, if any.
        sinks: started; they receive rows in the order of their time.

    Attributes:
        latest: newest row per learner.
        best: best mean return of all learners so far, that of earlier attempts included.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        folder: RunFolder,
        progress: Progress,
        start: Checkpoint | None,
        sinks: Sinks,
    ) -> None:
        self._progress = progress
        self._folder = folder
        self._sinks = sinks
        self._charts = Charts()
        self._readers: list[MetricsReader] = []
        self._add_readers(folder.max_learners_so_far(config))
        self._recent = RecentGames()
        self._unsent: list[Row] = []
        self._untaken: list[Row] = []
        self.latest: dict[int, Row] = {}
        self.best = BestMean()
        self._events = EventLog(folder.events_file)
        self._consensus_time = 0.0
        # Parts of a checkpoint are written one after another, so rows before it may be beyond its
        # total steps. Sinks forget those when a run is resumed, and receive them again.
        self._take_rows([], 0 if start is None else start.resumes_at + 1)
        self._untaken.clear()

    def __call__(self, status: RunStatus) -> None:
        """Read new rows, show them and pass them to the sinks.

        Raises:
            StorageError: when the file of events cannot be written.
        """
        self._add_readers(len(status.updates))
        self._read(status, [rank for rank, alive in enumerate(status.alive) if alive])

    @property
    def mean_return(self) -> float | None:
        """Mean raw return of the last full games of all learners; None before the first."""
        return self._recent.mean

    def take_rows(self) -> list[Row]:
        """Return the rows read since the last call, with the numbers of all learners' games.

        `mean_return_all` is the mean raw return of the last 100 full games of all learners, and
        `episodes_all` the number of their full games.
        """
        rows, self._untaken = self._untaken, []
        of_all = {"mean_return_all": self._recent.mean, "episodes_all": self._recent.count}
        return [row | of_all for row in rows]

    def pass_on_evaluation(self, row: Row) -> None:
        """Pass the result of an evaluation to the sinks, and show it from now on."""
        self._sinks.row(self._charts.of_evaluation(row))
        self.show_evaluation(row)

    def show_evaluation(self, row: Row) -> None:
        """Show an evaluation in the progress of the run."""
        self._progress.evaluated = row["greedy_mean_return"]

    def read_last(self, status: RunStatus) -> None:
        """Read the last rows.

        Raises:
            StorageError: as when called.
        """
        self._read(status, [], has_ended=True)

    def close(self) -> None:
        """Close the sinks.

        Raises:
            StorageError: as when called.
        """
        try:
            self._events.close()
        finally:
            self._sinks.close()
            self._show_notices()

    def _read(self, status: RunStatus, writing: Sequence[int], *, has_ended: bool = False) -> None:
        self._take_rows(writing)
        self._take_consensus(status)
        self._progress.show(status, self.mean_return, self.latest, has_ended=has_ended)
        self._show_notices()
        if not has_ended:
            self._events.record(
                status.total_agent_steps, status.notices, status.alive, status.restarts
            )

    def _show_notices(self) -> None:
        for notice in self._sinks.take_notices():
            self._progress.print_line(notice)

    def _take_consensus(self, status: RunStatus) -> None:
        """Pass on the newest distances between learners, if they are new since the last call."""
        row = status.consensus
        if row is not None and row["time"] != self._consensus_time:
            self._consensus_time = row["time"]
            self._sinks.row(self._charts.of_consensus(row))

    def _add_readers(self, learners: int) -> None:
        """Add readers of learners that have joined; readers of former learners remain."""
        for rank in range(len(self._readers), learners):
            self._readers.append(MetricsReader(self._folder.metrics_file(rank)))

    def _known_until(self, writing: Sequence[int]) -> float:
        """Return the time up to which the games of all learners are known.

        Args:
            writing: learners that still write rows; silent ones are waited for briefly.
        """
        newest = max((row["time"] for row in self.latest.values()), default=0.0)
        times = [self.latest[rank]["time"] for rank in writing if rank in self.latest]
        return max(min(times, default=math.inf), newest - SILENT_S)

    def _take_rows(self, writing: Sequence[int], first: int = 0) -> None:
        """Read the new rows, and pass on those up to which all games are known.

        Args:
            writing: learners that still write rows.
            first: total agent steps from which rows are passed on.
        """
        for reader in self._readers:
            for row in learner_rows(reader.new_rows()):
                before = self.latest.get(row["learner"])
                if before is not None and row["agent_steps"] <= before["agent_steps"]:
                    # The learner went back to a checkpoint and repeats steps.
                    self._unsent = [r for r in self._unsent if not _is_repeated(r, row)]
                self.latest[row["learner"]] = row
                self._recent.add(row)
                self._unsent.append(row)
                self._untaken.append(row)
        until = self._known_until(writing)
        ready = [row for row in self._unsent if row["time"] <= until]
        self._unsent = [row for row in self._unsent if row["time"] > until]
        for row in sorted(ready, key=lambda row: row["time"]):
            self._recent.count_until(row["time"])
            self.best.update(self._recent, row["total_agent_steps"])
            scalars = self._charts.of_learner(row, self.mean_return)
            if row["total_agent_steps"] >= first:
                self._sinks.row(scalars)


def _is_repeated(row: Row, later: Row) -> bool:
    """Return whether a row is about steps that its learner has repeated later."""
    is_later: bool = row["agent_steps"] >= later["agent_steps"]
    return is_later and row["learner"] == later["learner"]
