"""Trains the runs of a comparison, each in a process of its own, in turn or side by side."""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Annotated, Any, TypedDict

from rich.console import Console

from gala_lab.compare.plan import Plan, record
from gala_rl.app.game_limit import game_limit
from gala_rl.app.progress import silent_if_unheard
from gala_rl.config.run import TrainConfig
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
"""In the folder of a run: full games with its final parameters."""

_DONE, _FAILED, _CANNOT_WRITE, _INTERRUPTED = 0, 1, 74, 130
"""Exit codes of a run's process."""

_LOOK_EVERY_S = 0.2
_STOP_S = 90.0
"""A run that was asked to stop, or is still stopping from an earlier call, is done by then."""
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


@dataclass
class ComparisonOutcome:
    """How the runs ended.

    Attributes:
        failed: folders of runs that could not be trained.
        interrupted: whether the user stopped it.
    """

    failed: set[str]
    interrupted: bool


def train_all(plan: Plan, console: Console) -> ComparisonOutcome:
    """Train what is not complete.

    Args:
        plan: found right by `plan.check`.
        console: where progress goes.

    Raises:
        UserError: when another process is at the same comparison, or its folder cannot be made.
        StorageError: when something cannot be written; what is complete stays.
    """
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"folder {plan.folder} cannot be written ({error.strerror}): choose another --out"
        ) from error
    with RunFolder(plan.folder).lock():
        waiting = [run for run in plan.runs if not is_done(run, plan.episodes, plan.max_steps)]
        if not waiting:
            return ComparisonOutcome(set(), interrupted=False)
        record(plan)
        return _Schedule(plan, waiting, console).run()


def is_complete(config: TrainConfig) -> bool:
    """Whether the run of that config has spent its budget."""
    made = RunFolder(_folder(config)).checkpointed_agent_steps()
    return made is not None and made >= config.steps


def is_done(config: TrainConfig, episodes: int, max_steps: int | None) -> bool:
    """Whether the run is complete, and evaluated by that many such games if by any."""
    if not is_complete(config):
        return False
    return not episodes or evaluation_of(config, episodes, max_steps) is not None


class _Result(TypedDict):
    mean_return: Number
    games_cut: Count


class _Evaluation(TypedDict):
    results: Annotated[list[_Result], Rule("a list of results", bool)]


def evaluation_of(
    config: TrainConfig, episodes: int, max_steps: int | None
) -> dict[str, Any] | None:
    """The evaluation of a complete run by that many such games, None if there is none."""
    file = _folder(config) / EVALUATION
    if not episodes or not file.is_file():
        return None
    content = read_json(file)
    limit = game_limit(config, max_steps)
    is_same = content.get("episodes") == episodes and content.get("max_steps") == limit
    return content if is_same and fits(_Evaluation, content) else None


def _folder(config: TrainConfig) -> Path:
    assert config.out is not None
    return Path(config.out)


class _Schedule:
    """Starts processes while there is room, until nothing is left or the user stops it."""

    def __init__(self, plan: Plan, waiting: Sequence[TrainConfig], console: Console) -> None:
        self._plan = plan
        self._waiting = list(waiting)
        self._total, self._ended = len(waiting), 0
        self._console = console
        self._running: dict[int, tuple[BaseProcess, TrainConfig]] = {}
        self._failed: set[str] = set()
        self._full_disk = False

    def run(self) -> ComparisonOutcome:
        """Returns when all have ended; leaves no process behind."""
        asked_at: float | None = None
        with Interrupts() as interrupts:
            try:
                while self._running or self._waiting:
                    if asked_at is None and (interrupts.count or self._full_disk):
                        self._ask_to_stop()
                        asked_at = time.monotonic()
                    if asked_at is not None and time.monotonic() - asked_at > _STOP_S:
                        break
                    self._start_some()
                    self._take_what_ended(bool(interrupts.count))
            finally:
                for process, _ in self._running.values():
                    process.kill()
                    process.join()
        if self._full_disk:
            raise StorageError(
                f"{self._plan.folder} cannot be written any more; make room, then call the same "
                f"command again"
            )
        return ComparisonOutcome(self._failed, interrupts.count > 0)

    def _ask_to_stop(self) -> None:
        self._waiting.clear()
        for process, _ in self._running.values():
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGINT)

    def _start_some(self) -> None:
        for place in range(self._plan.at_once):
            if place not in self._running and self._waiting:
                config = self._waiting.pop(0)
                self._running[place] = _start(self._plan, config, place, self._console), config

    def _take_what_ended(self, interrupted: bool) -> None:
        connection.wait([p.sentinel for p, _ in self._running.values()], timeout=_LOOK_EVERY_S)
        for place, (process, config) in list(self._running.items()):
            if process.exitcode is None:
                continue
            del self._running[place]
            self._ended += 1
            self._full_disk |= process.exitcode == _CANNOT_WRITE
            if process.exitcode == _DONE:
                how = _told(config)
            elif interrupted or self._full_disk or process.exitcode == _INTERRUPTED:
                how = "stopped"
            else:
                how = f"failed (exit code {process.exitcode})"
                self._failed.add(str(config.out))
            name = f"{config.method}, seed {config.seed}"
            with silent_if_unheard(self._console):
                self._console.print(
                    f"{self._ended} of {self._total}: {name}: {how}", markup=False, highlight=False
                )


