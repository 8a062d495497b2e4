"""Simulators in real processes that hang and die: what it costs, and what it must never cost."""

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from gala_rl.config.settings import AtariProtocol
from gala_rl.envs import Transition, WorkerTimeouts, make_simulators
from gala_rl.envs.guard import MAX_FAILURES_IN_A_ROW
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.envs.workers import SimulatorProcesses
from gala_rl.errors import SimulatorFailure
from gala_rl.spaces import ActionSpec

PREFIX = "tests.environments:"
TROUBLED, LENGTH = f"{PREFIX}Troubled-v0", 7
DEADLINE_S = 2.0
"""Long enough for a step on a busy machine; tests of silent processes wait for it."""
PATIENT_S = 60.0
GIVE_UP_S = 120.0


@contextmanager
def simulators(
    env_id: str,
    count: int,
    processes: int,
    deadline_s: float = PATIENT_S,
    build_s: float = PATIENT_S,
) -> Iterator[SimulatorProcesses]:
    limits = WorkerTimeouts(deadline_s, build_s)
    made = make_simulators(env_id, count, 1, AtariProtocol(), processes=processes, timeouts=limits)
    assert isinstance(made, SimulatorProcesses)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TROUBLE", str(tmp_path))
    return tmp_path


def steps(made: SimulatorProcesses, count: int) -> list[Transition]:
    return [made.step(np.ones(made.count, dtype=np.int64)) for _ in range(count)]


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
        "CartPole-v1",
        "FrozenLake-v1",
        "Pendulum-v1",
        *(f"{PREFIX}{name}-v0" for name in ("Parts", "Stripes", "CountingTruncated", "Breaking")),
    ],
)
def test_trajectories_are_those_of_simulators_in_the_same_process(env_id: str) -> None:
    here = GymnasiumSimulators(env_id, 5)
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


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise", "RuntimeError: the simulator broke"),
        ("hang", "in misbehave"),
        ("exit", "exit code 3"),
        ("sys.exit", "it called sys.exit('enough')"),
        ("SIGSEGV", "Segmentation fault"),
        ("SIGKILL", "exit code -9"),
        ("SIGSTOP", "is silent"),
    ],
)
def test_a_fault_costs_one_episode_and_nobody_else_a_step(
    fault: str,
    told: str,
    trouble: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with simulators(TROUBLED, 3, 3, DEADLINE_S) as made:
        made.reset(0)
        before = steps(made, 3)[-1]
        assert made.failures == 0
        (trouble / "step-1").write_text(fault, encoding="utf-8")
        pids = made.process_ids
        (cut,) = steps(made, 1)
        check_cut(before.observations, cut, [1])
        assert [(e.simulator, e.score, e.agent_steps) for e in cut.episodes] == [(1, 6.0, 4)]
        assert made.failures == 1
        replaced = set(pids) - set(made.process_ids)
        assert len(replaced) == (0 if fault in ("raise", "sys.exit") else 1)
        assert not any(psutil.pid_exists(pid) for pid in replaced)
        after = steps(made, 3)
        np.testing.assert_array_equal(after[-1].observations[1], [0, 3, 1])
        assert [(e.simulator, e.score) for e in after[-1].episodes] == [(0, 28.0), (2, 28.0)]
        assert made.failures == 1
    # What raises within its process is told there.
    assert told in caplog.text + capfd.readouterr().err


def test_a_process_that_is_lost_costs_the_episodes_of_all_its_simulators(trouble: Path) -> None:
    with simulators(TROUBLED, 5, 2) as made:
        made.reset(0)
        before = steps(made, 2)[-1]
        (trouble / "step-2").write_text("exit", encoding="utf-8")
        check_cut(before.observations, steps(made, 1)[0], [2, 3, 4])
        assert made.failures == 3
        # Who raises is alone, whoever shares its process.
        before = steps(made, 1)[0]
        (trouble / "step-2").write_text("raise", encoding="utf-8")
        check_cut(before.observations, steps(made, 1)[0], [2])
        assert made.failures == 4


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


@pytest.mark.parametrize("fault", ["raise", "exit", "hang"])
@pytest.mark.parametrize("where", [pytest.param("build", marks=pytest.mark.slow), "reset"])
def test_a_fault_at_a_start_is_tried_again(where: str, fault: str, trouble: Path) -> None:
    with simulators(TROUBLED, 2, 2, DEADLINE_S, 2 * DEADLINE_S) as made:
        (trouble / f"{where}-1").write_text(fault, encoding="utf-8")
        np.testing.assert_array_equal(made.reset(0), [[0, 0, -1]] * 2)
        assert made.failures == 1
        before = steps(made, 1)[0]
        # And again at the start of a successor.
        (trouble / f"{where}-1").write_text(fault, encoding="utf-8")
        (trouble / "step-1").write_text("exit", encoding="utf-8")
        check_cut(before.observations, steps(made, 1)[0], [1])
        assert made.failures == 3


def test_a_simulator_whose_constructor_raises_at_its_rebuild_is_built_once_more(
    trouble: Path,
) -> None:
    with simulators(TROUBLED, 2, 1) as made:
        made.reset(0)
        before = steps(made, 1)[0]
        pids = made.process_ids
        for where in ("step", "build", "reset"):
            (trouble / f"{where}-0").write_text("raise", encoding="utf-8")
        check_cut(before.observations, steps(made, 1)[0], [0])
        assert (made.failures, made.process_ids) == (3, pids)


@pytest.mark.parametrize(
    ("where", "fault", "told"),
    [
        ("build", "raise", "RuntimeError: the simulator broke"),
        ("reset", "exit", "exit code 3"),
        ("step", "raise", "RuntimeError: the simulator broke"),
        ("step", "SIGSEGV", "Segmentation fault"),
    ],
)
def test_ten_failures_in_a_row_end_with_the_last_words(
    where: str, fault: str, told: str, trouble: Path
) -> None:
    with simulators(TROUBLED, 2, 2) as made:
        made.reset(0)
        steps(made, 1)
        (trouble / f"{where}-1").write_text(f"!{fault}", encoding="utf-8")
        (trouble / "step-1").write_text(f"!{fault}", encoding="utf-8")
        with pytest.raises(SimulatorFailure, match=r"simulators 1 to 1 of .* ended") as failure:
            steps(made, MAX_FAILURES_IN_A_ROW)
        assert told in str(failure.value)
        assert made.failures == MAX_FAILURES_IN_A_ROW
    assert not made.process_ids


def test_nine_failures_and_a_good_step_are_forgiven(trouble: Path) -> None:
    with simulators(TROUBLED, 1, 1) as made:
        made.reset(0)
        for _ in range(2):
            for k in range(MAX_FAILURES_IN_A_ROW - 1):
                (trouble / "step-0").write_text("raise" if k % 2 else "exit", encoding="utf-8")
                steps(made, 1)
            steps(made, 1)
        assert made.failures == 2 * (MAX_FAILURES_IN_A_ROW - 1)


@pytest.mark.parametrize(("kills", "seed"), [(8, 0), pytest.param(100, 1, marks=pytest.mark.slow)])
def test_processes_killed_at_any_moment_leave_every_seam_whole(
    kills: int, seed: int, trouble: Path
) -> None:
    moments = random.Random(seed)
    with simulators(TROUBLED, 4, 3) as made:
        observations, lost = made.reset(0), 0
        for _ in range(kills):
            for k in range(moments.randrange(2, 20)):
                made.send(np.ones(4, dtype=np.int64))
                if not k:
                    time.sleep(moments.random() * 2e-3)
                    os.kill(moments.choice(made.process_ids), signal.SIGKILL)
                transition = made.recv()
                cut, over = transition.truncated, observations[:, 1] + 1 == LENGTH
                assert (transition.terminated == (over & ~cut)).all()
                assert (transition.rewards == np.where(cut, 0, observations[:, 1] + 1)).all()
                if cut.any():
                    assert transition.final_observations is not None
                    assert (transition.final_observations[cut] == observations[cut]).all()
                begun = cut | over
                assert (transition.observations[begun, 1] == 0).all()
                assert (transition.observations[~begun, 1] == observations[~begun, 1] + 1).all()
                observations = transition.observations
                lost += int(cut.sum())
        # A kill after the answer was found out at the next step.
        assert made.failures == lost
        assert kills <= lost <= 2 * kills


def test_silent_processes_are_waited_for_together_and_their_games_end_with_them(
    trouble: Path,
) -> None:
    with simulators(TROUBLED, 3, 3, DEADLINE_S) as made:
        made.reset(0)
        before = steps(made, 1)[0]
        os.kill(made.process_ids[0], signal.SIGSTOP)
        (trouble / "step-2").write_text("hang with a game", encoding="utf-8")
        check_cut(before.observations, steps(made, 1)[0], [0, 2])
        assert made.failures == 2
        game = int((trouble / "game").read_text(encoding="utf-8"))
        assert not is_alive(game)


def is_alive(pid: int) -> bool:
    give_up = time.monotonic() + 5.0
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > give_up:
            return True
        time.sleep(0.05)
    return False


def test_a_run_that_was_stopped_finds_nobody_late(trouble: Path) -> None:
    """Stopped in the middle of a step, all of it, for longer than the deadline."""
    script = (
        "import numpy as np\n"
        "from gala_rl.envs.workers import WorkerTimeouts, SimulatorProcesses\n"
        "if __name__ == '__main__':\n"
        f"    timeouts = WorkerTimeouts({DEADLINE_S})\n"
        f"    made = SimulatorProcesses({PREFIX + 'Slow-v0'!r}, 1, 1, timeouts)\n"
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
        time.sleep(2 * DEADLINE_S)
        for pid in (owner.pid, worker):
            os.kill(pid, signal.SIGCONT)
            # The owner looks at its clock before the answer is there.
            time.sleep(DEADLINE_S / 8)
        lines = [owner.stdout.readline().split() for _ in range(1000)]
        assert {tuple(map(int, line)) for line in lines} == {(0, worker)}
        # And nobody outlives the owner, however it ends.
        owner.kill()
    assert not is_alive(worker)


def test_many_successors_leave_no_descriptor_open(trouble: Path) -> None:
    with simulators(TROUBLED, 1, 1) as made:
        made.reset(0)
        before = psutil.Process().num_fds()
        for _ in range(6):
            (trouble / "step-0").write_text("exit", encoding="utf-8")
            steps(made, 2)
        assert made.failures == 6
        assert psutil.Process().num_fds() == before


def test_closing_leaves_nobody_even_in_the_middle_of_a_step(trouble: Path) -> None:
    with simulators(TROUBLED, 3, 3) as made:
        made.reset(0)
        pids = made.process_ids
        (trouble / "step-1").write_text("hang", encoding="utf-8")
        made.send(np.ones(3, dtype=np.int64))
        os.kill(pids[2], signal.SIGSTOP)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_their_state_is_neither_saved_nor_restored() -> None:
    with simulators(f"{PREFIX}Drifting-v0", 1, 1) as made:
        assert made.get_state() is None
        with pytest.raises(ValueError, match="no saved state"):
            made.set_state({})


def test_atari_games_have_no_processes() -> None:
    with pytest.raises(ValueError, match="C\\+\\+ threads step Atari games"):
        make_simulators("PongNoFrameskip-v4", 1, 1, AtariProtocol(), processes=1)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def test_simulators_that_take_long_to_build_one_after_the_other_are_waited_for(
    trouble: Path,
) -> None:
    """Twelve of half a second each, with a limit of four seconds for one."""
    with simulators(f"{PREFIX}SlowInLearners-v0", 12, 1, PATIENT_S, 4.0) as made:
        made.reset(0)
        assert made.failures == 0
