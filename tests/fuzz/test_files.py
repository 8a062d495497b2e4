"""Corrupted configs, edges, summaries, rows and pages: one clear error, or sound."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from gala_lab.compare import comparison_plan as plans
from gala_lab.compare.compare_options import CompareOptions
from gala_lab.compare.comparison_plan import Plan, configs_of, record
from gala_lab.compare.comparison_table import markdown
from gala_lab.compare.report import result_of
from gala_lab.compare.run_schedule import EVALUATION
from gala_lab.compare.statistics import bootstrap_interval
from gala_rl.app.preflight import check_evaluation, check_resume
from gala_rl.config import train as configs
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.log import FaultLog, FaultMonitor
from gala_rl.faults.plan import read_plan
from gala_rl.gossip import own_graph, topology
from gala_rl.methods.resolving import resolve
from gala_rl.records.files import write_json
from gala_rl.records.metrics import MetricsReader, learner_rows
from gala_rl.records.run_folder import RunFolder
from tests.fuzz.mutate import both, spoiled_bytes, spoiled_json
from tests.support.comparison_rows import make_run, rows


def refused(call: Callable[[], object]) -> bool:
    """Whether it is refused in one printable line; any other exception is a bug."""
    try:
        call()
    except UserError as error:
        line = str(error)
    else:
        return False
    assert line.isprintable()
    assert len(line) < 2_100
    return True


@both(300, 10_000)
def test_a_config_is_refused_or_can_be_resumed_and_evaluated(
    tmp_path: Path, seed: int, inputs: int
) -> None:
    chance = random.Random(seed)
    folder = RunFolder(tmp_path / "run")
    config = resolve(TrainConfig(env="CartPole-v1", learners=2, steps=400))
    folder.create(replace(config, out=str(folder.path)))
    (folder.checkpoints / "step_000000000200").mkdir()
    whole, count = folder.config_file.read_bytes(), 0
    for _ in range(inputs):
        folder.config_file.write_bytes(spoiled_json(whole, chance))
        if chance.random() < 0.2:
            summary = json.dumps({"elapsed_s": 1.0, "mean_return": None}).encode()
            folder.summary_file.write_bytes(spoiled_json(summary, chance))
        count += refused(lambda: check_resume(folder.path))
        refused(lambda: check_evaluation(folder.path, 1, "mean"))
        if not refused(folder.read_config):
            refused(lambda: folder.record_resume(folder.read_config()))
        folder.summary_file.unlink(missing_ok=True)
    assert inputs / 4 < count < inputs


@both(300, 30_000)
def test_edges_are_refused_or_make_a_graph(tmp_path: Path, seed: int, inputs: int) -> None:
    chance, file, count = random.Random(seed), tmp_path / "edges.json", 0
    for _ in range(inputs):
        file.write_bytes(spoiled_json(b"[[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]]", chance))
        for learners in (1, 4, 5):
            if not refused(lambda n=learners: topology.make(str(file), n)):  # type: ignore[misc]
                graph = topology.make(str(file), learners)
                assert graph.learners == learners
                assert all(
                    0 <= j < learners for i in range(learners) for j in graph.all_in_neighbours(i)
                )
        count += refused(lambda: own_graph.learners_in(str(file)))
    assert inputs / 4 < count < inputs


PLAN = (
    b'{"faults": [{"kind": "kill", "learner": 1, "at_s": 5}, {"kind": "delay", "at_updates": 3, '
    b'"updates": 9, "senders": [0, 1], "receivers": [1], "delay_s": 0.5, "both_ways": true}, '
    b'{"kind": "corrupt", "how": "bits", "at_s": 0, "senders": [0], "receivers": [1]}, '
    b'{"kind": "kill-node", "node": 1, "at_updates": 7}]}'
)


@both(300, 20_000)
def test_a_plan_of_faults_is_refused_or_can_be_followed(
    tmp_path: Path, seed: int, inputs: int
) -> None:
    chance, file, count = random.Random(seed), tmp_path / "faults.json", 0
    for _ in range(inputs):
        file.write_bytes(spoiled_json(PLAN, chance))
        if refused(lambda: read_plan(file)):
            count += 1
            continue
        for fault in read_plan(file):
            assert not fault.is_active(-1, -1.0)
            assert all(learner >= 0 for learner in fault.learners)
    assert inputs / 4 < count < inputs


@both(300, 5_000)
def test_faults_that_are_written_down_are_told(tmp_path: Path, seed: int, inputs: int) -> None:
    chance, file, told = random.Random(seed), tmp_path / "faults.jsonl", 0
    row = {"time": 1.0, "fault": 0, "kind": "cut", "learner": 0, "phase": "end", "updates": 4}
    of_node = {"node" if name == "learner" else name: value for name, value in row.items()}
    whole = [json.dumps(r | {"messages": 5}).encode() for r in (row, of_node)]
    for _ in range(inputs):
        file.write_bytes(b"")
        watch = FaultMonitor(FaultClock(1), file)
        file.write_bytes(spoiled_json(chance.choice(whole), chance) + b"\n")
        told += len(watch.take_notices())
        log = FaultLog(file, 0)
        assert len(log.begun | log.ended) <= 1
        log.close()
    assert 0 < told < inputs


def compared(folder: Path) -> Plan:
    """A comparison of four small runs, as training would have left it."""
    base = TrainConfig(env="CartPole-v1", steps=400, learners=2)
    found = configs_of(base, ["a2c", "gala-a2c"], simulators_total=16)
    options = CompareOptions(seeds=2, threshold=20.0, episodes=1)
    plan = Plan(folder=folder, configs=found, options=options)
    folder.mkdir()
    record(plan)
    for run in plan.runs:
        steps = [200 // run.learners * n for n in (1, 2)]
        own = rows([1.0, 2.0], steps, returns=[[10.0], [30.0] * 100], learners=run.learners)
        make_run(run, [own] * run.learners, complete=True)
        write_json(
            Path(str(run.out)) / EVALUATION,
            {
                "episodes": 1,
                "max_steps": 27_000,
                "results": [{"mean_return": 7.0, "games_cut": 0}],
            },
        )
    return plan


@both(60, 2_000)
def test_pages_of_a_comparison_are_refused_or_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, inputs: int
) -> None:
    report = "gala_lab.compare.report"
    few = partial(bootstrap_interval, resamples=5)
    monkeypatch.setattr(f"{report}.bootstrap_interval", few)
    monkeypatch.setattr(f"{report}.POINTS", 5)
    # It asks git each time.
    told = {"machine": {"cores": 2}, "versions": {"torch": "2"}, "commit": None}
    for module in (report, "gala_lab.compare.comparison_plan", "gala_rl.records.run_folder"):
        monkeypatch.setattr(f"{module}.provenance", lambda: told)
    chance, plan = random.Random(seed), compared(tmp_path / "compared")
    files = [p for p in sorted(plan.folder.rglob("*")) if p.suffix in (".json", ".jsonl")]
    assert len(files) > 10
    result_of(plan)
    plans.check(plan)
    count = 0
    for _ in range(inputs):
        file = chance.choice(files)
        whole = file.read_bytes()
        if file.suffix == ".json":
            file.write_bytes(spoiled_json(whole, chance))
        else:
            lines = whole.splitlines()
            at = chance.randrange(len(lines))
            lines[at] = spoiled_json(lines[at], chance)
            file.write_bytes(b"\n".join(lines) + b"\n")
        count += refused(lambda: json.dumps(markdown(result_of(plan))))
        refused(lambda: plans.check(plan))
        file.write_bytes(whole)
    assert 0 < count < inputs


@both(300, 10_000)
def test_rows_that_come_back_can_be_computed_with(tmp_path: Path, seed: int, inputs: int) -> None:
    chance, file = random.Random(seed), tmp_path / "learner_00.jsonl"
    whole = [json.dumps(row).encode() for row in rows([1.0, 2.0], [10, 20], returns=[[1.0], []])]
    kept = 0
    for _ in range(inputs):
        spoiled = [spoiled_json(line, chance) for line in whole]
        text = b"\n".join([*spoiled, b""])
        file.write_bytes(spoiled_bytes(text, chance) if chance.random() < 0.2 else text)
        reader = MetricsReader(file)
        for row in learner_rows(reader.new_rows() + reader.new_rows()):
            kept += 1
            assert sum(row["episode_returns"]) < float("inf")
            assert f"{row['learner']:02d}".isdigit()
            assert row["agent_steps"] / row["agent_steps_per_s"] >= 0
            assert sum(row["rejected"].values()) + row["updates"] >= 0
            assert row["mean_return"] is None or row["mean_return"] + 1.0 < float("inf")
    assert 0 < kept < 2 * inputs


@pytest.mark.parametrize(
    "content",
    [
        {"algorithm": {"name": []}},
        {"algorithm": {"name": "a2c", "learning_rate": 10**400}},
        {"hang_after": 1e300},
        {"lstm_size": 10**9},
        {"learners": 10**400},
        {"env": "..x:y-v0"},
        {"env": [[[]]] * 1000},
        {"atari": {"image_size": 10**6}},
    ],
)
def test_what_was_found_by_chance_stays_refused(tmp_path: Path, content: object) -> None:
    folder = RunFolder(tmp_path / "run")
    config = resolve(TrainConfig(env="CartPole-v1", learners=2, steps=400))
    folder.create(config)
    (folder.checkpoints / "step_000000000200").mkdir()
    assert isinstance(content, dict)
    write_json(folder.config_file, {"config": configs.to_dict(config) | content})
    assert refused(lambda: check_resume(folder.path))
