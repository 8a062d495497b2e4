"""Trains the runs of a comparison, each in a process of its own, in turn or side by side."""

import ctypes
import multiprocessing
import os
import shutil
import signal
import sys
import time
from multiprocessing import connection, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Annotated, Any, TypedDict

from rich.console import Console

from gala_lab.compare.compare_options import CompareOptions
from gala_lab.compare.comparison_plan import Plan, record
from gala_lab.compare.variants import folder_name
from gala_rl.app.game_limit import game_limit
from gala_rl.app.progress import quiet_on_errors
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.cores import usable_cores
from gala_rl.decode import Count, Number, Rule, fits
from gala_rl.errors import (
    LearnerFailure,
    StorageError,
    SupervisorFailure,
    UserError,
    escape_unencodable_output,
)
from gala_rl.records.files import read_json, write_json
from gala_rl.records.metrics import score_text
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.interrupts import Interrupts

EVALUATION = "evaluation.json"
"""File in the folder of a run: full games with its final parameters."""

_DONE, _FAILED, _CANNOT_WRITE, _INTERRUPTED = 0, 1, 74, 130
"""Exit codes of a run's process."""

_POLL_S = 0.2
_STOP_S = 90.0
"""Time in which a run that was asked to stop, now or by an earlier call, has to be done."""
_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_PR_SET_PDEATHSIG = 1


def train_all(plan: Plan, console: Console) -> bool:
    """Train all runs that are not complete.

    Args:
        plan: checked.
        console: where progress goes.

    Returns:
        Whether the user stopped it.

    Raises:
        UserError: when another process is at the same comparison, or its folder cannot be made.
        StorageError: when a file cannot be written; complete runs remain.
    """
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"folder {plan.folder} cannot be written ({error.strerror}): choose another --out"
        ) from error
    with RunFolder(plan.folder).lock():
        waiting: list[ResolvedConfig] = [run for run in plan.runs if not is_done(run, plan.options)]
        if not waiting:
            return False
        record(plan)
        return _Schedule(plan, waiting, console).run()


def is_complete(config: ResolvedConfig) -> bool:
    """Return whether the run of that config has spent its budget."""
    made = _folder(config).checkpointed_agent_steps()
    return made is not None and made >= config.steps


def is_done(config: ResolvedConfig, options: CompareOptions) -> bool:
    """Return whether the run is complete, and evaluated if requested."""
    return is_complete(config) and (
        not options.episodes or evaluation_of(config, options) is not None
    )


class _Result(TypedDict):
    mean_return: Number
    games_cut: Count


class _Evaluation(TypedDict):
    results: Annotated[list[_Result], Rule("a list of results", bool)]


def evaluation_of(config: ResolvedConfig, options: CompareOptions) -> dict[str, Any] | None:
    """Return the evaluation of a complete run as the options ask for it; None if there is none."""
    file = _folder(config).path / EVALUATION
    if not options.episodes or not file.is_file():
        return None
    content = read_json(file)
    asked = (options.episodes, game_limit(config, options.max_steps))
    is_same = (content.get("episodes"), content.get("max_steps")) == asked
    return content if is_same and fits(_Evaluation, content) else None


def _folder(config: ResolvedConfig) -> RunFolder:
    assert config.out is not None
    return RunFolder(Path(config.out))


class _Schedule:
    """Starts processes while there is room, until nothing is left or the user stops it."""

    def __init__(self, plan: Plan, waiting: list[ResolvedConfig], console: Console) -> None:
        self._plan, self._waiting, self._console = plan, waiting, console
        self._total, self._ended = len(waiting), 0
        self._running: dict[int, tuple[BaseProcess, ResolvedConfig]] = {}
        self._is_disk_full = False

    def run(self) -> bool:
        """Return when all have ended, whether the user stopped it; leave no process behind."""
        stop_at: float | None = None
        with Interrupts() as interrupts:
            try:
                while self._running or self._waiting:
                    if stop_at is None and (interrupts.count or self._is_disk_full):
                        self._ask_to_stop()
                        stop_at = time.monotonic() + _STOP_S
                    if stop_at is not None and time.monotonic() > stop_at:
                        break
                    self._start_some()
                    self._report_ended(bool(interrupts.count))
            finally:
                for process, _ in self._running.values():
                    process.kill()
                    process.join()
        if self._is_disk_full:
            raise StorageError(
                f"{self._plan.folder} cannot be written any more; make room, then repeat the "
                f"command"
            )
        return interrupts.count > 0

    def _ask_to_stop(self) -> None:
        self._waiting.clear()
        for process, _ in self._running.values():
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGINT)

    def _start_some(self) -> None:
        for slot in range(self._plan.options.at_once):
            if slot not in self._running and self._waiting:
                config = self._waiting.pop(0)
                process = _start(self._plan.options, config, slot, self._console.stderr)
                self._running[slot] = process, config

    def _report_ended(self, is_interrupted: bool) -> None:
        connection.wait([p.sentinel for p, _ in self._running.values()], timeout=_POLL_S)
        for slot, (process, config) in list(self._running.items()):
            if process.exitcode is None:
                continue
            del self._running[slot]
            self._ended += 1
            self._is_disk_full |= process.exitcode == _CANNOT_WRITE
            if process.exitcode == _DONE:
                score = _folder(config).read_summary().get("mean_return")
                how = ("" if score is None else "mean return ") + score_text(score)
            elif is_interrupted or self._is_disk_full or process.exitcode == _INTERRUPTED:
                how = "stopped"
            else:
                how = f"failed (exit code {process.exitcode})"
            _print(self._console, f"{self._ended} of {self._total}: {_named(config)}: {how}")


