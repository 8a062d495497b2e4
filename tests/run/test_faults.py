"""Faults that a plan asks for, in real runs: they happen as it says, and others go on."""

import json
import signal
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
import torch

from gala_lab.main import main
from gala_rl.agent import Agent, initial_parameters_of
from gala_rl.app.train import resume, train
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.settings import GossipSettings
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.inject import LearnerFaults
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run import consensus_monitor
from gala_rl.run.serial import run_serial
from gala_rl.run.status import RunOutcome, RunStatus
from tests.support.run_processes import CONFIG, children, make_local_run, pid_of
from tests.support.run_records import newest

Row = dict[str, Any]


def plan(path: Path, *faults: Row) -> str:
    file = path / "plan.json"
    file.write_text(json.dumps({"faults": faults}), encoding="utf-8")
    return str(file)


def rows(folder: RunFolder) -> list[Row]:
    return MetricsReader(folder.faults_file).new_rows()


def phases(folder: RunFolder) -> list[tuple[str, int, str]]:
    return [(row["kind"], row["learner"], row["phase"]) for row in rows(folder)]


def metrics(folder: RunFolder, rank: int) -> Row:
    return MetricsReader(folder.metrics_file(rank)).new_rows()[-1]


def saved_parameters(folder: RunFolder) -> torch.Tensor:
    saved = newest(folder)
    return torch.stack([saved.load(rank).tensors["parameters"] for rank in saved.learners()])


def run_until(
    tmp_path: Path, config: ResolvedConfig, enough: Callable[[RunStatus], bool], *faults: Row
) -> tuple[RunFolder, RunOutcome, list[str]]:
    """Run with these faults until the status suffices; return what was logged."""
    folder, notices = RunFolder(tmp_path / "run"), list[str]()
    system = make_local_run(replace(config, fault_plan=plan(tmp_path, *faults)), folder)

    def observe(status: RunStatus) -> None:
        notices.extend(status.notices)
        if enough(status):
            system.stop()

    outcome = system.run(observe)
    assert children() == []
    return folder, outcome, notices


@pytest.mark.parametrize(
    "method",
    [
        "gala-a2c",
        *(pytest.param(m, marks=pytest.mark.slow) for m in ("a2c-allreduce", "a2c-async")),
    ],
)
@pytest.mark.parametrize("kind", ["kill", "nan"])
def test_who_is_killed_or_poisoned_comes_back_once_and_harms_nobody(
    tmp_path: Path, method: str, kind: str
) -> None:
    folder, outcome, notices = run_until(
        tmp_path,
        replace(CONFIG, method=method),
        lambda status: status.restarts[1] > 0 and min(status.updates) >= 120,
        {"kind": kind, "learner": 1, "at_updates": 50},
    )
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 1, 0]
    (row,) = rows(folder)
    assert (row["fault"], row["kind"], row["learner"], row["phase"]) == (0, kind, 1, "begin")
    assert (row["updates"], row["agent_steps"]) == (50, 50 * CONFIG.update_agent_steps)
    assert f"fault 0: {kind}, learner 1 after 50 updates" in notices
    assert all(metrics(folder, rank)["rejected"] == {} for rank in range(3))
    assert torch.isfinite(saved_parameters(folder)).all()


def test_who_is_stopped_is_continued_and_others_go_on_meanwhile(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    fault = {"kind": "stop", "learner": 1, "at_updates": 50, "seconds": 2}
    system = make_local_run(replace(CONFIG, fault_plan=plan(tmp_path, fault)), folder)
    stopped: list[list[int]] = []

    def observe(status: RunStatus) -> None:
        if stopped and status.updates[1] > 50:
            system.stop()
        elif psutil.Process(pid_of(system, 1)).status() == psutil.STATUS_STOPPED:
            stopped.append(status.updates)

    assert system.run(observe).status.restarts == [0, 0, 0]
    assert {updates[1] for updates in stopped} == {50}
    assert all(stopped[0][rank] < stopped[-1][rank] for rank in (0, 2))
    begin, end = rows(folder)
    assert (begin["phase"], end["phase"]) == ("begin", "end")
    assert begin["updates"] == end["updates"] == 50


@pytest.mark.slow
def test_halves_that_are_cut_off_drift_apart_and_agree_again_once_healed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consensus_monitor, "_SAMPLE_EVERY_S", 0.05)
    monkeypatch.setattr(consensus_monitor, "_CPU_SHARE", 1.0)
    gossip = GossipSettings(topology="undirected-ring", when="any")
    cut = {"kind": "cut", "senders": [0, 1], "receivers": [2, 3], "both_ways": True}
    folder, _, _ = run_until(
        tmp_path,
        replace(CONFIG, learners=4, gossip=gossip),
        lambda status: min(status.updates) >= 900,
        {**cut, "at_updates": 200, "updates": 500},
    )
    assert sorted(phases(folder)) == [
        ("cut", rank, phase) for rank in range(4) for phase in ("begin", "end")
    ]
    seen = MetricsReader(folder.consensus_file).new_rows()

    def distances(least: int, most: int) -> list[float]:
        within = [r for r in seen if all(least <= v < most for v in r["versions"])]
        return [row["consensus_rms"] for row in within]

    before, apart, healed = distances(100, 200), distances(500, 700), distances(750, 10**9)
    assert statistics.median(apart) > 2 * statistics.median(before)
    assert statistics.median(healed) < statistics.median(apart) / 2
    for rank in range(4):
        within = [
            row["mixes"]
            for row in MetricsReader(folder.metrics_file(rank)).new_rows()
            if 200 < row["updates"] <= 700
        ]
        assert within[-1] > within[0], "each half goes on mixing"


