"""Observes a run: reads its metrics, calls the caller's hooks, and asks for its end."""

from pathlib import Path

from gala_rl.app.early_stop import why_stop
from gala_rl.app.hooks import HookCaller
from gala_rl.app.monitor import MetricsMonitor
from gala_rl.app.progress import Progress
from gala_rl.config.train import TrainConfig
from gala_rl.errors import StorageError
from gala_rl.records.best import keep_if_better
from gala_rl.records.run_folder import agent_steps_of
from gala_rl.run.status import Request, RunStatus


class RunObserver:
    """Reads a run's metrics and calls its hooks; called as a run's `Observer`.

    Args:
        config: config of the run.
        monitor: reads the metrics.
        hooks: calls the hooks.
        progress: shows why the run is ended.
    """

    def __init__(
        self,
        config: TrainConfig,
        monitor: MetricsMonitor,
        hooks: HookCaller,
        progress: Progress,
    ) -> None:
        self._config, self._monitor, self._hooks, self._progress = config, monitor, hooks, progress
        self._has_told = False
        self._last_steps: int | None = None
        self._cannot_keep = False

    @property
    def stopped_because(self) -> str | None:
        """Why the run was asked to end; None if it was not."""
        return self._hooks.stopped_because

    def __call__(self, status: RunStatus) -> Request | None:
        """Read new rows, show them, pass them to sinks, and call the hooks."""
        self._monitor(status)
        return self._call_hooks(status)

    def close(self, status: RunStatus) -> None:
        """Read the last rows, close the sinks, and call the hooks for what was last."""
        try:
            self._monitor.close(status)
        finally:
            self._call_hooks(status)

    def _call_hooks(self, status: RunStatus) -> Request | None:
        for row in self._monitor.take_rows():
            self._hooks.on_row(row)
        for folder in status.checkpoints:
            # The last checkpoint may be the one before, completed with newer parts.
            if (agent_steps := agent_steps_of(folder)) != self._last_steps:
                self._last_steps = agent_steps
                self._keep_if_best(folder, agent_steps)
                self._hooks.on_checkpoint(folder, agent_steps)
        because = why_stop(self._config, self._monitor.best)
        if because is not None and status.total_agent_steps < self._config.steps:
            self._hooks.stop(because)
        if self.stopped_because is None:
            return None
        if not self._has_told:
            self._has_told = True
            self._progress.print_line(f"stopping: {self.stopped_because}")
        return "stop"

    def _keep_if_best(self, folder: Path, agent_steps: int) -> None:
        """Keep a checkpoint as the best one if the mean return has never been higher."""
        mean_return = self._monitor.best.latest
        if mean_return is None or self._cannot_keep:
            return
        try:
            keep_if_better(folder, mean_return, agent_steps, "training")
        except StorageError as error:
            self._cannot_keep = True
            self._progress.print_line(f"the best checkpoint is no longer kept: {error}")
