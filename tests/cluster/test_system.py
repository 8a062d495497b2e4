"""The driver without Ray: nodes that the test plays, which report, vanish and come back empty."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from gala_rl.agent import beginning_of
from gala_rl.cluster.connection import Connection
from gala_rl.cluster.places import Places
from gala_rl.cluster.system import ClusterSystem
from gala_rl.cluster.wire import Orders, Report, Wishes
from gala_rl.config import TrainConfig
from gala_rl.errors import LearnerFailure
from gala_rl.methods import resolve
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.status import Status

CONFIG = resolve(
    TrainConfig(env="CartPole-v1", learners=2, learners_per_node=1, cluster="auto", max_restarts=1)
)
REPLICAS = resolve(replace(CONFIG, method="a2c-allreduce", algorithm=None))


class Answer:
    """What Ray gives for a call: a future with its result."""

    def __init__(self, result: Any) -> None:
        self._future: Future[Any] = Future()
        if isinstance(result, Exception):
            self._future.set_exception(result)
        else:
            self._future.set_result(result)

    def future(self) -> "Future[Any]":
        return self._future


class Method:
    """A method of a fake node's actor."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def options(self, **options: Any) -> "Method":
        return self

    def remote(self, *arguments: Any) -> Answer:
        try:
            return Answer(self._call(*arguments))
        except ray.exceptions.RayError as error:
            return Answer(error)


class FakeNode:
    """A node of one learner, which makes ten updates a report until it is asked to stop."""

    def __init__(self, rank: int) -> None:
        self.rank, self.updates = rank, 0
        self.orders: list[Orders] = []
        self.is_set_up = self.is_dead = False
        self.set_up = Method(self._set_up)
        self.report = Method(self._report)
        self.sights = Method(lambda size: [])

    def die(self) -> None:
        self.is_set_up = False

    def _set_up(self, orders: Orders, actors: list[Any]) -> None:
        self.orders.append(orders)
        self.is_set_up = True

    def _report(self, wishes: Wishes) -> Report | None:
        if self.is_dead:
            raise ray.exceptions.RayActorError
        if not self.is_set_up:
            return None
        self.updates += 10
        line = f"{self.updates}\n".encode()
        news = {} if wishes.stop else {f"logs/learner_{self.rank:02d}.log": line}
        return Report(
            agent_steps=[50 * self.updates],
            updates=[self.updates],
            alive=[True],
            restarts=[0],
            written=[0],
            notices=[],
            news=news,
            done=wishes.stop,
            failure=None,
        )


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
