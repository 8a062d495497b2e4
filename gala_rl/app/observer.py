"""Observes a run: reads its metrics, calls the caller's hooks, and asks for its end."""

from pathlib import Path

from gala_rl.app.early_stop import why_stop
from gala_rl.app.evaluations import Evaluations
from gala_rl.app.hooks import HookCaller
from gala_rl.app.monitor import MetricsMonitor
from gala_rl.app.progress import Progress
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import StorageError
from gala_rl.records.best import keep_if_better
from gala_rl.records.metrics import Row
from gala_rl.records.run_folder import agent_steps_of
from gala_rl.run.status import Request, RunOutcome, RunStatus


class RunObserver:
    """Reads a run's metrics and calls its hooks; called as a run's `Observer`.

    Args:
        config: config of the run.
        monitor: reads the metrics.
        hooks: calls the hooks.
        evaluations: evaluates checkpoints.
        progress: shows why the run is ended.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        monitor: MetricsMonitor,
        hooks: HookCaller,
        evaluations: Evaluations,
        progress: Progress,
    ) -> None:
        self._config, self._monitor, self._hooks, self._progress = config, monitor, hooks, progress
        self._evaluations = evaluations
        if evaluations.latest is not None:
            monitor.show_evaluation(evaluations.latest)
        self._last_checkpoint: Path | None = None
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
        rows, needs_checkpoint = self._evaluations.poll(
            status.checkpoints, status.total_agent_steps
        )
        self._show_evaluations(rows)
        self._call_hooks(status)
        if self.stopped_because is not None:
            return "stop"
        return "checkpoint" if needs_checkpoint else None

    def finish(self, outcome: RunOutcome) -> None:
        """Do what is left at the end: read the last rows and call the hooks.

        The last checkpoint is evaluated, unless something has cut the run short.

        Raises:
            StorageError: when events cannot be written.
        """
        is_cut_short = outcome.interrupted or outcome.failure is not None
        self._monitor.read_last(outcome.status)
        self._call_hooks(outcome.status)
        if not is_cut_short and self._hooks.error is None:
            self._show_evaluations(self._evaluations.finish(self._last_checkpoint))

    def _show_evaluations(self, rows: list[Row]) -> None:
        for row in rows:
            self._monitor.pass_on_evaluation(row)
        for notice in self._evaluations.notices:
            self._progress.print_line(notice)
        self._evaluations.notices.clear()

    def _call_hooks(self, status: RunStatus) -> None:
        for row in self._monitor.take_rows():
            self._hooks.on_row(row)
        for folder in status.checkpoints:
            self._last_checkpoint = folder
            # The last checkpoint may be the one before, completed with newer parts.
            if (agent_steps := agent_steps_of(folder)) != self._last_steps:
                self._last_steps = agent_steps
                self._keep_if_best(folder, agent_steps)
                self._hooks.on_checkpoint(folder, agent_steps)
        because = why_stop(self._config, self._monitor.best)
        if because is not None and status.total_agent_steps < self._config.steps:
            self._hooks.stop(because)
        if self.stopped_because is not None and not self._has_told:
            self._has_told = True
            self._progress.print_line(f"stopping: {self.stopped_because}")

    def _keep_if_best(self, folder: Path, agent_steps: int) -> None:
        """Keep a checkpoint as the best one if the mean return has never been higher."""
        mean_return = self._monitor.best.latest
        by_evaluation = self._config.evaluate_every is not None
        if mean_return is None or by_evaluation or self._cannot_keep:
            return
        try:
            keep_if_better(folder, mean_return, agent_steps, "training")
        except StorageError as error:
            self._cannot_keep = True
            self._progress.print_line(f"the best checkpoint is no longer kept: {error}")
