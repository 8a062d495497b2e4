"""Trainings that are disturbed on purpose: what is computed of them, and short ones for real."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.faults import cut, power_cut
from benchmarks.faults.soak import (
    ENV,
    LEARNERS,
    SIMULATORS,
    deaths,
    fault_soak,
    random_plan,
    returns,
)
from gala_rl.checks.config import check_config
from gala_rl.config.train import TrainConfig
from gala_rl.faults.plan import KINDS, read_plan


def test_random_plans_can_be_run_repeat_and_have_every_kind_that_a_run_survives(
    tmp_path: Path,
) -> None:
    config = TrainConfig(env=ENV, learners=LEARNERS, simulators=SIMULATORS)
    for seed in range(20):
        plan = random_plan(120, 2.0, seed)
        assert plan == random_plan(120, 2.0, seed) != random_plan(120, 2.0, seed + 1)
        file = tmp_path / "plan.json"
        file.write_text(json.dumps(plan), encoding="utf-8")
        check_config(replace(config, fault_plan=str(file)))
        faults = read_plan(file)
        assert {fault.kind for fault in faults} == set(KINDS) - {"disk-full", "kill-node"}
        assert all(0 < (fault.at_s or 0) < 120 for fault in faults)


def test_a_plan_may_be_of_one_kind(tmp_path: Path) -> None:
    plan = random_plan(300, 3.0, 0, ["kill"])
    assert {fault["kind"] for fault in plan["faults"]} == {"kill"}
    assert {fault["learner"] for fault in plan["faults"]} == set(range(LEARNERS))


def test_a_score_is_held_against_nine_tenths_of_those_without_faults() -> None:
    suffered = [{"mean_return": score} for score in (None, 9.0, 7.0, 8.0)]
    undisturbed = [{"mean_return": float(score)} for score in range(1, 40)]
    found = returns(suffered, [*undisturbed, {"mean_return": None}])
    assert found == {"with_faults": 8.0, "fault_free": [2.0, 38.0]}


def test_deaths_are_told_by_how_they_came() -> None:
    log = """
learner 2 died (exit code -9) and is restarted from learner 1
learner 0 gave no sign of life for 30 s: killed
learner 0 died (exit code -9) and is restarted from learner 3
agent steps 10 of 20 (50%) | steps/s 10 | left 0:01
learner 1 died (exit code 1) and is restarted from its own last state
"""
    assert deaths(log) == {"(exit code -9)": 2, "for 30 s": 1, "(exit code 1)": 1}


def test_a_cut_has_healed_when_the_distance_is_one_of_those_before() -> None:
    before = [(t, 1.0 + t % 2) for t in range(30)]
    during = [(30.0 + t, 2.0 + t) for t in range(30)]
    after = [(60.0 + t, max(32.0 - 5 * t, 1.5)) for t in range(30)]
    found = cut.distances([*before, *during, *after], 30.0, 60.0)
    assert found["distance"] == {"before": 1.5, "during": 26.5, "after": 1.5}
    assert found["healed_s"] == 6.0  # 32 - 5 · 6 = 2, the largest before
    assert cut.distances([*before, *during, (61.0, 9.0)], 30.0, 60.0)["healed_s"] is None


def test_a_resume_that_does_not_go_on_from_the_checkpoint_is_seen() -> None:
    before = [[_row(1.0, 5), _row(2.0, 10), _row(3.0, 15)], [_row(1.0, 5), _row(3.0, 10)]]
    made, rate = power_cut.progress(before)
    assert (made, rate) == (250, 75.0)
    went_on = [[*before[0], _row(9.0, 15)], [*before[1], _row(9.0, 10)]]
    assert power_cut.gaps(before, went_on, {0: 12, 1: 9}) == []
    assert power_cut.gaps(before, went_on, {0: 7, 1: 9}) == [
        "learner 0 had 7 updates and went on with 15"
    ]
    assert power_cut.gaps(before, before, {0: 12}) == ["no learner wrote a row after the resume"]


def _row(time_s: float, updates: int) -> dict[str, float]:
    return {"time": time_s, "updates": updates, "agent_steps": 10 * updates}


@pytest.mark.slow
def test_twenty_seconds_of_faults_leave_nothing_behind(tmp_path: Path) -> None:
    found = fault_soak(20, 1.0, 1, tmp_path)
    assert found["problems"] == []
    assert sum(found["faults"].values()) >= 5
    assert sum(found["deaths"].values()) == found["restarts"]
    assert found["returns"]["with_faults"] > 0 < found["returns"]["fault_free"][0]


@pytest.mark.slow
@pytest.mark.parametrize("method", power_cut.METHODS)
def test_a_training_that_is_killed_loses_what_its_newest_checkpoint_has_not(
    tmp_path: Path, method: str
) -> None:
    found = power_cut.power_cut(method, "CartPole-v1", 15.0, tmp_path)
    assert found["problems"] == []
    assert found["saved"] <= found["made"]