def _told(config: TrainConfig) -> str:
    score = RunFolder(_folder(config)).read_summary().get("mean_return")
    return ("" if score is None else "mean return ") + score_text(score)


def _start(plan: Plan, config: TrainConfig, place: int, console: Console) -> BaseProcess:
    quiet = plan.at_once > 1
    process = multiprocessing.get_context("spawn").Process(
        target=_work,
        args=(
            config,
            (plan.episodes, plan.max_steps),
            _cores(place, plan.at_once),
            console.stderr,
            quiet,
        ),
        name=f"gala-compare-{config.method}-{config.seed}",
    )
    # Blocked until the new process can answer; it would die of one that comes while it starts.
    resource_tracker.ensure_running()  # some versions of Python unblock them in it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def _cores(place: int, at_once: int) -> list[int] | None:
    """The share of the cores of a run beside others; None where there is nothing to share."""
    if at_once == 1 or not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    # A quota may allow fewer than there are.
    share = -(-usable_cores() // at_once)
    return cores[place::at_once][:share] or [cores[place % len(cores)]]


def _work(
    config: TrainConfig,
    games: tuple[int, int | None],
    cores: list[int] | None,
    to_stderr: bool,
    quiet: bool,
) -> None:
    """What runs in a run's process; it stops, with a checkpoint, when its parent is gone."""
    # A Ctrl-C in the terminal is for the parent, which passes it on.
    os.setsid()
    escape_unencodable_output()
    supervisor = os.getppid()
    threading.Thread(target=_stop_without, args=(supervisor,), daemon=True).start()
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if cores is not None:
            os.sched_setaffinity(0, cores)
        code = _train(config, *games, Console(stderr=to_stderr, quiet=quiet))
    except (LearnerFailure, SupervisorFailure, UserError) as error:
        code = _say(config, error, _FAILED)
    except StorageError as error:
        code = _say(config, error, _CANNOT_WRITE)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)


def _stop_without(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGINT)


def _say(config: TrainConfig, error: Exception, code: int) -> int:
    print(f"gala: {config.method}, seed {config.seed}: {error}", file=sys.stderr)  # noqa: T201
    return code


def _train(config: TrainConfig, episodes: int, max_steps: int | None, console: Console) -> int:
    """Begin the run, continue it, or leave it be if it is complete; then evaluate it."""
    from gala_rl.app.evaluate import evaluate
    from gala_rl.app.train import resume, train

    folder = RunFolder(_folder(config))
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
    if not is_done(config, episodes, max_steps):
        result = evaluate(folder.path, episodes=episodes, max_steps=max_steps, console=console)
        if result["interrupted"]:
            _tell_finished(result, console)
            return _INTERRUPTED
        write_json(folder.path / EVALUATION, result)
    return _DONE


def _tell_finished(result: dict[str, Any], console: Console) -> None:
    """Tell of an evaluation that was stopped, whose games the next call plays anew."""
    for row in result["results"]:
        with silent_if_unheard(console):
            console.print(
                f"{len(row['returns'])} of {result['episodes']} games were over: "
                f"mean return {score_text(row['mean_return'])}",
                markup=False,
                highlight=False,
            )


def _wait_until_free(folder: RunFolder) -> None:
    """A run whose comparison was killed takes a moment to stop."""
    give_up = time.monotonic() + _STOP_S
    while True:
        try:
            folder.check_unlocked()
        except UserError:
            if time.monotonic() > give_up:
                raise
            time.sleep(_LOOK_EVERY_S)
        else:
            return