def test_messages_that_are_corrupt_doubled_or_late_are_told_apart_and_counted(
    tmp_path: Path,
) -> None:
    def ring(receiver: int, kind: str, **more: Any) -> Row:
        edge = {"senders": [(receiver - 1) % 3], "receivers": [receiver]}
        return {"kind": kind, **edge, "at_updates": 20, "updates": 100, **more}

    folder, _, _ = run_until(
        tmp_path,
        CONFIG,
        lambda status: min(status.updates) >= 160,
        ring(0, "corrupt", how="bits"),
        ring(1, "duplicate"),
        ring(2, "delay", delay_s=0.02),
    )
    ends = {row["kind"]: row for row in rows(folder) if row["phase"] == "end"}
    assert all(ends[kind]["messages"] > 0 for kind in ("corrupt", "duplicate", "delay"))
    assert metrics(folder, 0)["rejected"] == {"not finite": ends["corrupt"]["messages"]}
    assert metrics(folder, 1)["rejected"] == {"not newer": ends["duplicate"]["messages"]}
    assert metrics(folder, 2)["rejected"] == {}
    # What was corrupt was not mixed: nothing was, from that sender, while it lasted.
    mixes = {r["updates"]: r["mixes"] for r in MetricsReader(folder.metrics_file(0)).new_rows()}
    assert mixes[40] == mixes[100]
    late = {r["updates"]: r["mixes"] for r in MetricsReader(folder.metrics_file(2)).new_rows()}
    assert late[40] < late[100]
    assert not folder.defects.exists()


@pytest.mark.parametrize("serial", [False, True])
def test_a_full_disk_ends_the_run_and_older_checkpoints_serve_to_go_on(
    tmp_path: Path, serial: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    fault = {"kind": "disk-full", "learner": 1, "at_s": 1.5}
    arguments = ["train", "gala-a2c", "--env", CONFIG.env, "--learners", "2", "--simulators", "2"]
    arguments += ["--steps", "1G", "--checkpoint-every", "0.2", "--out", str(run)]
    arguments += ["--fault-plan", plan(tmp_path, fault), *(["--serial"] if serial else [])]
    assert main(arguments) == 1
    assert f"make room, then: gala resume {run}" in capsys.readouterr().err
    saved = newest(RunFolder(run))
    (row,) = rows(RunFolder(run))
    assert (row["kind"], row["learner"]) == ("disk-full", 1)
    # What has happened is not repeated.
    summary = resume(run, steps=saved.agent_steps + 1_000)
    assert summary["agent_steps"] >= saved.agent_steps + 1_000
    assert len(rows(RunFolder(run))) == 1


@pytest.mark.parametrize("serial", [False, True])
def test_a_simulator_that_crashes_costs_one_episode(tmp_path: Path, serial: bool) -> None:
    fault = {"kind": "simulator-crash", "learner": 1, "simulator": 0, "at_updates": 30}
    config = replace(CONFIG, steps=1_500, serial=serial, out=str(tmp_path / "run"))
    summary = train(replace(config, fault_plan=plan(tmp_path, fault)))
    folder = RunFolder(tmp_path / "run")
    assert [metrics(folder, rank)["simulator_failures"] for rank in range(3)] == [0, 1, 0]
    assert summary["restarts"] == 0
    assert phases(folder) == [("simulator-crash", 1, "begin")]


def test_serial_runs_with_faults_repeat_bit_for_bit(tmp_path: Path) -> None:
    ring = {"senders": [0], "receivers": [1], "at_updates": 5, "updates": 20}
    faults = [{"kind": "cut", **ring}, {"kind": "corrupt", **ring, "receivers": [2, 1]}]
    found = []
    for name, chosen in (("a", faults), ("b", faults), ("c", [])):
        folder = RunFolder(tmp_path / name)
        config = replace(CONFIG, steps=1_500, serial=True, fault_plan=plan(tmp_path, *chosen))
        folder.create(config)
        cpu = torch.device("cpu")
        run_serial(config, folder, cpu, initial_parameters_of(config), None, lambda status: None)
        found.append(saved_parameters(folder))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_learners_that_are_all_cut_off_never_mix(tmp_path: Path) -> None:
    all_learners = {"senders": [0, 1, 2], "receivers": [0, 1, 2]}
    fault = {"kind": "cut", **all_learners, "at_updates": 0}
    out = str(tmp_path / "run")
    config = replace(CONFIG, steps=600, serial=True, out=out, fault_plan=plan(tmp_path, fault))
    assert train(config)["mixes"] == 0


def test_a_slow_learner_sleeps_a_multiple_of_its_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = {"kind": "slow", "learner": 1, "at_updates": 2, "updates": 3, "factor": 4}
    folder = RunFolder(tmp_path / "run")
    folder.create(replace(CONFIG, fault_plan=plan(tmp_path, fault)))
    faults, now_s, slept = LearnerFaults(folder, 1, FaultClock(3)), [0.0], list[float]()
    monkeypatch.setattr("gala_rl.faults.inject.time.monotonic", lambda: now_s[0])
    monkeypatch.setattr("gala_rl.faults.inject.time.sleep", slept.append)
    for updates in range(8):
        faults.before_update(cast(Agent, SimpleNamespace(updates=updates, agent_steps=0)))
        now_s[0] += 0.5
    assert slept == [1.5, 1.5, 1.5]
    assert [(row["phase"], row["updates"]) for row in rows(folder)] == [("begin", 2), ("end", 5)]
    faults.close()


def test_what_a_run_is_not_told_to_suffer_is_not_in_its_way(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(CONFIG, folder)
    outcome = system.run(lambda status: system.stop() if min(status.updates) > 5 else None)
    assert outcome.failure is None
    assert not folder.faults_file.exists()
    assert not folder.fault_plan_file.exists()
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL
