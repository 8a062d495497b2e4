"""Rollouts of actors elsewhere cross whole, once, and no more than there is room for."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gala_rl.actors.remote import RemoteActors, RolloutFeed, RolloutFeeds
from gala_rl.actors.rollout_slots import RolloutSlots
from gala_rl.cluster import rollouts
from gala_rl.cluster.rollouts import RolloutBatch, RolloutClient, RolloutRequest, make_remote_actors
from gala_rl.gossip import Message
from gala_rl.processes.spawn import end_with_parent, fork_ready, release
from tests.actors.test_rollout_slots import make_config

SIZE = 10


@dataclass
class Quay:
    """A learner's machine whose other two machines the test plays, with actor 0 and actor 1."""

    path: Path
    calls: list[tuple[int, RolloutRequest, "Future[RolloutBatch | None]"]] = field(
        default_factory=list
    )

    def __post_init__(self) -> None:
        self.elsewhere = make_remote_actors(make_config(), 0, SIZE, self.path)
        self.ferry = RolloutClient(self.elsewhere, {1: range(1), 2: range(1, 2)}, self._dispatch)
        self.feeds = RolloutFeeds(self.elsewhere)

    def _dispatch(self, node: int, errand: RolloutRequest) -> "Future[RolloutBatch | None]":
        self.calls.append((node, errand, Future()))
        return self.calls[-1][2]

    def publish(self, version: int) -> None:
        values = torch.full((SIZE,), float(version))
        self.elsewhere.parameters.write(Message(0, version, values))

    def errands(self, node: int) -> list[RolloutRequest]:
        return [errand for other, errand, _call in self.calls if other == node]

    def answer(self, node: int, load: RolloutBatch | None) -> None:
        """The latest call to a node ends."""
        [*_, (_node, _errand, call)] = [c for c in self.calls if c[0] == node]
        call.set_result(load)
        self.ferry.carry()

    def settle(self) -> None:
        while self.ferry.carry():
            pass


@pytest.fixture
def quay(tmp_path: Path) -> Iterator[Quay]:
    made = Quay(tmp_path / "actors")
    made.publish(1)
    made.feeds.begin()
    made.settle()
    yield made
    made.feeds.connection.close()
    made.ferry.close()


def filled(slots: RolloutSlots, number: int) -> np.ndarray:
    """The content of a slot whose every reward is a number."""
    like = slots.content(0)
    slots._fields["rewards"][0] = float(number)
    content = slots.content(0)
    assert slots.put(0, like)
    return content


def rewards(found: list[tuple[RolloutFeed, int]]) -> list[float]:
    return [float(feed.slots._fields["rewards"][slot].mean()) for feed, slot in found]


def test_the_content_of_a_slot_is_all_of_it_and_nothing_else_fits(quay: Quay) -> None:
    one, other = quay.elsewhere.by_actor
    for memory in (*one._fields.values(), one._notes, one._episodes):
        memory[1].copy_(torch.randint(0, 2, memory[1].shape))
    content = one.content(1)
    assert other.put(0, content)
    assert np.array_equal(other.content(0), content)
    for name, memory in one._fields.items():
        assert torch.equal(other._fields[name][0], memory[1])
    assert torch.equal(other._notes[0], one._notes[1])
    assert not other.put(0, content[:-1])
    assert not other.put(0, content.view(np.int8))


def test_one_call_a_node_with_room_and_parameters_when_they_are_new(quay: Quay) -> None:
    first, second = quay.elsewhere.by_actor
    assert [node for node, _errand, _call in quay.calls] == [1, 2]
    (errand,) = quay.errands(1)
    assert (errand.version, errand.room) == (1, {0: 2})
    assert errand.parameters is not None
    quay.publish(2)
    quay.publish(3)
    quay.settle()
    assert len(quay.calls) == 2, "calls are under way"
    quay.answer(1, RolloutBatch([(0, filled(first, 7))], deaths=2))
    assert rewards(list(quay.feeds.hear())) == [7.0]
    assert quay.errands(1)[-1].version == 3, "the latest"
    assert quay.errands(1)[-1].room == {0: 1}
    quay.answer(1, RolloutBatch([(0, filled(first, 8))], deaths=2))
    assert len(quay.errands(1)) == 2, "both slots wait for the learner"
    ((feed, slot),) = quay.feeds.hear()
    feed.give(slot)
    quay.settle()
    assert quay.errands(1)[-1].parameters is None, "it has these"
    assert len(quay.errands(2)) == 1, "that it is slow held up nobody"
    assert int(quay.elsewhere.deaths) == 2
    quay.answer(2, RolloutBatch([(1, filled(second, 9)), (0, filled(second, 5))], deaths=0))
    assert rewards(list(quay.feeds.hear())) == [9.0], "the other is not of that node"


def test_a_node_that_was_lost_is_sent_parameters_again(
    quay: Quay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts, "_PAUSE_S", 0.0)
    quay.answer(1, RolloutBatch([], deaths=0))
    assert quay.errands(1)[-1].parameters is None
    quay.answer(1, None)
    quay.settle()
    assert quay.errands(1)[-1].parameters is not None
    assert quay.errands(1)[-1].room == {0: 2}


def test_a_learner_that_is_started_again_gets_nothing_its_former_life_asked_for(
    quay: Quay,
) -> None:
    first, _second = quay.elsewhere.by_actor
    quay.feeds.connection.close()
    quay.settle()
    quay.feeds = RolloutFeeds(quay.elsewhere)
    quay.settle()
    quay.answer(1, RolloutBatch([(0, filled(first, 7))], deaths=0))
    assert list(quay.feeds.hear()) == []
    quay.feeds.begin()
    quay.settle()
    quay.answer(1, RolloutBatch([(0, filled(first, 8))], deaths=0))
    assert rewards(list(quay.feeds.hear())) == [8.0]


def report_actors(elsewhere: RemoteActors) -> None:
    """Mark the last slot of the last actor, from the learner's process."""
    end_with_parent()
    elsewhere.by_actor[-1]._notes[-1] = len(elsewhere.by_actor)


@pytest.mark.parametrize("lstm_size", [None, 4])
def test_a_server_can_fork_the_learner_of_sixty_four_actors_elsewhere(
    tmp_path: Path, lstm_size: int | None
) -> None:
    config = replace(make_config(), lstm_size=lstm_size, simulators=65)
    config = replace(config, algorithm=replace(config.algorithm, actors=65))  # type: ignore[call-arg]
    elsewhere = make_remote_actors(config, 1, SIZE, tmp_path / "actors")
    process = fork_ready(report_actors, elsewhere, "gala-learner-0", "gala_rl.run.fork_server")
    assert type(process).__name__ == "ForkServerProcess", "it need not be spawned"
    process.join(60.0)
    assert process.exitcode == 0
    release(process)
    *_, last = elsewhere.by_actor
    assert last._notes.tolist() == [[0, 0, 0], [64, 64, 64]]
    assert not elsewhere.slots._notes[:-1].any()