def _named(config: ResolvedConfig) -> str:
    """Return the method, with settings of its own as the run's folder has them, and the seed."""
    folder = Path(str(config.out)).name.removesuffix(f"-seed-{config.seed}")
    own = folder.removeprefix(folder_name(config.method)).removeprefix("_")
    return f"{config.method}{f' ({own})' if own else ''}, seed {config.seed}"


def _print(console: Console, line: str) -> None:
    with quiet_on_errors(console):
        console.print(line, markup=False, highlight=False)


def _start(
    options: CompareOptions, config: ResolvedConfig, slot: int, to_stderr: bool
) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(
        target=_work,
        args=(config, options, _cores(slot, options.at_once), to_stderr, os.getpid()),
        name=f"gala-compare-{config.method}-{config.seed}",
    )
    # Blocked until the new process can answer: a signal that came while it starts would kill it.
    resource_tracker.ensure_running()  # some versions of Python unblock them in it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def _cores(slot: int, at_once: int) -> list[int] | None:
    """Return a run's share of the cores; None where there is nothing to share."""
    if at_once == 1:
        return None
    cores = sorted(os.sched_getaffinity(0))
    # A quota may allow fewer than there are.
    share = -(-usable_cores() // at_once)
    return cores[slot::at_once][:share] or [cores[slot % len(cores)]]


def _work(
    config: ResolvedConfig,
    options: CompareOptions,
    cores: list[int] | None,
    to_stderr: bool,
    parent: int,
) -> None:
    """Run in a run's process; it stops, with a checkpoint, when its parent is gone."""
    # A Ctrl-C in the terminal is for the parent, which passes it on.
    os.setsid()
    escape_unencodable_output()
    # The kernel asks this process to stop if its parent dies, even by SIGKILL.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if os.getppid() != parent:
            raise KeyboardInterrupt
        if cores is not None:
            os.sched_setaffinity(0, cores)
        code = _train(config, options, Console(stderr=to_stderr, quiet=options.at_once > 1))
    except (LearnerFailure, StorageError, SupervisorFailure, UserError) as error:
        code = _CANNOT_WRITE if isinstance(error, StorageError) else _FAILED
        print(f"gala: {_named(config)}: {error}", file=sys.stderr)  # noqa: T201
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)


def _train(config: ResolvedConfig, options: CompareOptions, console: Console) -> int:
    """Begin or continue the run unless it is complete; then evaluate it. Return an exit code."""
    from gala_rl.app.evaluate import evaluate
    from gala_rl.app.train import resume, train

    folder = _folder(config)
    _wait_until_free(folder)
    if not is_complete(config):
        if folder.checkpointed_agent_steps() is not None:
            summary = resume(folder.path, console=console)
        else:
            if folder.path.exists():
                shutil.rmtree(folder.path)
            summary = train(config, console)
        if summary["interrupted"]:
            return _INTERRUPTED
    if not is_done(config, options):
        result = evaluate(
            folder.path, episodes=options.episodes, max_steps=options.max_steps, console=console
        )
        if result["interrupted"]:
            # The next call plays these games anew.
            for row in result["results"]:
                _print(
                    console,
                    f"{len(row['returns'])} of {result['episodes']} games were over: "
                    f"mean return {score_text(row['mean_return'])}",
                )
            return _INTERRUPTED
        write_json(folder.path / EVALUATION, result)
    return _DONE


def _wait_until_free(folder: RunFolder) -> None:
    """Wait for a run of an earlier call, which takes a moment to stop when that was killed."""
    give_up_at = time.monotonic() + _STOP_S
    while True:
        try:
            folder.check_unlocked()
        except UserError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(_POLL_S)
        else:
            return
