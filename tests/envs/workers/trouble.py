"""Simulators in processes that misbehave when a file in a folder says so."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import Transition, WorkerTimeouts, make_simulators
from gala_rl.envs.workers import SimulatorProcesses

PREFIX = "tests.environments:"
TROUBLED, LENGTH = f"{PREFIX}Troubled-v0", 7
DEADLINE_S = 2.0
"""Long enough for a step on a busy machine; tests of silent processes wait for it."""
PATIENT_S = 60.0


@contextmanager
def simulators(
    env_id: str,
    count: int,
    processes: int,
    deadline_s: float = PATIENT_S,
    build_s: float = PATIENT_S,
) -> Iterator[SimulatorProcesses]:
    limits = WorkerTimeouts(deadline_s, build_s)
    made = make_simulators(
        EnvironmentSource(env_id), count, 1, processes=processes, timeouts=limits
    )
    assert isinstance(made, SimulatorProcesses)
    try:
        yield made
    finally:
        made.close()


def steps(made: SimulatorProcesses, count: int) -> list[Transition]:
    return [made.step(np.ones(made.count, dtype=np.int64)) for _ in range(count)]


def check_cut(before: NDArray[np.generic], cut: Transition, rows: list[int]) -> None:
    """One step of Counting in which the simulators of some rows, and no others, were lost."""
    others = [row for row in range(len(before)) if row not in rows]
    np.testing.assert_array_equal(np.flatnonzero(cut.truncated), rows)
    assert not cut.terminated.any()
    assert cut.final_observations is not None
    np.testing.assert_array_equal(cut.final_observations[rows], before[rows])
    np.testing.assert_array_equal(cut.final_observations[others], 0 * before[others])
    np.testing.assert_array_equal(cut.observations[rows], [[0, 0, -1]] * len(rows))
    np.testing.assert_array_equal(cut.observations[others], before[others] + [0, 1, 0])
    np.testing.assert_array_equal(cut.rewards, np.where(cut.truncated, 0, before[:, 1] + 1))


def is_alive(pid: int) -> bool:
    give_up = time.monotonic() + 5.0
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > give_up:
            return True
        time.sleep(0.05)
    return False
