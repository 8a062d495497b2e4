"""Simulators in real processes: equal to those in one, stepped, awaited, stopped and closed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import Transition, make_simulators
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.spaces import ActionSpec
from tests.envs.workers.trouble import (
    DEADLINE_S,
    PATIENT_S,
    PREFIX,
    TROUBLED,
    is_alive,
    simulators,
    steps,
)
from tests.support.open_files import open_files


def actions_of(spec: ActionSpec, count: int) -> Iterator[NDArray[np.generic]]:
    generator = np.random.default_rng(0)
    while True:
        if not spec.is_discrete:
            yield generator.normal(size=(count, spec.size)).astype(np.float32)
        elif spec.sizes:
            yield generator.integers(0, spec.sizes, (count, len(spec.sizes)))
        else:
            yield generator.integers(0, spec.size, count)


def check_equal(left: Transition, right: Transition) -> None:
    for name in ("observations", "rewards", "terminated", "truncated", "final_observations"):
        expected, found = getattr(left, name), getattr(right, name)
        assert (expected is None) == (found is None), name
        if expected is not None:
            assert expected.dtype == found.dtype
            np.testing.assert_array_equal(expected, found, name)
    assert left.episodes == right.episodes


@pytest.mark.parametrize(
    "env_id",
    [
        pytest.param("CartPole-v1", marks=pytest.mark.slow),
        pytest.param("FrozenLake-v1", marks=pytest.mark.slow),
        "Pendulum-v1",
        *(f"{PREFIX}{name}-v0" for name in ("Parts", "Stripes", "CountingTruncated", "Breaking")),
    ],
)
def test_trajectories_are_those_of_simulators_in_the_same_process(env_id: str) -> None:
    here = GymnasiumSimulators(EnvironmentSource(env_id), 5)
    with simulators(env_id, 5, 2) as there:
        assert (here.observation, here.action) == (there.observation, there.action)
        actions = actions_of(here.action, 5)
        for seed in (3, 4):
            np.testing.assert_array_equal(here.reset(seed), there.reset(seed))
            for _ in range(210):
                chosen = next(actions)
                check_equal(here.step(chosen), there.step(chosen))
        assert here.failures == there.failures
    here.close()


def test_what_simulators_print_is_no_answer(
    trouble: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for where in ("build", "reset", "step"):
        (trouble / f"{where}-0").write_text("print", encoding="utf-8")
    with simulators(TROUBLED, 2, 2) as made:
        made.reset(0)
        np.testing.assert_array_equal(steps(made, 3)[-1].observations, [[0, 3, 1]] * 2)
        assert made.failures == 0
    assert not list(trouble.iterdir())
    assert len(capfd.readouterr().out) > 1000


def test_atari_games_have_no_processes() -> None:
    with pytest.raises(ValueError, match="simulators of ale step together"):
        make_simulators(EnvironmentSource("PongNoFrameskip-v4"), 1, 1, processes=1)


def test_simulators_that_take_long_to_build_one_after_the_other_are_waited_for(
    trouble: Path,
) -> None:
    """Eight of half a second each, with a limit of three seconds for one."""
    with simulators(f"{PREFIX}SlowInLearners-v0", 8, 1, PATIENT_S, 3.0) as made:
        made.reset(0)
        assert made.failures == 0


def test_a_run_that_was_stopped_finds_nobody_late(trouble: Path) -> None:
    """Stopped in the middle of a step, all of it, for longer than the deadline."""
    script = (
        "import numpy as np\n"
        "from gala_rl.config.environment import EnvironmentSource\n"
        "from gala_rl.envs.workers import WorkerTimeouts, SimulatorProcesses\n"
        "if __name__ == '__main__':\n"
        f"    timeouts = WorkerTimeouts({DEADLINE_S})\n"
        f"    source = EnvironmentSource({PREFIX + 'Slow-v0'!r})\n"
        "    made = SimulatorProcesses(source, 1, 1, timeouts)\n"
        "    made.reset(0)\n"
        "    while True:\n"
        "        made.step(np.zeros(1, dtype=np.int64))\n"
        "        print(made.failures, made.process_ids[0], flush=True)\n"
    )
    file = trouble / "owner.py"
    file.write_text(script, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        [sys.executable, str(file)], stdout=subprocess.PIPE, text=True, env=environment
    ) as owner:
        assert owner.stdout is not None
        worker = int(owner.stdout.readline().split()[1])
        for pid in (worker, owner.pid):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(1.25 * DEADLINE_S)
        for pid in (owner.pid, worker):
            os.kill(pid, signal.SIGCONT)
            # The owner looks at its clock before the answer is there.
            time.sleep(DEADLINE_S / 8)
        lines = [owner.stdout.readline().split() for _ in range(1000)]
        assert {tuple(map(int, line)) for line in lines} == {(0, worker)}
        # No process outlives the owner, however it ends.
        owner.kill()
    assert not is_alive(worker)


def test_many_successors_leave_no_descriptor_open(trouble: Path) -> None:
    with simulators(TROUBLED, 1, 1) as made:
        made.reset(0)
        before = open_files()
        for _ in range(3):
            (trouble / "step-0").write_text("exit", encoding="utf-8")
            steps(made, 2)
        assert made.failures == 3
        assert open_files() == before


def test_closing_leaves_nobody_even_in_the_middle_of_a_step(trouble: Path) -> None:
    with simulators(TROUBLED, 3, 3) as made:
        made.reset(0)
        pids = made.process_ids
        (trouble / "step-1").write_text("hang", encoding="utf-8")
        made.send(np.ones(3, dtype=np.int64))
        os.kill(pids[2], signal.SIGSTOP)
    assert not any(psutil.pid_exists(pid) for pid in pids)
