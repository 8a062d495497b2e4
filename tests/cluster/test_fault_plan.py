"""Fault plans on a cluster: each fault happens once, on any node, and its rows are kept."""

import json
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from gala_rl.agent import Agent
from gala_rl.app.train import resume
from gala_rl.checks.config import check_config
from gala_rl.cluster.driver import ClusterRun
from gala_rl.cluster.faults import NodeFaults
from gala_rl.cluster.gossip_relay import GossipRelay
from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.cluster.node_run_folder import NodeRunFolder
from gala_rl.cluster.protocol import LearnerProgress, MessageBatch, MessagePrecision, NodeSpec
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.inject import LearnerFaults
from gala_rl.faults.plan import Fault
from gala_rl.faults.transport import FaultyTransport
from gala_rl.gossip import Message, PeerDown, SharedMailboxes, directed_ring
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.shared_counters import SharedCounters
from gala_rl.run.status import RunStatus
from tests.cluster.machines import CONFIG, GIVE_UP_S, Machines, node_actors, run, wait_until

Row = dict[str, Any]


def plan(path: Path, *faults: Row) -> str:
    file = path / "plan.json"
    file.write_text(json.dumps({"faults": faults}), encoding="utf-8")
    return str(file)


def rows(folder: RunFolder) -> list[Row]:
    return MetricsReader(folder.faults_file).new_rows()


def last_row(folder: RunFolder, rank: int) -> Row:
    return MetricsReader(folder.metrics_file(rank)).new_rows()[-1]


def edge(sender: int, kind: str, **more: Any) -> Row:
    """What the next learner of the ring hears of one, for its updates from 20 to 220."""
    receiver = {"receivers": [(sender + 1) % 4], "at_updates": 20, "updates": 200}
    return {"kind": kind, "senders": [sender], **receiver, **more}


