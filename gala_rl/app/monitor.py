"""Follows a run's metrics files: feeds the terminal, TensorBoard and the summary."""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch.utils.tensorboard import SummaryWriter

from gala_rl.app.progress import Progress
from gala_rl.config.run import TrainConfig
from gala_rl.errors import StorageError
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.metrics import MetricsReader, RecentGames, Row, learner_rows
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunStatus

_Scalar = tuple[str, float, int, float]
"""Name, value, agent steps of all learners, time."""

_SILENT_S = 60.0
"""A learner that has written no row for so long is left out of the last games of all."""

_PLOTTED = (
    "agent_steps_per_s",
    "mean_return",
    "policy_loss",
    "value_loss",
    "entropy",
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
    "mixed_share",
)


@contextmanager
def event_errors_told_once() -> Iterator[None]:
    """Keep TensorBoard's thread from printing a traceback when the disk is full.

    What stops it is raised again by the next call of its writer, and told from there.
    """
    tell = threading.excepthook

    def tell_others(error: threading.ExceptHookArgs) -> None:
        if not issubclass(error.exc_type, OSError):
            tell(error)

    threading.excepthook = tell_others
    try:
        yield
    finally:
        threading.excepthook = tell


class MetricsMonitor:
    """An observer of a system that reads what its learners wrote.

    Attributes:
        latest: newest row of each learner.
    """

    def __init__(
        self, config: TrainConfig, folder: RunFolder, progress: Progress, start: Checkpoint | None
    ) -> None:
        self._progress = progress
        self._folder = folder
        self._readers: list[MetricsReader] = []
        self._read_files_of(folder.max_learners_so_far(config))
        self._recent = RecentGames()
        self._waiting: list[Row] = []
        self.latest: dict[int, Row] = {}
        self._consensus_time = 0.0
        # Events of work that is done anew are purged. Learners wrote their parts of the checkpoint
        # one after another: rows before theirs that are beyond its steps are plotted again.
        first = None if start is None else start.resumes_at + 1
        self._writer: SummaryWriter | None = self._open(first)
        self._plot(self._take_rows([], first or 0))

    def __call__(self, status: RunStatus) -> None:
        """Look at the run.

        Raises:
            StorageError: when events cannot be written; said once, from then on none are.
        """
        self._read_files_of(len(status.updates))
        self._show(status, [rank for rank, alive in enumerate(status.alive) if alive])

    def _show(self, status: RunStatus, writing: Sequence[int], *, has_ended: bool = False) -> None:
        scalars = self._take_rows(writing) + self._take_consensus(status)
        self._progress.show(status, self.mean_return, self.latest, has_ended=has_ended)
        self._plot(scalars)

    def _open(self, purge_from: int | None) -> SummaryWriter:
        """Open an event file; TensorBoard forgets what earlier ones have from those steps on."""
        return SummaryWriter(str(self._folder.tensorboard), purge_step=purge_from)

    def _purge_from(self, agent_steps: int, scalars: list[_Scalar]) -> None:
        """Plot what came before a learner fell back to a checkpoint; forget what is done anew."""
        self._plot(scalars)
        self._waiting = [r for r in self._waiting if r["total_agent_steps"] < agent_steps]
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
        """Mean raw return of the last full games of all learners."""
        return self._recent.mean

    def close(self, status: RunStatus) -> None:
        """Take the last rows and close the event files.

        Raises:
            StorageError: as when called.
        """
        self._show(status, [], has_ended=True)
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
        """What there is to plot of the consensus watch, if it has looked since the last call."""
        row = status.consensus
        if row is None or row["time"] == self._consensus_time:
            return []
        self._consensus_time = row["time"]
        return [
            (f"all/{name}", row[name], row["total_agent_steps"], row["time"])
            for name in _PLOTTED_OF_ALL
            if row[name] is not None
        ]

    def _read_files_of(self, learners: int) -> None:
        """Learners may join while the run goes on; those that have left keep their rows."""
        for rank in range(len(self._readers), learners):
            self._readers.append(MetricsReader(self._folder.metrics_file(rank)))

    def _known_until(self, writing: Sequence[int]) -> float:
        """Time until which the games of all learners that have told any are known.

        Args:
            writing: learners that go on writing rows; one that is silent is not waited for long.
        """
        newest = max((row["time"] for row in self.latest.values()), default=0.0)
        times = [self.latest[rank]["time"] for rank in writing if rank in self.latest]
        return max(min(times, default=math.inf), newest - _SILENT_S)

    def _take_rows(self, writing: Sequence[int], first: int = 0) -> list[_Scalar]:
        """Read what is new; returns what there is to plot.

        Args:
            writing: learners that go on writing rows.
            first: agent steps of all learners from which on rows are plotted.
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
                self._waiting.append(row)
                if row["total_agent_steps"] < first:
                    continue
                own = {name: row[name] for name in _PLOTTED}
                own["rejected"] = sum(row["rejected"].values())
                scalars += [
                    _scalar(f"learner_{row['learner']:02d}/{name}", value, row)
                    for name, value in own.items()
                    if value is not None
                ]
        # The mean over all learners is that of the time until which all have told their games.
        until = self._known_until(writing)
        ready = [row for row in self._waiting if row["time"] <= until]
        self._waiting = [row for row in self._waiting if row["time"] > until]
        for row in sorted(ready, key=lambda row: row["time"]):
            self._recent.count_until(row["time"])
            if self.mean_return is not None and row["total_agent_steps"] >= first:
                scalars.append(_scalar("all/mean_return", self.mean_return, row))
        return scalars


def _scalar(name: str, value: float, row: Row) -> _Scalar:
    return name, value, row["total_agent_steps"], row["time"]
