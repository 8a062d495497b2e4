"""Preserves the calling program's state, and checks which processes it may start."""

import multiprocessing
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch

from gala_rl.config.train import TrainConfig
from gala_rl.envs.registration import check_sendable, is_defined_in_main
from gala_rl.errors import UserError


@contextmanager
def unchanged_caller() -> Iterator[None]:
    """Use the package's own defaults within a block, and restore the caller's state afterwards.

    The state is PyTorch's process-wide settings (threads, default type and device, gradients),
    the global random generators and the warning filters. Signal handlers and environment variables
    are restored where they are set.
    """
    _open_standard_streams()
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    # This context slows every call to PyTorch, so enter it only where the default differs.
    is_elsewhere = torch.get_default_device().type != "cpu"
    on_cpu = torch.device("cpu") if is_elsewhere else nullcontext()
    torch.set_default_dtype(torch.float32)
    # Training and evaluation set their own threads. A process forked later would lack threads that
    # had built a network here, and wait for them for ever.
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(), torch.enable_grad(), on_cpu:
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def _open_standard_streams() -> None:
    """Open standard streams that are closed, for example by `>&-`, as /dev/null.

    Otherwise the next files that are opened get their descriptors, and everything printed.
    """
    for stream in (0, 1, 2):
        try:
            os.fstat(stream)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def check_may_train(config: TrainConfig) -> None:
    """Raise a UserError if a run needs processes that this process cannot start or supply."""
    if config.cluster is not None and is_defined_in_main(config.source.env):
        raise UserError(
            f"env {config.env!r} is defined in the main program, which other machines do not "
            f"have: register it in a module that all of them have, env='module:{config.env}'"
        )
    if config.cluster is None and not config.serial:
        _check_may_start_processes("serial=True")
        check_sendable(config.source.env)
    if config.evaluate_every is not None:
        _check_may_start_processes("no evaluate_every")
        check_sendable(config.source.env)
    check_may_play(config)


def check_may_play(config: TrainConfig) -> None:
    """Raise a UserError if simulators need processes and this process may not start any."""
    if config.simulator_processes is not None and config.cluster is None:
        _check_may_start_processes("no simulator_processes")
        check_sendable(config.source.env)


def _check_may_start_processes(or_else: str) -> None:
    if multiprocessing.current_process().daemon:
        raise UserError(
            f"this process is a daemon, such as a worker of multiprocessing.Pool, and may not "
            f"start processes of its own: use concurrent.futures.ProcessPoolExecutor, or {or_else}"
        )
