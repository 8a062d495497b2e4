"""The driver without Ray: nodes that the test plays, which report, vanish and come back empty."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from gala_rl.agent import initial_parameters_of
from gala_rl.cluster.connection import Connection
from gala_rl.cluster.driver import ClusterRun
from gala_rl.cluster.node_handle import NodeHandle, NodeState
from gala_rl.cluster.placement import Placement
from gala_rl.cluster.protocol import HeartbeatRequest, NodeStatus
from gala_rl.errors import LearnerFailure
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records.checkpoint import open_checkpoint
from gala_rl.records.run_folder import RunFolder, checkpoint_folders
from gala_rl.run.shared_counters import LearnerCounter
from gala_rl.run.status import RunStatus
from tests.cluster.fake_nodes import CONFIG, FakeNode, Method

REPLICAS = resolve(replace(CONFIG, method="a2c-allreduce", algorithm=A2CSettings()))


@pytest.fixture
def nodes() -> list[FakeNode]:
    return [FakeNode(0), FakeNode(1)]


@pytest.fixture
def system(
    request: pytest.FixtureRequest,
    nodes: list[FakeNode],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> ClusterRun:
    config = getattr(request, "param", CONFIG)
    monkeypatch.setattr("gala_rl.run.supervision._POLL_EVERY_S", 0.001)
    monkeypatch.setattr(ClusterRun, "close", lambda self: None)
    folder = RunFolder(tmp_path / "run")
    folder.create(config)
    connection = Connection(config, tuple(nodes), (range(1), range(1, 2)), Placement(config))
    return ClusterRun(connection, folder, initial_parameters_of(config), None)


def test_reports_become_status_and_files_are_copied_in_order(
    system: ClusterRun, nodes: list[FakeNode], tmp_path: Path
) -> None:
    outcome = system.run(lambda status: system.stop() if min(status.updates) >= 50 else None)
    assert outcome.failure is None
    assert outcome.status.agent_steps == [50 * updates for updates in outcome.status.updates]
    lines = (tmp_path / "run" / "logs" / "learner_01.log").read_text().split()
    assert lines[:4] == ["10", "20", "30", "40"]
    assert lines == sorted(lines, key=int)


def test_a_node_that_comes_back_empty_is_set_up_again_with_what_was(
    system: ClusterRun, nodes: list[FakeNode]
) -> None:
    notices: list[str] = []

    def observe(status: RunStatus) -> None:
        notices.extend(status.notices)
        if any("is lost" in notice for notice in status.notices):
            nodes[1].is_dead = nodes[1].is_set_up = False
        elif status.updates[1] == 200 and len(nodes[1].spec) == 1:
            nodes[1].is_dead = nodes[1].is_set_up
        elif status.updates[1] >= 250:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 1]
    again = nodes[1].spec[1]
    assert (again.node, again.incarnation, again.updates[1]) == (1, 2, 200)
    assert again.agent_steps[1] == 10_000
    assert again.files["logs/learner_01.log"].startswith(b"10\n20\n")
    assert any("node 1 (learners 1 to 1) is back" in notice for notice in notices)


def test_a_node_that_dies_again_and_again_ends_the_run(
    system: ClusterRun, nodes: list[FakeNode]
) -> None:
    def observe(status: RunStatus) -> None:
        if status.updates[1]:
            nodes[1].crash.remote()

    outcome = system.run(observe)
    assert isinstance(outcome.failure, LearnerFailure)
    assert str(outcome.failure).startswith("node 1 died 2 times")
    assert len(nodes[1].spec) == 2


def test_a_run_of_which_no_node_is_left_fails(
    system: ClusterRun, nodes: list[FakeNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.cluster.driver._ALL_LOST_S", 0.0)
    for node in nodes:
        node.is_dead = True
    outcome = system.run(lambda status: None)
    assert isinstance(outcome.failure, LearnerFailure)
    assert "no node has answered" in str(outcome.failure)


@pytest.mark.parametrize(
    "system", [replace(REPLICAS, hang_after=0.1), replace(CONFIG, hang_after=0.1)], indirect=True
)
def test_replicas_of_a_node_that_stays_away_are_missed_and_gossip_goes_on(
    system: ClusterRun, nodes: list[FakeNode]
) -> None:
    looks: list[RunStatus] = []

    def observe(status: RunStatus) -> None:
        nodes[1].is_dead = True
        looks.append(status)
        if status.updates[0] >= 4_000:
            system.stop()

    outcome = system.run(observe)
    notices = [notice for status in looks for notice in status.notices]
    if system._config.method == "gala-a2c":
        assert outcome.failure is None
        assert "node 1 (learners 1 to 1) is lost; the others go on without it" in notices
    else:
        assert isinstance(outcome.failure, LearnerFailure)
        assert "node 1 (learners 1 to 1) has not answered for 0.1 s" in str(outcome.failure)
        assert "node 1 (learners 1 to 1) is lost; the others wait for it" in notices


def test_a_node_that_is_gone_at_the_end_is_not_waited_for(
    system: ClusterRun, nodes: list[FakeNode]
) -> None:
    def observe(status: RunStatus) -> None:
        nodes[1].is_dead = True
        if status.updates[0] >= 50:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.alive == [True, False]


def test_a_node_that_dies_after_the_stop_is_not_missed(
    system: ClusterRun, nodes: list[FakeNode]
) -> None:
    left = iter(range(20))

    def report(request: HeartbeatRequest) -> NodeStatus | None:
        told = nodes[0]._heartbeat(request)
        assert told is not None
        return replace(told, done=request.stop and next(left, None) is None)

    def observe(status: RunStatus) -> None:
        if status.updates[1] >= 100:
            nodes[1].crash.remote()
        elif status.updates[1] >= 50:
            system.stop()

    nodes[0].heartbeat = Method(report)
    outcome = system.run(observe)
    assert next(left, None) is None
    assert outcome.failure is None
    assert len(nodes[1].spec) == 1


def test_learners_that_ended_since_the_driver_was_silent_end_the_run_and_leave_their_parts(
    system: ClusterRun, nodes: list[FakeNode], tmp_path: Path
) -> None:
    def observe(status: RunStatus) -> None:
        for node in nodes:
            node.is_driver_lost = True

    outcome = system.run(observe)
    assert isinstance(outcome.failure, LearnerFailure)
    assert str(outcome.failure).endswith("cut off")
    assert [node.parts for node in nodes] == [["final"], ["final"]]
    (saved,) = checkpoint_folders(tmp_path / "run" / "checkpoints")
    assert open_checkpoint(saved).learners() == [0, 1]


def test_a_node_that_alone_was_cut_off_is_started_again(
    system: ClusterRun, nodes: list[FakeNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.cluster.driver._OTHERS_S", 0.0)
    notices: list[str] = []
    cuts = [True]

    def observe(status: RunStatus) -> None:
        notices.extend(status.notices)
        if status.updates[1] == 200 and cuts and cuts.pop():
            nodes[1].is_driver_lost = True
        elif status.updates[1] >= 400:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert [len(node.spec) for node in nodes] == [1, 2]
    assert any("node 1 (learners 1 to 1) was cut off" in notice for notice in notices)
    assert any("node 1 (learners 1 to 1) is back" in notice for notice in notices)


def test_a_node_is_not_lost_when_it_was_the_driver_that_did_not_ask() -> None:
    node = NodeHandle(0, FakeNode(0), range(1), 1)
    node._actor.heartbeat = Method(lambda request: None)
    node._actor.heartbeat.remote = lambda request: SimpleNamespace(future=Future)
    for never in ("_answered_at", "_requested_at"):
        setattr(node, never, -1000.0)
    request = HeartbeatRequest(stop=False, checkpoint=0, offsets={})
    assert node.poll(request) is None
    node._requested_at = -1000.0
    assert node.poll(request) is NodeState.LOST


@pytest.mark.parametrize("system", [CONFIG, REPLICAS], indirect=True)
def test_a_node_that_comes_back_on_a_machine_that_cannot_run_learners_stays_away(
    system: ClusterRun, nodes: list[FakeNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.cluster.probe._RETRY_S", -1.0)
    notices: list[str] = []
    deaths = [True]

    def observe(status: RunStatus) -> None:
        notices.extend(status.notices)
        if status.updates[1] == 200 and deaths and deaths.pop():
            nodes[1].host = {"host": "odd", "torch": "0.1"}
            nodes[1].crash.remote()
        elif status.updates[0] >= 400:
            # Ray has moved it to a good one.
            nodes[1].host = {}
        if status.updates[1] >= 300:
            system.stop()

    outcome = system.run(observe)
    if system._config.method == "gala-a2c":
        assert outcome.failure is None
        (told,) = [notice for notice in notices if "stays lost" in notice]
        assert told.startswith("node 1 (learners 1 to 1) stays lost: machine odd has torch 0.1")
        assert outcome.status.restarts == [0, 1]
    else:
        assert str(outcome.failure).startswith("node 1 cannot be started again: machine odd has")


OFTEN = replace(CONFIG, checkpoint_every=0.001)
"""Checkpoints are asked for all the while."""


def saved_in(
    system: ClusterRun, path: Path, at_look: Callable[[int], None] = lambda look: None
) -> tuple[list[list[int]], list[str]]:
    """Return the learners of each checkpoint of a run of 120 polls, and its log."""
    saved: dict[Path, list[int]] = {}
    notices: list[str] = []
    looks = iter(range(120))

    def observe(status: RunStatus) -> None:
        if (look := next(looks, None)) is None:
            system.stop()
            return
        at_look(look)
        notices.extend(status.notices)
        for folder in checkpoint_folders(path / "run" / "checkpoints"):
            saved.setdefault(folder, open_checkpoint(folder).learners())

    assert system.run(observe).failure is None
    return list(saved.values()), notices


@pytest.mark.parametrize("system", [OFTEN], indirect=True)
def test_checkpoints_go_without_a_node_that_is_lost_and_with_it_when_it_is_back(
    system: ClusterRun, nodes: list[FakeNode], tmp_path: Path
) -> None:
    nodes[1].is_dead = True

    def revive(look: int) -> None:
        nodes[1].is_dead = look < 60

    saved, notices = saved_in(system, tmp_path, revive)
    assert saved[0] == [0]
    assert saved[-1] == [0, 1]
    assert not any("given up" in notice for notice in notices)


@pytest.mark.parametrize("system", [OFTEN], indirect=True)
def test_a_checkpoint_without_any_part_is_given_up(
    system: ClusterRun, nodes: list[FakeNode], tmp_path: Path
) -> None:
    def away(look: int) -> None:
        for node in nodes:
            node.is_dead = look < 119  # Whoever is asked to stop is waited for.

    away(0)
    # Before the first update there is nothing to keep, and no checkpoint is asked for.
    system._counters.set(0, LearnerCounter.UPDATES, 1)
    saved, notices = saved_in(system, tmp_path, away)
    assert not saved
    assert "a checkpoint was given up: no learner contributed to it" in notices


@pytest.mark.parametrize("system", [OFTEN], indirect=True)
def test_a_part_that_could_not_be_fetched_is_asked_for_again(
    system: ClusterRun, nodes: list[FakeNode], tmp_path: Path
) -> None:
    fails: list[Exception | None] = [
        ray.exceptions.RaySystemError("part"),
        None,
        ray.exceptions.GetTimeoutError("part"),
    ]

    def part(request: str, rank: int) -> dict[str, bytes] | None:
        if not fails:
            return nodes[1]._part(request, rank)
        if (failure := fails.pop()) is not None:
            raise failure
        return None

    nodes[1].checkpoint_part = Method(part)
    saved, _ = saved_in(system, tmp_path)
    assert saved
    assert all(learners == [0, 1] for learners in saved)


@pytest.mark.parametrize("system", [OFTEN], indirect=True)
def test_many_parts_are_fetched_look_by_look(
    system: ClusterRun,
    nodes: list[FakeNode],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gala_rl.cluster.node_run_folder._FETCH_S", -1.0)
    asked: list[tuple[int, ...]] = []

    def observe(status: RunStatus) -> None:
        asked.append(tuple(len(node.parts) for node in nodes))
        if len(asked) == 100:
            system.stop()

    assert system.run(observe).failure is None
    steps = [sum(after) - sum(before) for before, after in pairwise(asked[:100])]
    assert max(steps) == 1
    assert min(asked[99]) > 1
