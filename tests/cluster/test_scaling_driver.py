"""The driver of a run that is scaled, without Ray: nodes and their room are played by the test."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from gala_rl.agent import initial_parameters_of
from gala_rl.cluster.connection import Connection
from gala_rl.cluster.driver import ClusterRun
from gala_rl.cluster.placement import Placement
from gala_rl.cluster.protocol import HeartbeatRequest, NodeSpec, NodeStatus
from gala_rl.errors import UserError
from gala_rl.records import scale_request
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunStatus
from tests.cluster.fake_nodes import CONFIG, FakeNode, Method


class ScaledNode(FakeNode):
    """A node of one learner that adopts the requested number of learners."""

    def __init__(self, rank: int) -> None:
        super().__init__(rank)
        self.number, self.learners = 0, 2
        self.former: set[int] = set()
        self.rejected: str | None = None
        self.end = Method(lambda: None)

    def _set_up(self, spec: NodeSpec, actors: list[Any]) -> None:
        super()._set_up(spec, actors)
        if spec.change is not None:
            self.number, self.learners = spec.change.number, spec.change.learners
        self.updates = spec.updates[self.rank]

    def _heartbeat(self, request: HeartbeatRequest) -> NodeStatus | None:
        if (report := super()._heartbeat(request)) is None:
            return None
        if request.change is not None:
            assert set(request.change.nodes) >= set(range(request.change.learners))
            self.number, self.learners = request.change.number, request.change.learners
        self.former |= request.former.keys()
        is_member = self.rank < self.learners and self.rejected is None
        return replace(
            report,
            alive=[is_member],
            done=request.stop or self.rank >= self.learners,
            appended={} if self.rank >= self.learners else report.appended,
            change=self.number,
            learners_seen=[self.learners if is_member else 0],
            rejected=self.rejected,
        )


class FakePlacement(Placement):
    """Room for four nodes, whose actors are the test's."""

    def __init__(self, nodes: list[ScaledNode]) -> None:
        super().__init__(CONFIG)
        self.nodes = nodes
        self.used, self.wanted = {0, 1}, 2
        self.new: set[int] = set()

    def request(self, ranks: tuple[range, ...]) -> None:
        self.new = set()
        self.wanted = len(ranks)

    def is_granted(self) -> bool:
        return self.wanted <= len(self.nodes)

    def start_nodes(self) -> dict[int, Any]:
        self.new = set(range(self.wanted)) - self.used
        self.used |= self.new
        return {node: self.nodes[node] for node in sorted(self.new)}

    def no_room(self, ranks: tuple[range, ...]) -> UserError:
        return UserError(f"{len(ranks)} nodes have no room")

    def cancel(self) -> None:
        self.used -= self.new
        self.wanted = len(self.used)

    def release(self, node: int) -> None:
        self.used.remove(node)


class Run:
    """A run of two nodes with room for four, and for five learners."""

    def __init__(self, path: Path) -> None:
        self.nodes = [ScaledNode(rank) for rank in range(4)]
        self.placement = FakePlacement(self.nodes)
        self.folder = RunFolder(path)
        config = replace(CONFIG, max_learners=5)
        self.folder.create(config)
        connection = Connection(
            config, tuple(self.nodes[:2]), (range(1), range(1, 2)), self.placement
        )
        self.system = ClusterRun(connection, self.folder, initial_parameters_of(config), None)
        self.notices: list[str] = []
        self.statuses: list[RunStatus] = []

    def play(self, *learners: int, until: Callable[[], bool] = lambda: True) -> None:
        """Ask for one number after the other, each as soon as the one before is dealt with."""
        to_ask = list(learners)

        def observe(status: RunStatus) -> None:
            self.notices += status.notices
            self.statuses.append(status)
            if self.folder.scale_request.exists():
                return
            if to_ask:
                scale_request.place(self.folder, to_ask.pop(0))
            elif until():
                self.system.stop()

        outcome = self.system.run(observe)
        assert outcome.failure is None

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return [(change["from"], change["to"]) for change in self.folder.read_scales()]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("gala_rl.run.supervision._POLL_EVERY_S", 0.001)
    monkeypatch.setattr(ClusterRun, "close", lambda self: None)
    return Run(tmp_path / "run")


def test_nodes_join_in_a_later_incarnation_leave_and_give_their_room_back(run: Run) -> None:
    run.play(4, 1, 3, until=lambda: len(run.placement.used) == 3)
    assert run.sizes == [(2, 4), (4, 1), (1, 3)]
    assert run.placement.used == {0, 1, 2}
    assert [len(node.spec) for node in run.nodes] == [1, 2, 2, 1]
    first, again = run.nodes[2].spec
    assert (first.incarnation, again.incarnation) == (2, 3), "earlier parcels are void"
    assert first.joining == again.joining == range(2, 3)
    assert again.updates[2] > first.updates[2]
    assert run.nodes[0].former == {1, 2, 3}, "nodes know how far those had come who left"
    for before, after in zip(run.statuses, run.statuses[1:], strict=False):
        assert all(a <= b for a, b in zip(before.updates, after.updates, strict=False))
    assert run.statuses[-1].restarts == [0, 0, 0, 0]


def test_without_room_the_run_goes_on_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gala_rl.cluster.connection.PLACEMENT_S", 0.0)
    run.play(5, 3)
    assert "a request to scale was refused: 5 nodes have no room" in run.notices
    assert run.sizes == [(2, 3)]


def test_a_machine_that_cannot_run_learners_is_refused(run: Run) -> None:
    run.nodes[3].host = {"host": "odd", "torch": "0.1"}
    run.play(4, 3, until=lambda: run.placement.used == {0, 1, 2})
    (refused,) = [notice for notice in run.notices if "refused" in notice]
    assert "machine odd has torch 0.1" in refused
    assert run.nodes[3].spec == []
    assert run.sizes == [(2, 3)]


def test_a_new_node_that_cannot_start_or_is_lost_leaves_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.cluster.scaling._LOST_S", 0.0)

    def fail(spec: NodeSpec, actors: list[Any]) -> None:
        raise ray.exceptions.RayTaskError("set_up", "it broke", ValueError("it broke"))

    run.nodes[2].set_up = Method(fail)
    run.play(3, until=lambda: run.placement.used == {0, 1})
    assert run.sizes == []
    (told,) = [notice for notice in run.notices if "cannot join" in notice]
    assert told.startswith("learners that cannot join leave again, 2 go on: node 2 could not start")


def test_so_does_one_that_is_lost_and_one_whose_learners_crash(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.cluster.scaling._LOST_S", 0.0)
    run.nodes[2].is_dead = True
    run.nodes[3].rejected = "learner 3 died 2 times"
    run.play(3, 4, until=lambda: run.placement.used == {0, 1})
    assert run.sizes == []
    lost, died = [notice for notice in run.notices if "cannot join" in notice]
    assert lost.endswith("node 2 has not answered for 0 s")
    # Node 2 is still dead: whichever of the two is seen first.
    assert died.endswith(("node 2 has not answered for 0 s", "learner 3 died 2 times"))


def test_a_node_that_is_lost_is_passed_by_and_told_when_it_is_back(run: Run) -> None:
    run.nodes[1].is_dead = True

    def is_told() -> bool:
        run.nodes[1].is_dead = False
        return run.nodes[1].learners == 3

    run.play(3, until=is_told)
    assert run.sizes == [(2, 3)]
    assert any("node 1 (learners 1 to 1) is back" in notice for notice in run.notices)
