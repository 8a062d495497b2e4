"""Reads a run's metrics files during training, for the terminal, TensorBoard and the summary."""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch.utils.tensorboard import SummaryWriter

from gala_rl.app.progress import Progress
from gala_rl.config.train import TrainConfig
from gala_rl.errors import StorageError
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.event_log import EventLog
from gala_rl.records.metrics import BestMean, MetricsReader, RecentGames, Row, learner_rows
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunStatus

_Scalar = tuple[str, float, int, float]
"""Name, value, total agent steps, time."""

_SILENT_S = 60.0
"""The mean over all learners does not wait for a learner that has written no row for this long."""

_PLOTTED = (
    "agent_steps_per_s",
    "mean_return",
    "policy_loss",
    "value_loss",
    "entropy",
    "q_loss",
    "mean_q",
    "td_error",
    "replay_ratio",
    "sample_age_steps",
    "grad_norm",
    "update_norm",
    "learning_rate",
    "mixes",
    "staleness_updates",
    "rss_mb",
)
_PLOTTED_OF_ALL = (
    "consensus_rms",
    "consensus_span",
    "consensus_rms_bound",
    "consensus_span_bound",
    "consensus_rms_nominal_bound",
    "consensus_rms_independent",
    "gradient_cosine",
    "noise_share",
    "normalizer_gain",
    "mixed_share",
)


@contextmanager
def no_event_tracebacks() -> Iterator[None]:
    """Suppress the traceback that TensorBoard's thread prints when the disk is full.

    The next call of its writer raises the same error, which is then reported.
    """
    original = threading.excepthook

    def ignore_os_errors(error: threading.ExceptHookArgs) -> None:
        if not issubclass(error.exc_type, OSError):
            original(error)

    threading.excepthook = ignore_os_errors
    try:
        yield
    finally:
        threading.excepthook = original


class MetricsMonitor:
    """Reads the rows that learners write, shows and plots them; called as a run's `Observer`.

    Args:
        config: config of the run.
        folder: folder of the run.
        progress: shows the newest values.
        start: checkpoint from which the run continues, if any.

    Attributes:
        latest: newest row per learner.
        best: best mean return of all learners so far, that of earlier attempts included.
    """

    def __init__(
        self, config: TrainConfig, folder: RunFolder, progress: Progress, start: Checkpoint | None
    ) -> None:
        self._progress = progress
        self._folder = folder
        self._readers: list[MetricsReader] = []
        self._add_readers(folder.max_learners_so_far(config))
        self._recent = RecentGames()
        self._uncounted: list[Row] = []
        self._untaken: list[Row] = []
        self.latest: dict[int, Row] = {}
        self.best = BestMean()
        self._events = EventLog(folder.events_file)
        self._consensus_time = 0.0
        # Make TensorBoard forget events of steps that are repeated. Parts of a checkpoint are
        # written one after another, so older rows beyond its total steps have to be plotted again.
        first = None if start is None else start.resumes_at + 1
        self._writer: SummaryWriter | None = self._open(first)
        self._plot(self._take_rows([], first or 0))
        self._untaken.clear()

    def __call__(self, status: RunStatus) -> None:
        """Read new rows, show and plot them.

        Raises:
            StorageError: when events cannot be written; raised once, after which none are written.
        """
        self._add_readers(len(status.updates))
        self._read(status, [rank for rank, alive in enumerate(status.alive) if alive])

    def _read(self, status: RunStatus, writing: Sequence[int], *, has_ended: bool = False) -> None:
        scalars = self._take_rows(writing) + self._take_consensus(status)
        self._progress.show(status, self.mean_return, self.latest, has_ended=has_ended)
        if not has_ended:
            self._events.record(
                status.total_agent_steps, status.notices, status.alive, status.restarts
            )
        self._plot(scalars)

    def _open(self, purge_from: int | None) -> SummaryWriter:
        """Open an event file; TensorBoard forgets events of earlier files from these steps on."""
        return SummaryWriter(str(self._folder.tensorboard), purge_step=purge_from)

    def _purge_from(self, agent_steps: int, scalars: list[_Scalar]) -> None:
        """Plot events before a learner went back to a checkpoint; purge those of repeated steps."""
        self._plot(scalars)
        self._uncounted = [r for r in self._uncounted if r["total_agent_steps"] < agent_steps]
        with self._storage_errors():
            if self._writer is not None:
                self._writer.close()
                self._writer = self._open(agent_steps)

    def _plot(self, scalars: list[_Scalar]) -> None:
        for name, value, agent_steps, time in scalars:
            with self._storage_errors():
                if self._writer is not None:
                    self._writer.add_scalar(name, value, agent_steps, time)

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

    def close(self, status: RunStatus) -> None:
        """Read the last rows and close the event files.

        Raises:
            StorageError: as when called.
        """
        self._read(status, [], has_ended=True)
        self._events.close()
        with self._storage_errors():
            if self._writer is not None:
                self._writer.close()

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            where = self._folder.tensorboard
            raise StorageError(f"events in {where} cannot be written ({error.strerror})") from error

    def _take_consensus(self, status: RunStatus) -> list[_Scalar]:
        """Return the newest distances between learners, if they are new since the last call."""
        row = status.consensus
        if row is None or row["time"] == self._consensus_time:
            return []
        self._consensus_time = row["time"]
        return [
            (f"all/{name}", row[name], row["total_agent_steps"], row["time"])
            for name in _PLOTTED_OF_ALL
            if row[name] is not None
        ]

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
        return max(min(times, default=math.inf), newest - _SILENT_S)

    def _take_rows(self, writing: Sequence[int], first: int = 0) -> list[_Scalar]:
        """Read the new rows; return the scalars to plot.

        Args:
            writing: learners that still write rows.
            first: total agent steps from which rows are plotted.
        """
        scalars: list[_Scalar] = []
        for reader in self._readers:
            for row in learner_rows(reader.new_rows()):
                before = self.latest.get(row["learner"])
                if before is not None and row["agent_steps"] <= before["agent_steps"]:
                    self._purge_from(row["total_agent_steps"], scalars)
                    scalars = []
                self.latest[row["learner"]] = row
                self._recent.add(row)
                self._uncounted.append(row)
                self._untaken.append(row)
                if row["total_agent_steps"] < first:
                    continue
                own = {name: row[name] for name in _PLOTTED if name in row}
                own["rejected"] = sum(row["rejected"].values())
                scalars += [
                    _scalar(f"learner_{row['learner']:02d}/{name}", value, row)
                    for name, value in own.items()
                    if value is not None
                ]
        # The mean over all learners is computed only up to times at which all games are known.
        until = self._known_until(writing)
        ready = [row for row in self._uncounted if row["time"] <= until]
        self._uncounted = [row for row in self._uncounted if row["time"] > until]
        for row in sorted(ready, key=lambda row: row["time"]):
            self._recent.count_until(row["time"])
            self.best.update(self._recent, row["total_agent_steps"])
            if self.mean_return is not None and row["total_agent_steps"] >= first:
                scalars.append(_scalar("all/mean_return", self.mean_return, row))
        return scalars


def _scalar(name: str, value: float, row: Row) -> _Scalar:
    return name, value, row["total_agent_steps"], row["time"]