@pytest.mark.slow
def test_faults_of_learners_messages_and_nodes_happen_once_and_their_rows_are_kept(
    machines: Machines, tmp_path: Path
) -> None:
    faults = [
        edge(1, "corrupt", how="bits"),
        edge(2, "duplicate"),
        edge(3, "delay", delay_s=0.02),
        {"kind": "stop", "learner": 1, "at_updates": 50, "seconds": 0.5},
        {"kind": "slow", "learner": 0, "at_updates": 30, "updates": 50, "factor": 3},
        {"kind": "kill", "learner": 1, "at_updates": 240},
        {"kind": "nan", "learner": 0, "at_updates": 240},
        {"kind": "simulator-crash", "learner": 2, "simulator": 1, "at_updates": 60},
        {"kind": "kill-node", "node": 1, "at_updates": 450},
    ]
    folder, notices, give_up = RunFolder(tmp_path / "run"), list[str](), time.monotonic() + 240

    def observe(system: ClusterRun, status: RunStatus) -> None:
        assert time.monotonic() < give_up, f"waited in vain: {status}, {notices}"
        notices.extend(status.notices)
        if min(status.updates) > 500 and min(status.restarts) == 1:
            system.stop()

    config = replace(CONFIG, fault_plan=plan(tmp_path, *faults))
    outcome = run(machines, folder, config, observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [1, 1, 1, 1]
    told = rows(folder)
    begun = Counter(row["kind"] for row in told if row["phase"] == "begin")
    assert begun == Counter(fault["kind"] for fault in faults), "each came once"
    first = {row["kind"]: row for row in told if row["phase"] == "begin"}
    for fault in faults:
        if fault["kind"] != "kill-node":
            assert first[fault["kind"]]["updates"] == fault["at_updates"], "to the update"
    assert first["kill-node"]["node"] == 1
    assert first["kill-node"]["updates"] >= 450
    ends = {row["kind"]: row for row in told if row["phase"] == "end"}
    assert set(ends) == {"corrupt", "duplicate", "delay", "stop", "slow"}
    assert last_row(folder, 2)["rejected"].get("not finite", 0) > 0
    assert last_row(folder, 3)["rejected"].get("not newer", 0) > 0
    assert last_row(folder, 0)["rejected"] == last_row(folder, 1)["rejected"] == {}
    assert any("fault 5: kill, learner 1 after 240 updates" in notice for notice in notices)
    assert any("fault 8: kill-node, node 1 after" in notice for notice in notices)
    assert any("node 1 (learners 2 to 3) is back" in notice for notice in notices)

    made = outcome.status.total_agent_steps
    summary = resume(folder.path, steps=made + 500)
    assert summary["agent_steps"] >= made + 500
    assert summary["restarts"] == 0
    assert rows(folder) == told, "nothing is done again"
    wait_until(lambda: not node_actors())


@pytest.mark.slow
def test_a_full_disk_of_a_node_ends_the_run_with_what_there_is(
    machines: Machines, tmp_path: Path
) -> None:
    fault = {"kind": "disk-full", "learner": 2, "at_updates": 50}
    config = replace(CONFIG, checkpoint_every=0.5, fault_plan=plan(tmp_path, fault))
    folder = RunFolder(tmp_path / "run")
    outcome = run(machines, folder, config, lambda system, status: None)
    assert "learner 2 cannot write" in str(outcome.failure)
    (row,) = rows(folder)
    assert (row["kind"], row["learner"], row["phase"]) == ("disk-full", 2, "begin")


@pytest.mark.slow
def test_a_node_that_is_back_counts_seconds_on_and_a_cut_between_nodes_heals(
    machines: Machines, tmp_path: Path
) -> None:
    cut = {"kind": "cut", "senders": [0, 1], "receivers": [2, 3], "both_ways": True}
    faults = [{**cut, "at_s": 1, "seconds": 20}, {"kind": "kill-node", "node": 0, "at_s": 3}]
    folder, give_up = RunFolder(tmp_path / "run"), time.monotonic() + 2 * GIVE_UP_S

    def observe(system: ClusterRun, status: RunStatus) -> None:
        assert time.monotonic() < give_up, f"waited in vain: {status}"
        if sum(row["phase"] == "end" for row in rows(folder)) == 2:
            system.stop()

    outcome = run(machines, folder, replace(CONFIG, fault_plan=plan(tmp_path, *faults)), observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [1, 1, 0, 0]
    time_of = {(r["kind"], r.get("learner"), r["phase"]): r["time"] for r in rows(folder)}
    assert len(time_of) == len(rows(folder)) == 5
    assert time_of["cut", 0, "begin"] < time_of["kill-node", None, "begin"]
    # A node that had begun to count anew would have found the cut not to have come yet.
    assert time_of["cut", 0, "end"] > time_of["cut", 0, "begin"] + 15
    for rank in (0, 2):
        assert last_row(folder, rank)["rejected"] == {}


def test_a_cut_withholds_what_a_relay_receives_and_news_of_deaths(tmp_path: Path) -> None:
    mailboxes, counters = SharedMailboxes(2, 3), SharedCounters(2, 3, 1)
    spec = NodeSpec(1, 1, (range(1), range(1, 2)), {}, [0, 0], [0, 0])
    relay = GossipRelay(
        spec,
        directed_ring(2),
        mailboxes=mailboxes,
        counters=counters,
        precision=MessagePrecision(),
        silence_s=60.0,
        dispatch=lambda other, batch: pytest.fail("nothing is sent here"),
    )
    fault = Fault(index=0, kind="cut", edges=frozenset({(0, 1)}), at_updates=0, updates=5)
    end = FaultyTransport(mailboxes.transport(1), 1, [fault], FaultClock(2))
    mailboxes.write(Message(0, 7, torch.ones(3)))
    dead = MessageBatch(0, 1, {0: LearnerProgress(70, 7, 1)}, {}, frozenset({0}), ())
    assert end.poll([0]) == []
    relay.receive(dead)
    assert mailboxes.is_down(0)
    assert end.poll([0]) == []
    end.updates = 5
    assert end.poll([0]) == [PeerDown(0)]


def test_a_fault_happens_once_its_row_is_where_it_outlives_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    fault = {"kind": "nan", "learner": 1, "at_updates": 3}
    folder.create(replace(CONFIG, fault_plan=plan(tmp_path, fault)))
    clock, healthy = FaultClock(4, copied_bytes=0), torch.nn.Linear(1, 1)
    agent = SimpleNamespace(updates=3, agent_steps=30, learner=healthy)
    seen: list[int] = []

    def sleep(seconds: float) -> None:
        assert agent.learner is healthy
        seen.append(len(rows(folder)))
        clock.record_copied(folder.faults_file.stat().st_size)

    monkeypatch.setattr("gala_rl.faults.clock.time.sleep", sleep)
    monkeypatch.setattr("gala_rl.faults.inject.PoisonedLearner", lambda learner: "poisoned")
    faults = LearnerFaults(folder, 1, clock)
    faults.before_update(cast(Agent, agent))
    assert seen == [1]
    assert agent.learner == "poisoned"
    faults.close()


def test_rows_of_a_node_are_told_whole_and_the_driver_tells_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = b'{"fault": 0}\n'
    files = {"faults.json": b'{"faults": []}', "metrics/faults.jsonl": before}
    ranks = (range(1), range(1, 2))
    node_folder = NodeRunFolder(NodeSpec(1, 2, ranks, files, [0, 0], [9, 9], elapsed_s=300.0))
    assert node_folder.faults is not None
    elapsed_s = node_folder.faults.clock.elapsed_if_started_s()
    assert elapsed_s is not None
    assert elapsed_s >= 300.0
    read = {"metrics/faults.jsonl": len(before)}
    with node_folder.folder.faults_file.open("ab", buffering=0) as file:
        file.write(b'{"fault": 1}\n{"fau')
        assert node_folder.appended(read)["metrics/faults.jsonl"] == b'{"fault": 1}\n'
        file.write(b'lt": 2}\n')
        read["metrics/faults.jsonl"] += len(b'{"fault": 1}\n')
        assert node_folder.appended(read)["metrics/faults.jsonl"] == b'{"fault": 2}\n'
    slept: list[float] = []
    monkeypatch.setattr("gala_rl.faults.clock.time.sleep", slept.append)
    node_folder.faults.clock.wait_until_copied(read["metrics/faults.jsonl"])
    assert slept == []
    node_folder.remove()


def test_a_node_that_is_running_is_killed_once_in_each_life_and_never_again(
    tmp_path: Path,
) -> None:
    kill = {"kind": "kill-node", "node": 1}
    file = plan(tmp_path, {**kill, "at_updates": 50}, {**kill, "at_updates": 50})
    folder = RunFolder(tmp_path / "run")
    folder.create(replace(CONFIG, fault_plan=file))
    strikes: list[int] = []
    latest = SimpleNamespace(done=False)
    node = SimpleNamespace(index=1, incarnation=1, latest=latest, is_lost=False)
    node.crash = lambda: strikes.append(node.incarnation)

    def look(faults: NodeFaults, **state: Any) -> list[str]:
        told = faults.poll(cast(NodeHandle, SimpleNamespace(**{**vars(node), **state})), 60, 600)
        assert len(told) in (0, 1)
        return told

    faults = NodeFaults(folder)
    assert look(faults) == [], "no node has reported that the run has begun"
    faults.clock.start_at(1.0)
    absent = {"is_lost": True}, {"latest": None}, {"latest": SimpleNamespace(done=True)}
    assert all(look(faults, index=0) == look(faults, **away) == [] for away in absent)
    assert faults.poll(cast(NodeHandle, node), 49, 490) == []
    assert look(faults) == ["fault 0: kill-node, node 1 after 60 updates"]
    assert look(faults) == []
    faults.close()
    again = NodeFaults(folder)
    again.clock.start_at(1.0)
    assert look(again) == ["fault 1: kill-node, node 1 after 60 updates"]
    node.incarnation = 2
    assert look(again) == []
    assert strikes == [1, 1]
    assert [row["agent_steps"] for row in rows(folder)] == [600, 600]
    again.close()


class TestClock:
    """What a node's clock goes by."""

    def test_the_earliest_of_what_is_told_counts(self) -> None:
        clock = FaultClock(1)
        clock.start_at(None)
        assert clock.elapsed_if_started_s() is None
        for told in (100.0, 300.0, 200.0):
            clock.start_at(told)
        elapsed_s = clock.elapsed_if_started_s()
        assert elapsed_s is not None
        assert elapsed_s >= 300.0
        assert elapsed_s <= clock.elapsed_s()

    def test_a_fault_waits_until_its_row_is_kept_and_not_where_it_is_its_own(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks: list[float] = []
        clock = FaultClock(1, copied_bytes=10)

        def sleep(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 3:
                clock.record_copied(25)

        monkeypatch.setattr("gala_rl.faults.clock.time.sleep", sleep)
        clock.wait_until_copied(10)
        assert looks == []
        clock.wait_until_copied(20)
        assert len(looks) == 3
        FaultClock(1).wait_until_copied(10**9)
        assert len(looks) == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "names node 2: nodes are 0 to 1"),
        ({"cluster": None, "learners_per_node": None}, "give --cluster"),
    ],
    ids=["no such node", "one machine"],
)
def test_a_node_that_is_not_there_cannot_be_killed(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    file = plan(tmp_path, {"kind": "kill-node", "node": 2, "at_s": 1})
    config = TrainConfig(
        env="CartPole-v1", learners=4, learners_per_node=2, cluster="auto", fault_plan=file
    )
    with pytest.raises(UserError, match=rf"faults\[0\] \(kill-node\).*{told}"):
        check_config(replace(config, **changes))


def test_what_depends_on_the_machines_is_refused_once_they_are_known(
    machines: Machines, tmp_path: Path
) -> None:
    file = plan(tmp_path, {"kind": "kill-node", "node": 2, "at_s": 1})
    folder = RunFolder(tmp_path / "run")
    config = replace(CONFIG, learners_per_node=None, fault_plan=file)
    with pytest.raises(UserError, match="names node 2: nodes are 0 to 1"):
        run(machines, folder, check_config(replace(config, cluster="auto")), None)
    assert not folder.path.exists()
