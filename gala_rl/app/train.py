"""Trains and resumes runs: from a config to a finished run folder."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from gala_rl.agent import InitialParameters, initial_parameters_of
from gala_rl.app.caller import check_may_train, unchanged_caller
from gala_rl.app.evaluations import Evaluations
from gala_rl.app.hooks import HookCaller, Hooks, OnCheckpoint, OnRow
from gala_rl.app.initial import Initial
from gala_rl.app.monitor import MetricsMonitor
from gala_rl.app.observer import RunObserver
from gala_rl.app.policies import open_selected
from gala_rl.app.preflight import check_resume, check_start
from gala_rl.app.progress import Progress
from gala_rl.app.replays import replay_lines
from gala_rl.app.summary import summary_of
from gala_rl.checks.checkpoint import check_checkpoint
from gala_rl.checks.shared_memory import check_shared_memory
from gala_rl.config import train as configs
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.envs import preserve_working_directory
from gala_rl.errors import LearnerFailure, StorageError, SupervisorFailure, UserError, counted
from gala_rl.records import scale_request
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.files import write_json
from gala_rl.records.rewind import rewind
from gala_rl.records.run_folder import RunFolder, default_run_folder
from gala_rl.records.selection import NEWEST, make_newest
from gala_rl.run.learner_process import refuse_to_start_a_run
from gala_rl.run.local import LocalRun
from gala_rl.run.serial import run_serial
from gala_rl.run.status import Observer, RunOutcome
from gala_rl.sinks.named import make_sinks
from gala_rl.sinks.sink import Sink
from gala_rl.sinks.threads import Sinks

if TYPE_CHECKING:
    from gala_rl.cluster.connection import Connection

_NO_HOOKS = Hooks()


@unchanged_caller()
def train(
    config: TrainConfig,
    console: Console | None = None,
    *,
    on_row: OnRow | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    sinks: Sequence[Sink] = (),
) -> dict[str, Any]:
    """Start a run and train to its end.

    Hooks are called in this process and thread. A learner does not wait for them, unless the run is
    serial, but progress, checkpoints and restarts do.

    Args:
        config: config of the run.
        console: console for progress; default: standard output.
        on_row: called with each metrics row of a learner; returns "stop" to end the run.
        on_checkpoint: called with the folder and the agent steps of each complete checkpoint;
            returns "stop" to end the run.
        sinks: receive metrics, besides TensorBoard and those of `config.log`; see `Sink`.

    Returns:
        The summary, as in `summary.json`.

    Raises:
        UserError: when the config cannot be run, and nothing has been written; or when the main
            program, which learners import, makes this call without a guard.
        LearnerFailure: when a learner died too often; a checkpoint has been saved.
        StorageError: when the folder cannot be written, for example because the disk is full.
        SupervisorFailure: when the system denies a resource, such as a file; a checkpoint has been
            saved if possible.
        Exception: whatever a hook raises, once the run has ended with a checkpoint.
    """
    refuse_to_start_a_run()
    hooks = Hooks(on_row, on_checkpoint, sinks)
    hooks.check()
    return train_checked(check_start(config), console, hooks)


@unchanged_caller()
def train_checked(
    config: ResolvedConfig, console: Console | None = None, hooks: Hooks = _NO_HOOKS
) -> dict[str, Any]:
    """Start a run as `train` does, with a config that `check_start` has returned."""
    refuse_to_start_a_run()
    check_may_train(config)
    initial = initial_parameters_of(config)
    size = initial.parameters.numel()
    check_shared_memory(config, size)
    start = None if config.init_from is None else Initial(config, size)
    if start is not None:
        initial = initial._replace(parameters=start.tensors["parameters"])
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = RunFolder(Path(config.out or default_run_folder(config, stamp)))
    with cluster_of(config) as connection:
        config = config if connection is None else connection.config
        folder.create(config)
        with folder.lock():
            try:
                if start is not None:
                    start.write(folder)
                return _run(config, folder, initial, None, console or Console(), connection, hooks)
            except UserError:
                # Nothing is lost yet, and the corrected program needs an unused folder.
                if folder.checkpointed_agent_steps() is None and not folder.earlier.exists():
                    shutil.rmtree(folder.path)
                raise


@unchanged_caller()
def resume(
    run: str | Path,
    steps: int | None = None,
    console: Console | None = None,
    *,
    changes: Mapping[str, Any] = MappingProxyType({}),
    checkpoint: str | int = NEWEST,
    on_row: OnRow | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    sinks: Sequence[Sink] = (),
) -> dict[str, Any]:
    """Continue a run from its newest undamaged checkpoint, or from another one.

    Args:
        run: folder of the run.
        steps: new total of agent steps; default: as before.
        console: console for progress; default: standard output.
        changes: new values of settings by name, such as `{"learning_rate": 1e-4}`.
        checkpoint: "newest", "best", or agent steps of one of the run's checkpoints. Later ones are
            moved into the folder `earlier`.
        on_row: as in `train`; called with new rows only.
        on_checkpoint: as in `train`.
        sinks: as in `train`.

    Returns:
        The summary.

    Raises:
        UserError: when there is nothing to continue, or a setting cannot change.
        LearnerFailure: as `train`.
        StorageError: as `train`.
        SupervisorFailure: as `train`.
        Exception: as `train`.
    """
    refuse_to_start_a_run()
    hooks = Hooks(on_row, on_checkpoint, sinks)
    hooks.check()
    if steps is not None:
        changes = {**changes, "steps": steps}
    return resume_checked(
        run, check_resume(run, changes, checkpoint), console, hooks, checkpoint=checkpoint
    )


@unchanged_caller()
def resume_checked(
    run: str | Path,
    config: ResolvedConfig,
    console: Console | None = None,
    hooks: Hooks = _NO_HOOKS,
    *,
    checkpoint: str | int = NEWEST,
) -> dict[str, Any]:
    """Continue a run as `resume` does, with a config that `check_resume` has returned."""
    refuse_to_start_a_run()
    check_may_train(config)
    folder = RunFolder(Path(run))
    start = open_selected(folder.path.absolute(), checkpoint)
    # `gala scale` waits only while a run is being trained, so this request is stale.
    scale_request.withdraw(folder)
    initial = initial_parameters_of(config)
    size = initial.parameters.numel()
    check_checkpoint(start, config, size, _device_here(config))
    check_shared_memory(config, size)
    with cluster_of(config) as connection, folder.lock():
        if checkpoint != NEWEST:
            make_newest(folder, checkpoint)
            start = open_selected(folder.path.absolute())
        folder.record_resume(config)
        rewind(folder, start)
        return _run(config, folder, initial, start, console or Console(), connection, hooks)


def cluster_of(config: ResolvedConfig) -> AbstractContextManager["Connection | None"]:
    """Return the connection to a config's cluster, if any; Ray is imported only then.

    Raises:
        UserError: when it is not installed.
    """
    if config.cluster is None:
        return nullcontext()
    try:
        from gala_rl.cluster.connection import connect
    except ModuleNotFoundError as error:
        raise UserError(f"cluster {config.cluster!r} needs Ray: pip install 'ray>=2.52'") from error
    return connect(config)


def _device_here(config: ResolvedConfig) -> torch.device:
    """Return this machine's device for the run: the CPU if the learners are on a cluster."""
    return resolve_device(config if config.cluster is None else replace(config, device="cpu"))


