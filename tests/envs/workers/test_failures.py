"""Simulators in real processes that hang and die: what it costs, and what it must never cost."""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from gala_rl.envs.guard import MAX_FAILURES_IN_A_ROW
from gala_rl.errors import SimulatorFailure
from tests.envs.workers.trouble import (
    DEADLINE_S,
    LENGTH,
    PATIENT_S,
    TROUBLED,
    check_cut,
    is_alive,
    simulators,
    steps,
)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise", "RuntimeError: the simulator broke"),
        ("hang", "in misbehave"),
        pytest.param("exit", "exit code 3", marks=pytest.mark.slow),
        ("sys.exit", "it called sys.exit('enough')"),
        ("SIGSEGV", "Segmentation fault"),
        pytest.param("SIGKILL", "exit code -9", marks=pytest.mark.slow),
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
    is_silent = fault in ("hang", "SIGSTOP")
    with simulators(TROUBLED, 2, 2, DEADLINE_S if is_silent else PATIENT_S) as made:
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
        assert [(e.simulator, e.score) for e in after[-1].episodes] == [(0, 28.0)]
        assert made.failures == 1
    # An exception is logged within its own process.
    assert told in caplog.text + capfd.readouterr().err


def test_a_process_that_is_lost_costs_the_episodes_of_all_its_simulators(trouble: Path) -> None:
    with simulators(TROUBLED, 5, 2) as made:
        made.reset(0)
        before = steps(made, 2)[-1]
        (trouble / "step-2").write_text("exit", encoding="utf-8")
        check_cut(before.observations, steps(made, 1)[0], [2, 3, 4])
        assert made.failures == 3
        # Only the simulator that raises is affected, not those that share its process.
        before = steps(made, 1)[0]
        (trouble / "step-2").write_text("raise", encoding="utf-8")
        check_cut(before.observations, steps(made, 1)[0], [2])
        assert made.failures == 4


@pytest.mark.parametrize("fault", ["raise", "exit", "hang"])
@pytest.mark.parametrize("where", [pytest.param("build", marks=pytest.mark.slow), "reset"])
def test_a_fault_at_a_start_is_tried_again(where: str, fault: str, trouble: Path) -> None:
    # A process takes seconds to start on a busy machine.
    deadline_s = DEADLINE_S if fault == "hang" else PATIENT_S
    build_s = 2 * deadline_s if where == "build" else PATIENT_S
    with simulators(TROUBLED, 2, 2, deadline_s, build_s) as made:
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
    ("where", "fault", "told", "most"),
    [
        ("build", "raise", "RuntimeError: the simulator broke", MAX_FAILURES_IN_A_ROW),
        ("reset", "exit", "exit code 3", 3),
        ("step", "raise", "RuntimeError: the simulator broke", MAX_FAILURES_IN_A_ROW),
        ("step", "SIGSEGV", "Segmentation fault", 3),
        pytest.param("step", "exit", "exit code 3", MAX_FAILURES_IN_A_ROW, marks=pytest.mark.slow),
    ],
)
def test_too_many_failures_in_a_row_end_with_the_last_words(
    where: str, fault: str, told: str, most: int, trouble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is lost is counted here: fewer starts of its successors prove the same."""
    monkeypatch.setattr("gala_rl.envs.workers.simulators.MAX_FAILURES_IN_A_ROW", most)
    with simulators(TROUBLED, 2, 2) as made:
        made.reset(0)
        steps(made, 1)
        (trouble / f"{where}-1").write_text(f"!{fault}", encoding="utf-8")
        (trouble / "step-1").write_text(f"!{fault}", encoding="utf-8")
        with pytest.raises(SimulatorFailure, match=r"simulators 1 to 1 of .* ended") as failure:
            steps(made, most)
        assert told in str(failure.value)
        assert made.failures == most
    assert not made.process_ids


def test_nine_failures_and_a_good_step_are_forgiven(trouble: Path) -> None:
    with simulators(TROUBLED, 1, 1) as made:
        made.reset(0)
        # The last is counted once by who has lost a process, and once within the process.
        for lost_at in (MAX_FAILURES_IN_A_ROW - 2, 0):
            for k in range(MAX_FAILURES_IN_A_ROW - 1):
                fault = "exit" if k == lost_at else "raise"
                (trouble / "step-0").write_text(fault, encoding="utf-8")
                steps(made, 1)
            steps(made, 1)
        assert made.failures == 2 * (MAX_FAILURES_IN_A_ROW - 1)


@pytest.mark.parametrize(("kills", "seed"), [(4, 0), pytest.param(100, 1, marks=pytest.mark.slow)])
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
