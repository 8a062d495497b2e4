"""Faults of a plan in runs of Q-learning: who is lost comes back, and others learn on."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunStatus
from tests.run.test_q_learning import DQN, make_config, rows_of
from tests.support.run_processes import children, make_local_run
from tests.support.run_records import newest

FAULTS = [
    {"kind": "kill", "learner": 1, "at_updates": 30},
    {"kind": "nan", "learner": 2, "at_updates": 40},
    {"kind": "stop", "learner": 0, "at_updates": 50, "seconds": 0.5},
    {
        "kind": "delay",
        "senders": [2],
        "receivers": [0],
        "at_updates": 20,
        "updates": 10,
        "delay_s": 0.1,
    },
]
"""The poisoned learner's next update fails, though its replay has thousands of other rewards."""


def test_learners_are_killed_poisoned_stopped_and_late(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"faults": FAULTS}), encoding="utf-8")
    config = make_config(replace(DQN, actors=1), learners=3, steps=10**12)
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(replace(config, fault_plan=str(plan)), folder)

    def observe(status: RunStatus) -> None:
        rows = [rows_of(folder, rank) for rank in range(3)]
        is_learning = all(r and r[-1]["gradient_steps"] > 20 for r in rows)
        if is_learning and status.restarts == [0, 1, 1] and min(status.updates) >= 120:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 1, 1]
    assert children() == []
    happened = MetricsReader(folder.faults_file).new_rows()
    begun = {row["kind"]: row for row in happened if row["phase"] == "begin"}
    assert {kind: row["updates"] for kind, row in begun.items()} == {
        "kill": 30,
        "nan": 40,
        "stop": 50,
        "delay": 20,
    }
    saved = newest(folder)
    for rank in saved.learners():
        assert torch.isfinite(saved.load(rank).tensors["parameters"]).all()
        assert rows_of(folder, rank)[-1]["rejected"] == {}
