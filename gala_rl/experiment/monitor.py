"""Follows a run's metrics files: feeds the terminal, TensorBoard and the summary."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from gala_rl.config import TrainConfig
from gala_rl.errors import StorageError
from gala_rl.experiment.compare.curves import kept
from gala_rl.experiment.progress import Progress
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.metrics import RECENT_EPISODES, MetricsReader, mean, of_learners
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.status import Status

_Scalar = tuple[str, float, int, float]
"""Name, value, agent steps of all learners, time."""

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


class Monitor:
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
        self._read_files_of(folder.learners_ever(config))
        self._recent: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.latest: dict[int, dict[str, Any]] = {}
        self._consensus_time = 0.0
        # What a resumed run finds was plotted by the process that wrote it.
        made = [] if start is None else start.manifest["learner_agent_steps"]
        # Whoever had joined since then begins with nothing.
        self._take_rows([*made, *[0] * len(self._readers)])
        self._writer: SummaryWriter | None = SummaryWriter(str(folder.tensorboard))

    def __call__(self, status: Status) -> None:
        """Look at the run.

        Raises:
            StorageError: when events cannot be written; said once, from then on none are.
        """
        self._read_files_of(len(status.updates))
        scalars = self._take_rows() + self._take_consensus(status)
        self._progress.show(status, self.mean_return, self.latest)
        for name, value, agent_steps, time in scalars:
            with self._storage_errors():
                if self._writer is not None:
                    self._writer.add_scalar(name, value, agent_steps, time)

    @property
    def mean_return(self) -> float | None:
        """Mean raw return of the last full games of all learners."""
        return mean(list(self._recent))

    def close(self, status: Status) -> None:
        """Take the last rows and close the event files.

        Raises:
            StorageError: as when called.
        """
        self(status)
        with self._storage_errors():
            if self._writer is not None:
                self._writer.close()

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            raise StorageError(f"events cannot be written ({error.strerror})") from error

    def _take_consensus(self, status: Status) -> list[_Scalar]:
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

    def _take_rows(self, ends: Sequence[int] = ()) -> list[_Scalar]:
        """Read what is new; returns what there is to plot of it.

        Args:
            ends: agent steps from which learners go on; what they had done since then is lost.
        """
        read = [of_learners(reader.new_rows()) for reader in self._readers]
        rows = chain(*(map(kept, read, ends) if ends else read))
        scalars: list[_Scalar] = []
        for row in sorted(rows, key=lambda row: row["time"]):
            self.latest[row["learner"]] = row
            self._recent.extend(row["episode_returns"])
            own = {name: row[name] for name in _PLOTTED}
            own["rejected"] = sum(row["rejected"].values())
            named = {f"learner_{row['learner']:02d}/{name}": own[name] for name in own}
            named["all/mean_return"] = self.mean_return
            scalars += [
                (name, value, row["total_agent_steps"], row["time"])
                for name, value in named.items()
                if value is not None
            ]
        return scalars
