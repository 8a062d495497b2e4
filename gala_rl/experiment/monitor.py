"""Follows a run's metrics files: feeds the terminal, TensorBoard and the summary."""

from collections import deque
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from gala_rl.config import TrainConfig
from gala_rl.experiment.progress import Progress
from gala_rl.records.metrics import RECENT_EPISODES, MetricsReader, mean
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.status import Status

_PLOTTED = (
    "agent_steps_per_s",
    "mean_return",
    "policy_loss",
    "value_loss",
    "entropy",
    "grad_norm",
    "learning_rate",
    "mixes",
    "staleness_updates",
    "rss_mb",
)


class Monitor:
    """An observer of a system that reads what its learners wrote.

    Attributes:
        latest: newest row of each learner.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder, progress: Progress) -> None:
        self._progress = progress
        learners = range(config.resolved_learners)
        self._readers = [MetricsReader(folder.metrics_file(rank)) for rank in learners]
        self._recent: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.latest: dict[int, dict[str, Any]] = {}
        # What a resumed run finds was plotted by the process that wrote it.
        self._take_rows(None)
        self._writer = SummaryWriter(str(folder.tensorboard))

    def __call__(self, status: Status) -> None:
        """Look at the run."""
        self._take_rows(self._writer)
        self._progress.show(status, self.mean_return, self.latest)

    @property
    def mean_return(self) -> float | None:
        """Mean raw return of the last full games of all learners."""
        return mean(list(self._recent))

    def close(self, status: Status) -> None:
        """Take the last rows and close the event files."""
        self(status)
        self._writer.close()

    def _take_rows(self, writer: SummaryWriter | None) -> None:
        rows = [row for reader in self._readers for row in reader.new_rows()]
        for row in sorted(rows, key=lambda row: row["time"]):
            self.latest[row["learner"]] = row
            self._recent.extend(row["episode_returns"])
            if writer is not None:
                self._plot(writer, row)

    def _plot(self, writer: SummaryWriter, row: dict[str, Any]) -> None:
        own = {name: row[name] for name in _PLOTTED} | {"rejected": sum(row["rejected"].values())}
        scalars = {f"learner_{row['learner']:02d}/{name}": own[name] for name in own}
        scalars["all/mean_return"] = self.mean_return
        for name, value in scalars.items():
            if value is not None:
                writer.add_scalar(name, value, row["total_agent_steps"], row["time"])
