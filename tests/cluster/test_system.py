"""The driver without Ray: nodes that the test plays, which report, vanish and come back empty."""

from dataclasses import replace
from pathlib import Path

import pytest

from gala_rl.agent import beginning_of
from gala_rl.cluster.connection import Connection
from gala_rl.cluster.places import Places
from gala_rl.cluster.system import ClusterSystem
from gala_rl.errors import LearnerFailure
from gala_rl.methods import resolve
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.status import Status
from tests.cluster.fake_nodes import CONFIG, FakeNode

REPLICAS = resolve(replace(CONFIG, method="a2c-allreduce", algorithm=None))


@pytest.fixture
def nodes() -> list[FakeNode]:
    return [FakeNode(0), FakeNode(1)]


@pytest.fixture
def system(
    request: pytest.FixtureRequest,
    nodes: list[FakeNode],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> ClusterSystem:
    config = getattr(request, "param", CONFIG)
    monkeypatch.setattr("gala_rl.systems.supervision._LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(ClusterSystem, "end", lambda self: None)
    monkeypatch.setattr(ClusterSystem, "_collect", lambda self, request, posts: None)
    folder = RunFolder(tmp_path / "run")
    folder.create(config)
    connection = Connection(config, tuple(nodes), (range(1), range(1, 2)), Places(config))
    return ClusterSystem(connection, folder, beginning_of(config), None)


def test_reports_become_status_and_files_are_copied_in_order(
    system: ClusterSystem, nodes: list[FakeNode], tmp_path: Path
) -> None:
    outcome = system.run(lambda status: system.stop() if min(status.updates) >= 50 else None)
    assert outcome.failure is None
    assert outcome.status.agent_steps == [50 * updates for updates in outcome.status.updates]
    lines = (tmp_path / "run" / "logs" / "learner_01.log").read_text().split()
    assert lines[:4] == ["10", "20", "30", "40"]
    assert lines == sorted(lines, key=int)


def test_a_node_that_comes_back_empty_is_set_up_again_with_what_was(
    system: ClusterSystem, nodes: list[FakeNode]
) -> None:
    notices: list[str] = []

    def observe(status: Status) -> None:
        notices.extend(status.notices)
        if any("is lost" in notice for notice in status.notices):
            nodes[1].is_dead = nodes[1].is_set_up = False
        elif status.updates[1] == 200 and len(nodes[1].orders) == 1:
            nodes[1].is_dead = nodes[1].is_set_up
        elif status.updates[1] >= 250:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 1]
    again = nodes[1].orders[1]
    assert (again.node, again.incarnation, again.updates[1]) == (1, 2, 200)
    assert again.agent_steps[1] == 10_000
    assert again.files["logs/learner_01.log"].startswith(b"10\n20\n")
    assert any("node 1 (learners 1 to 1) is back" in notice for notice in notices)


def test_a_node_that_dies_again_and_again_ends_the_run(
    system: ClusterSystem, nodes: list[FakeNode]
) -> None:
    outcome = system.run(lambda status: nodes[1].die() if status.updates[1] else None)
    assert isinstance(outcome.failure, LearnerFailure)
    assert str(outcome.failure).startswith("node 1 died 2 times")
    assert len(nodes[1].orders) == 2


def test_a_run_of_which_no_node_is_left_fails(
    system: ClusterSystem, nodes: list[FakeNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.cluster.system._ALL_LOST_S", 0.0)
    for node in nodes:
        node.is_dead = True
    outcome = system.run(lambda status: None)
    assert isinstance(outcome.failure, LearnerFailure)
    assert "no node has answered" in str(outcome.failure)


@pytest.mark.parametrize(
    "system", [replace(REPLICAS, hang_after=0.1), replace(CONFIG, hang_after=0.1)], indirect=True
)
def test_replicas_of_a_node_that_stays_away_are_missed_and_gossip_goes_on(
    system: ClusterSystem, nodes: list[FakeNode]
) -> None:
    looks: list[Status] = []

    def observe(status: Status) -> None:
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
    system: ClusterSystem, nodes: list[FakeNode]
) -> None:
    def observe(status: Status) -> None:
        nodes[1].is_dead = True
        if status.updates[0] >= 50:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.alive == [True, False]
