"""The soak with faults: plans of every kind that can be run, and a short one for real."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fault_soak import ENV, LEARNERS, SIMULATORS, fault_soak, random_plan
from gala_rl.config import TrainConfig
from gala_rl.experiment.preflight import check_config
from gala_rl.faults.plan import KINDS, read_plan


def test_random_plans_can_be_run_repeat_and_have_every_kind_but_the_last(tmp_path: Path) -> None:
    config = TrainConfig(env=ENV, learners=LEARNERS, simulators=SIMULATORS)
    for seed in range(20):
        plan = random_plan(120, 2.0, seed)
        assert plan == random_plan(120, 2.0, seed) != random_plan(120, 2.0, seed + 1)
        file = tmp_path / "plan.json"
        file.write_text(json.dumps(plan), encoding="utf-8")
        check_config(replace(config, fault_plan=str(file)))
        faults = read_plan(file)
        assert {fault.kind for fault in faults} == set(KINDS) - {"disk-full"}
        assert all(0 < (fault.at_s or 0) < 120 for fault in faults)


@pytest.mark.slow
def test_twenty_seconds_of_faults_leave_nothing_behind(tmp_path: Path) -> None:
    found = fault_soak(20, 1.0, 1, tmp_path)
    assert found["problems"] == []
    assert sum(found["faults"].values()) >= 5
