"""Runs of Q-learning are summarised, continued, and changed as their variants say."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

import gala_rl
from benchmarks.q_learning import runs
from benchmarks.q_learning.__main__ import main, summary_of
from benchmarks.q_learning.table import table
from benchmarks.q_learning.tasks import PLANS
from benchmarks.q_learning.variants import VARIANTS
from gala_rl.learners.replay_learner import ReplayLearner
from gala_rl.trajectory import Trajectory

CASE = runs.Case(
    task="t",
    name="n",
    method="gala-dqn",
    env="CartPole-v1",
    steps=2_400,
    learners=2,
    settings={"target_every": 8},
)


def test_the_area_weighs_each_value_by_its_agent_steps() -> None:
    points = [
        {"total_agent_steps": 100.0, "mean_return": 10.0},
        {"total_agent_steps": 400.0, "mean_return": 30.0},
    ]
    assert runs.area(points) == (100 * 10 + 300 * 30) / 400


def test_the_last_point_of_a_curve_is_kept() -> None:
    points = [{"total_agent_steps": float(k)} for k in range(7)]
    assert [p["total_agent_steps"] for p in runs.thinned(points, 3)] == [0.0, 2.0, 4.0, 6.0]


def test_runs_on_file_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def train_one(case: runs.Case, seed: int) -> runs.Row:
        made.append(seed)
        return {"task": "t", "name": "n", "seed": seed, "greedy": 1.0 + seed, "auc": 2, "last": 3}

    monkeypatch.setattr(runs, "train_one", train_one)
    for seeds in (1, 3):
        (rows,) = runs.make([CASE], seeds, tmp_path / "runs.jsonl", "abc")
    assert made == [0, 1, 2]
    found = summary_of(CASE, rows)
    assert (found["greedy"]["mean"], found["greedy"]["lowest"]) == (2.0, 1.0)
    _, columns, lines = table({"simulators": 16, "seeds": 3, "games": 20, "cases": [found]})
    assert dict(zip(columns, lines[0], strict=True))["lowest"] == "1.00"


def test_some_cases_of_a_plan_are_written_with_their_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_one(case: runs.Case, seed: int) -> runs.Row:
        scores = {"greedy": 1.0, "auc": 2.0, "last": 3.0}
        return {"task": case.task, "name": case.name, "seed": seed, **scores}

    monkeypatch.setattr(runs, "train_one", train_one)
    given = ["gossip", "--task", "CartPole", "--most-learners", "2", "--seeds", "1"]
    main([*given, "--out", str(tmp_path)])
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    names = [case["name"] for case in result["cases"]]
    assert names[0] == "`dqn`"
    assert len(names) == 4
    command = (tmp_path / "command.txt").read_text(encoding="utf-8")
    assert command.startswith("python -m benchmarks.q_learning gossip --task CartPole ")
    with pytest.raises(SystemExit):
        main(["gossip", "--task", "Chess", "--out", str(tmp_path)])


def test_names_of_a_plan_tell_its_cases_apart() -> None:
    for cases in PLANS.values():
        assert len({(case.task, case.name) for case in cases}) == len(cases)
        assert {case.variant for case in cases} <= VARIANTS.keys()


def test_variants_change_target_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies before and after a mix differ, and neither is a mixed target network."""
    ends: list[Tensor] = []
    for name in ("as it is", "own targets", "mixed targets"):
        learners: list[ReplayLearner] = []
        store = ReplayLearner._store

        def note(
            self: ReplayLearner,
            trajectory: Trajectory,
            seen: list[ReplayLearner] = learners,
            store: Callable[[ReplayLearner, Trajectory], None] = store,
        ) -> None:
            seen.append(self)
            store(self, trajectory)

        with monkeypatch.context() as patch, VARIANTS[name]():
            patch.setattr(ReplayLearner, "_store", note)
            gala_rl.train(CASE.config(0, tmp_path / name), Console(quiet=True))
        ends.append(learners[-1].tensors()["target"])
    for one, other in itertools.combinations(ends, 2):
        assert not torch.equal(one, other)