def _run(
    config: ResolvedConfig,
    folder: RunFolder,
    initial: InitialParameters,
    start: Checkpoint | None,
    console: Console,
    connection: "Connection | None",
    hooks: Hooks,
) -> dict[str, Any]:
    # Absolute, since simulators may change the working directory.
    absolute = RunFolder(folder.path.absolute())
    config = absolute.with_own_files(config)
    done_before = 0 if start is None else start.agent_steps
    frames_per_step = initial.frames_per_step
    where = (
        str(_device_here(config)) if connection is None else counted(len(connection.nodes), "node")
    )
    progress = Progress(config, frames_per_step, done_before, console)
    progress.print_line(
        f"{config.method} on {config.env}: {counted(config.learners, 'learner')} x "
        f"{counted(config.simulators, 'simulator')} on {where}, "
        f"{initial.parameter_count:,} parameters, run in {folder.path}"
    )
    for line in replay_lines(config, start):
        progress.print_line(line)
    started = time.monotonic()
    caller = HookCaller(hooks)
    try:
        with (
            progress,
            preserve_working_directory(),
            closing(Evaluations(config, absolute, done_before)) as evaluations,
        ):
            sinks = _start_sinks(config, absolute, start, hooks.sinks)
            with closing(MetricsMonitor(config, absolute, progress, start, sinks)) as monitor:
                observer = RunObserver(config, monitor, caller, evaluations, progress)
                outcome = _runner(config, absolute, initial, start, connection)(observer)
                elapsed = time.monotonic() - started
                # The failure that ended the run may occur again here; report it only once.
                repeated = (OSError, StorageError) if outcome.failure is not None else ()
                with suppress(*repeated):
                    observer.finish(outcome)
        summary = summary_of(config, folder, outcome, monitor, caller, frames_per_step)
        summary["agent_steps_per_s"] = (summary["agent_steps"] - done_before) / elapsed
        summary["elapsed_s"] = folder.read_summary().get("elapsed_s", 0.0) + elapsed
        write_json(folder.summary_file, summary)
        if outcome.failure is not None:
            raise outcome.failure
    except (LearnerFailure, StorageError, SupervisorFailure) as error:
        if not folder.exists:  # It was deleted: there is nothing to continue from.
            raise
        way = "make room, then" if isinstance(error, StorageError) else "go on with"
        raise type(error)(f"{error}; {way}: {folder.command_to_continue()}") from error
    if caller.error is not None:
        caller.error.add_note(f"the run has ended; go on with: {folder.command_to_continue()}")
        raise caller.error
    return summary


def _start_sinks(
    config: ResolvedConfig, folder: RunFolder, start: Checkpoint | None, own: Sequence[Sink]
) -> Sinks:
    """Start TensorBoard, the sinks of --log and the caller's own."""
    repeated_from = None if start is None else start.resumes_at + 1
    sinks = Sinks(make_sinks(config, folder, repeated_from, own))
    sinks.start(configs.to_dict(config) | {"out": str(folder.path)})
    return sinks


def _runner(
    config: ResolvedConfig,
    folder: RunFolder,
    initial: InitialParameters,
    start: Checkpoint | None,
    connection: "Connection | None",
) -> Callable[[Observer], RunOutcome]:
    """Start the learners, unless the run is serial; return the function that supervises them."""
    device = _device_here(config)
    if config.serial:
        return partial(run_serial, config, folder, device, initial, start)
    if connection is None:
        return LocalRun(config, folder, device, initial, start).run
    from gala_rl.cluster.driver import ClusterRun

    return ClusterRun(connection, folder, initial, start).run


def resolve_device(config: ResolvedConfig) -> torch.device:
    """Return the device that `config.device` means on this machine.

    Raises:
        UserError: when PyTorch cannot use it.
    """
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' is not usable by this PyTorch: choose --device cpu")
    return torch.device(config.device)
