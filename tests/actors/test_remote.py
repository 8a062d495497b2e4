"""Rollouts of actors on other machines cross whole, once, and no more than there is room for."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import torch

from gala_rl.actors import remote as module
from gala_rl.actors.remote import (
    CallNode,
    RemoteActorHandle,
    RemoteActors,
    RemoteRollouts,
    RolloutBatch,
    RolloutRequest,
)
from gala_rl.actors.rollout_slots import RolloutSlots, example_of, slots_of
from gala_rl.agent import build_model
from gala_rl.envs import make_simulators
from gala_rl.gossip import Message, SharedMailboxes
from tests.actors.scripted import make_config

SIZE = 10

Found = list[tuple[RemoteActorHandle, int]]


def example() -> tuple[torch.Tensor, ...]:
    config = make_config()
    return example_of(partial(build_model, config), make_simulators(config.source, 1, 1))


@dataclass
class TwoMachines:
    """Two machines that the test plays, with actor 0 and actor 1 of two slots each."""

    calls: list[tuple[int, RolloutRequest, "Future[RolloutBatch | None]"]] = field(
        default_factory=list
    )
    agent_steps: int = 0

    def __post_init__(self) -> None:
        self.parameters = SharedMailboxes(1, SIZE)
        self.slots = slots_of(2, make_config(), example()).split(2)
        self.start_learner()

    def start_learner(self) -> None:
        by_node = {1: range(1), 2: range(1, 2)}
        self.rollouts = RemoteRollouts(RemoteActors(by_node, self._connect), self.slots)

    def _connect(self) -> CallNode:
        return self._call

    def _call(self, node: int, request: RolloutRequest) -> "Future[RolloutBatch | None]":
        self.calls.append((node, request, Future()))
        return self.calls[-1][2]

    def publish(self, version: int) -> None:
        values = torch.full((SIZE,), float(version))
        self.parameters.write(Message(0, version, values))

    def exchange(self) -> Found:
        return list(self.rollouts.exchange(self.parameters, self.agent_steps))

    def requests(self, node: int) -> list[RolloutRequest]:
        return [request for other, request, _call in self.calls if other == node]

    def answer(self, node: int, batch: RolloutBatch | None) -> Found:
        """End the latest call to a node; return what it has filled."""
        [*_, (_node, _request, call)] = [c for c in self.calls if c[0] == node]
        call.set_result(batch)
        assert self.rollouts.connection.poll(), "the learner need not wait for its next look"
        return self.exchange()


@pytest.fixture
def two() -> TwoMachines:
    made = TwoMachines()
    made.publish(1)
    made.rollouts.request_all()
    assert made.exchange() == []
    return made


def filled(slots: RolloutSlots, number: int) -> np.ndarray:
    """The content of a slot whose every reward is a number."""
    like = slots.content(0)
    slots._fields["rewards"][0] = float(number)
    content = slots.content(0)
    assert slots.put(0, like)
    return content


def rewards(found: Found) -> list[float]:
    return [float(actor.slots._fields["rewards"][slot].mean()) for actor, slot in found]


def test_the_content_of_a_slot_is_all_of_it_and_nothing_else_fits(two: TwoMachines) -> None:
    one, other = two.slots
    for memory in (*one._fields.values(), one._info, one._episodes):
        memory[1].copy_(torch.randint(0, 2, memory[1].shape))
    content = one.content(1)
    assert other.put(0, content)
    assert np.array_equal(other.content(0), content)
    for name, memory in one._fields.items():
        assert torch.equal(other._fields[name][0], memory[1])
    assert torch.equal(other._info[0], one._info[1])
    assert not other.put(0, content[:-1])
    assert not other.put(0, content.view(np.int8))


def test_one_call_a_node_with_room_and_parameters_when_they_are_new(two: TwoMachines) -> None:
    first, second = two.slots
    assert [node for node, _request, _call in two.calls] == [1, 2]
    (request,) = two.requests(1)
    assert (request.version, request.room, request.agent_steps) == (1, {0: 2}, 0)
    assert request.parameters is not None
    two.agent_steps = 100
    two.publish(2)
    two.publish(3)
    assert two.exchange() == []
    assert len(two.calls) == 2, "calls are under way"
    assert rewards(two.answer(1, RolloutBatch([(0, filled(first, 7))], deaths=2))) == [7.0]
    assert two.requests(1)[-1].version == 3, "the latest"
    assert two.requests(1)[-1].agent_steps == 100
    assert two.requests(1)[-1].room == {0: 1}
    ((actor, slot),) = two.answer(1, RolloutBatch([(0, filled(first, 8))], deaths=2))
    assert rewards([(actor, slot)]) == [8.0]
    assert len(two.requests(1)) == 2, "both slots wait for the learner"
    actor.free.append(slot)
    two.exchange()
    assert two.requests(1)[-1].parameters is None, "it has these"
    assert len(two.requests(2)) == 1, "that it is slow held up nobody"
    assert two.rollouts.deaths == 2
    found = two.answer(2, RolloutBatch([(1, filled(second, 9)), (0, filled(second, 5))], deaths=0))
    assert rewards(found) == [9.0], "the other is not of that node"


def test_a_node_that_was_lost_is_sent_parameters_again(
    two: TwoMachines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    two.answer(1, RolloutBatch([], deaths=0))
    assert two.requests(1)[-1].parameters is None
    two.answer(1, None)
    assert two.requests(1)[-1].parameters is not None
    assert two.requests(1)[-1].room == {0: 2}


def test_a_call_that_fails_is_made_again_and_what_does_not_fit_is_dropped(
    two: TwoMachines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    two.calls[0][2].set_exception(ConnectionError())
    assert two.exchange() == []
    assert two.requests(1)[-1].parameters is not None
    assert two.answer(1, RolloutBatch([(0, filled(two.slots[0], 7)[:-1])], deaths=0)) == []
    assert two.requests(1)[-1].room == {0: 2}, "the slot is still free"


def test_a_learner_that_is_started_again_gets_nothing_that_was_asked_for_before(
    two: TwoMachines,
) -> None:
    former = two.calls[0][2]
    two.start_learner()
    former.set_result(RolloutBatch([(0, filled(two.slots[0], 7))], deaths=0))
    assert two.exchange() == []
    two.rollouts.request_all()
    two.exchange()
    assert two.requests(1)[-1].parameters is not None
    batch = RolloutBatch([(0, filled(two.slots[0], 8))], deaths=0)
    assert rewards(two.answer(1, batch)) == [8.0]
