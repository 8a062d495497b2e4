"""Evaluates checkpoints while a run trains, each in a process of its own.

An evaluation that fails or hangs is reported, and never ends the run.
"""

import shutil
import time
from pathlib import Path
from typing import TypedDict

import torch

from gala_rl.app.evaluation_process import EvaluationSpec, run_evaluation
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.cores import usable_cores
from gala_rl.decode import Count, Number, fits
from gala_rl.envs.registration import registry_entries
from gala_rl.errors import StorageError
from gala_rl.gossip.transports.shared import shared_zeros
from gala_rl.processes.supervised import SupervisedProcess
from gala_rl.records.best import keep_if_better, link_files
from gala_rl.records.metrics import MetricsReader, Row
from gala_rl.records.run_folder import RunFolder, agent_steps_of
from gala_rl.run.interrupts import Interrupts

_SHARE = 0.02
"""With `evaluate_every` 0, the part of the cores' time that evaluations take."""
_MAX_FAILURES = 3
"""After so many failures in a row, no evaluation is started any more."""
_LAST_S = 120.0
"""Shortest time limit for the evaluation of the last checkpoint, when learners have ended."""
_POLL_EVERY_S = 0.2
_IMPORTS = "gala_rl.run.fork_server"


class _EvaluationRow(TypedDict):
    """Columns of an evaluation's row that are read again."""

    time: Number
    total_agent_steps: Count
    greedy_mean_return: Number
    sampled_mean_return: Number
    elapsed_s: Number
    cpu_s: Number


class Evaluations:
    """Starts an evaluation when one is due, and reads its result.

    Args:
        config: resolved config of the run.
        folder: folder of the run.
        agent_steps: total agent steps from which the run continues.

    Attributes:
        latest: the newest row; None before the first.
        notices: what has happened, one line each; the reader clears them.
    """

    def __init__(self, config: ResolvedConfig, folder: RunFolder, agent_steps: int) -> None:
        self._config, self._folder = config, folder
        self._reader = MetricsReader(folder.evaluation_file)
        rows = [row for row in self._reader.new_rows() if fits(_EvaluationRow, row)]
        self.latest: Row | None = rows[-1] if rows else None
        self.notices: list[str] = []
        self._copy = folder.checkpoints / ".evaluated"
        self._heartbeat = shared_zeros((1,), torch.int64)
        self._process: SupervisedProcess | None = None
        self._steps = agent_steps
        self._started_at = float("-inf")
        self._failures = 0

    @property
    def _is_off(self) -> bool:
        return self._config.evaluate_every is None or self._failures >= _MAX_FAILURES

    def poll(self, completed: list[Path], total_agent_steps: int) -> tuple[list[Row], bool]:
        """Read a result, and start an evaluation if one is due and there is a new checkpoint.

        Args:
            completed: checkpoints completed since the last call.
            total_agent_steps: agent steps of all learners.

        Returns:
            New rows, and whether a checkpoint is needed now.
        """
        rows = [] if self._process is None else self._collect(self._process)
        if self._is_off or self._process is not None or not self._is_due(total_agent_steps):
            return rows, False
        if not completed:
            return rows, True
        self._start(completed[-1])
        return rows, False

    def finish(self, last: Path | None) -> list[Row]:
        """Wait for the evaluation in progress, and evaluate the run's last checkpoint.

        There is a time limit. Ctrl-C skips the rest.

        Args:
            last: the last checkpoint; None if there is none.
        """
        rows: list[Row] = []
        known_s = 0.0 if self.latest is None else 3.0 * self.latest["elapsed_s"]
        deadline = time.monotonic() + max(_LAST_S, known_s)
        with Interrupts() as interrupts:
            while not interrupts.count:
                if self._process is not None:
                    rows += self._collect(self._process)
                elif self._is_off or last is None or agent_steps_of(last) == self._steps:
                    break
                else:
                    self._start(last)
                if time.monotonic() > deadline:
                    self.notices.append("the last evaluation takes too long: it is given up")
                    break
                time.sleep(_POLL_EVERY_S)
        self.close()
        return rows

    def close(self) -> None:
        """Kill the evaluation in progress, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process = None
        shutil.rmtree(self._copy, ignore_errors=True)

    def _is_due(self, total_agent_steps: int) -> bool:
        every = self._config.evaluate_every or 0
        if total_agent_steps < self._steps + max(every, 1):
            return False
        if every or self.latest is None:
            return True
        pause_s: float = self.latest["cpu_s"] / (_SHARE * usable_cores())
        return time.monotonic() > self._started_at + pause_s

    def _start(self, checkpoint: Path) -> None:
        self._steps, self._started_at = agent_steps_of(checkpoint), time.monotonic()
        try:
            spec = EvaluationSpec(
                self._config,
                self._folder,
                link_files(checkpoint, self._copy),
                self._steps,
                self._heartbeat,
                registry_entries(self._config.env),
            )
            self._process = SupervisedProcess(
                run_evaluation,
                spec,
                "gala-evaluation",
                imports=_IMPORTS,
                timeout_s=self._config.hang_after,
            )
        except OSError as error:
            self._fail(f"cannot be started ({error})")

    def _collect(self, process: SupervisedProcess) -> list[Row]:
        """Return the row of the evaluation in progress, if it has ended."""
        if process.exitcode is None:
            if process.is_hung(int(self._heartbeat[0])):
                self._process = None
                process.kill()
                self._fail(f"gave no sign of life for {process.timeout_s:g} s: killed")
            return []
        self._process = None
        process.release()
        rows = [row for row in self._reader.new_rows() if fits(_EvaluationRow, row)]
        if not rows:
            log = self._folder.evaluation_log.relative_to(self._folder.path)
            self._fail(f"failed (exit code {process.exitcode}): see {log}")
            return []
        self._failures, self.latest = 0, rows[-1]
        self._keep_if_best(rows[-1])
        return rows

    def _keep_if_best(self, row: Row) -> None:
        score, steps = row["greedy_mean_return"], row["total_agent_steps"]
        try:
            keep_if_better(self._copy, score, steps, "evaluation")
        except StorageError as error:
            self.notices.append(f"the best checkpoint was not kept: {error}")

    def _fail(self, how: str) -> None:
        self._failures += 1
        off = self._failures >= _MAX_FAILURES
        end = "; no more evaluations are started" if off else ""
        self.notices.append(f"the evaluation at {self._steps:,} agent steps {how}{end}")
