"""The gossip relay: latest wins, one call at a time, nothing waits; what comes in is checked."""

from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pytest
import torch

from gala_rl.cluster import gossip_relay as module
from gala_rl.cluster.gossip_relay import GossipRelay, routes
from gala_rl.cluster.protocol import (
    LearnerProgress,
    MessageBatch,
    MessagePrecision,
    NodeSpec,
    Precision,
    WireMessage,
)
from gala_rl.gossip import Message, SharedMailboxes
from gala_rl.gossip.topology import make
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

SIZE, STATE_SIZE = 5, 3
RANKS = (range(2), range(2, 4))


@dataclass
class FakeCall:
    """A call that ends when the test says so."""

    batch: MessageBatch
    ended: bool | None = None

    def done(self) -> bool:
        return self.ended is not None

    def exception(self) -> None:
        return None

    def result(self) -> bool:
        assert self.ended is not None
        return self.ended


class Side:
    """A node without learners: the test writes their messages, and is the network."""

    def __init__(
        self,
        node: int,
        incarnation: int = 1,
        precision: Precision = "float32",
        ranks: tuple[range, ...] = RANKS,
        topology: str = "directed-ring",
        moments: slice = slice(SIZE, SIZE),
    ) -> None:
        learners = ranks[-1].stop
        self.mailboxes = SharedMailboxes(learners, SIZE)
        self.counters = SharedCounters(learners, SIZE, STATE_SIZE)
        self.calls: list[tuple[int, FakeCall]] = []
        spec = NodeSpec(node, incarnation, ranks, {}, [0] * learners, [0] * learners)
        self.relay = GossipRelay(
            spec,
            make(topology, learners),
            mailboxes=self.mailboxes,
            counters=self.counters,
            precision=MessagePrecision(precision, moments),
            silence_s=2.0,
            dispatch=self._post,
        )

    def _post(self, other: int, batch: MessageBatch) -> "Future[bool]":
        self.calls.append((other, FakeCall(batch)))
        return cast("Future[bool]", self.calls[-1][1])

    def say(self, rank: int, version: int, value: float = 1.0) -> None:
        self.mailboxes.write(Message(rank, version, torch.full((SIZE,), value)))

    @property
    def last(self) -> FakeCall:
        return self.calls[-1][1]


@dataclass
class Clock:
    now: float = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(module, "time", fake)
    return fake


def versions(batch: MessageBatch) -> dict[int, int]:
    return {message.sender: message.version for message in batch.messages}


def test_only_messages_with_receivers_on_other_nodes_are_sent_and_once_per_node(
    clock: Clock,
) -> None:
    ring = make("directed-ring", 4)
    assert routes(0, RANKS, ring) == {1: (1,)}
    assert routes(1, RANKS, ring) == {0: (3,)}
    complete = make("complete", 6)
    three = (range(2), range(2, 4), range(4, 6))
    assert routes(1, three, complete) == {0: (2, 3), 2: (2, 3)}
    side = Side(0)
    side.say(0, 1)
    side.say(1, 1)
    side.relay.send_due()
    assert versions(side.last.batch) == {1: 1}


def test_while_a_call_is_under_way_nothing_is_sent_and_the_next_takes_the_latest(
    clock: Clock,
) -> None:
    side = Side(0)
    side.say(1, 1)
    assert side.relay.send_due()
    for version in range(2, 9):
        side.say(1, version)
        clock.now += 1.0
        assert not side.relay.send_due()
    assert len(side.calls) == 1
    side.last.ended = True
    assert side.relay.send_due()
    assert [versions(call.batch) for _, call in side.calls] == [{1: 1}, {1: 8}]


def test_a_slow_node_holds_up_no_other(clock: Clock) -> None:
    three = (range(2), range(2, 4), range(4, 6))
    side = Side(0, ranks=three, topology="complete")
    side.say(0, 1)
    side.relay.send_due()
    assert [other for other, _ in side.calls] == [1, 2]
    side.calls[1][1].ended = True
    for version in range(2, 5):
        side.say(0, version)
        assert side.relay.send_due()
        other, call = side.calls[-1]
        assert (other, versions(call.batch)) == (2, {0: version})
        call.ended = True


def test_without_new_messages_a_batch_of_progress_is_sent_now_and_then(clock: Clock) -> None:
    side = Side(0)
    side.counters.set(0, LearnerCounter.AGENT_STEPS, 70)
    side.mailboxes.set_down(1, True)
    sent = 0
    for _ in range(1_000):
        clock.now += 0.002
        sent += side.relay.send_due()
        side.last.ended = True
    assert 9 <= sent <= 11
    assert side.last.batch.messages == ()
    assert side.last.batch.progress[0].agent_steps == 70
    assert side.last.batch.down == {1}


def test_after_a_failed_call_the_node_is_down_and_gets_everything_anew(clock: Clock) -> None:
    side = Side(0)
    side.say(1, 4)
    side.relay.send_due()
    side.last.ended = False
    assert not side.relay.send_due(), "it is not called for a while"
    assert [side.mailboxes.is_down(rank) for rank in range(4)] == [False, False, True, True]
    clock.now += 0.6
    assert side.relay.send_due()
    assert versions(side.last.batch) == {1: 4}, "the present process has not received it"
    assert side.last.batch.messages[0].optimizer_state is not None


def test_the_optimiser_state_comes_with_the_first_message_and_then_seldom(clock: Clock) -> None:
    side, other = Side(0), Side(1)
    side.counters.optimizer_states[1] = torch.arange(STATE_SIZE)
    states = []
    for version in range(1, 300):
        side.say(1, version)
        side.relay.send_due()
        message = side.last.batch.messages[0]
        states.append(message.optimizer_state)
        other.relay.receive(side.last.batch)
        side.last.ended = True
        clock.now += 0.1
    assert states[0] is not None
    assert sum(state is not None for state in states) == 3
    assert other.counters.optimizer_states[1].tolist() == [0.0, 1.0, 2.0]
    assert other.counters.optimizer_states[0].tolist() == [0.0, 0.0, 0.0]


def test_what_is_taken_in_is_there_as_if_its_sender_were_on_this_machine(clock: Clock) -> None:
    here, there = Side(0), Side(1)
    here.say(1, 3, value=0.25)
    here.counters.set(1, LearnerCounter.AGENT_STEPS, 90)
    here.counters.set(1, LearnerCounter.READY, 1)
    here.mailboxes.set_down(0, True)
    here.relay.send_due()
    assert there.relay.has_received_all() is False
    there.relay.receive(here.last.batch)
    message = there.mailboxes.latest(1)
    assert message is not None
    assert message.version == 3
    assert message.parameters.tolist() == [0.25] * SIZE
    assert there.counters.total_agent_steps == 90
    assert there.counters.column(LearnerCounter.READY) == [0, 1, 0, 0]
    assert there.mailboxes.is_down(0)
    assert there.relay.has_received_all()


BATCH = MessageBatch(0, 2, {}, {}, frozenset(), ())
SOUND = np.ones(SIZE, dtype=np.float32)


@pytest.mark.parametrize(
    "parameters",
    [
        np.ones(SIZE + 1, dtype=np.float32),
        np.ones((SIZE, 1), dtype=np.float32),
        np.ones(SIZE, dtype=np.float64),
        np.full(SIZE, np.nan, dtype=np.float32),
        np.full(SIZE, np.inf, dtype=np.float32),
    ],
    ids=["size", "shape", "dtype", "nan", "inf"],
)
def test_what_is_not_fit_to_be_mixed_is_not_taken_in(
    clock: Clock, parameters: np.typing.NDArray[np.float32]
) -> None:
    side = Side(1)
    side.relay.receive(replace(BATCH, messages=(WireMessage(1, 5, SOUND, None),)))
    side.relay.receive(replace(BATCH, messages=(WireMessage(1, 6, parameters, None),)))
    assert side.relay.rejected == 1
    assert side.relay.take_notices() == ["node 1 rejected 1 messages that could not be mixed"]
    assert side.relay.take_notices() == []
    assert side.mailboxes.version(1) == 5


def test_older_versions_foreign_senders_and_earlier_incarnations_change_nothing(
    clock: Clock,
) -> None:
    side = Side(1)
    counters = {1: LearnerProgress(50, 5, 1)}
    fresh = replace(BATCH, progress=counters, messages=(WireMessage(1, 5, SOUND, None),))
    side.relay.receive(fresh)
    side.relay.receive(replace(BATCH, messages=(WireMessage(1, 4, 9 * SOUND, None),)))
    side.relay.receive(replace(BATCH, messages=(WireMessage(2, 9, SOUND, None),)))
    late = replace(
        fresh, incarnation=1, down=frozenset({1}), messages=(WireMessage(1, 9, SOUND, None),)
    )
    side.relay.receive(late)
    side.relay.receive(replace(BATCH, progress={1: LearnerProgress(40, 4, 1)}))
    assert side.mailboxes.version(1) == 5
    assert side.mailboxes.version(2) == 0
    assert not side.mailboxes.is_down(1)
    assert side.counters.get(1, LearnerCounter.AGENT_STEPS) == 50, "counters never run backwards"


def test_a_silent_node_is_down_until_its_next_batch(clock: Clock) -> None:
    side = Side(1)
    side.relay.receive(BATCH)
    clock.now += 1.9
    side.relay.check_silence()
    assert not side.mailboxes.is_down(0)
    clock.now += 0.2
    side.relay.check_silence()
    assert [side.mailboxes.is_down(rank) for rank in range(4)] == [True, True, False, False]
    side.relay.receive(
        replace(BATCH, progress={0: LearnerProgress(1, 1, 1), 1: LearnerProgress(1, 1, 1)})
    )
    assert not side.mailboxes.is_down(0)


def test_a_restarted_node_learns_how_far_it_was(clock: Clock) -> None:
    before, here = Side(1), Side(0)
    before.counters.set(3, LearnerCounter.AGENT_STEPS, 120)
    before.counters.set(3, LearnerCounter.UPDATES, 11)
    before.say(3, 12)
    before.relay.send_due()
    here.relay.receive(before.last.batch)
    again = Side(1, incarnation=2)
    here.relay.send_due()
    again.relay.receive(here.last.batch)
    assert again.relay.known_progress == {
        2: LearnerProgress(0, 0, 0),
        3: LearnerProgress(120, 12, 0),
    }


def test_a_mean_far_from_zero_is_not_rounded_on_its_way_to_another_node(clock: Clock) -> None:
    last = slice(SIZE - 2, SIZE)
    here, there = (Side(node, precision="bfloat16", moments=last) for node in range(2))
    here.say(1, 1, value=1_003.0)
    here.relay.send_due()
    there.relay.receive(here.last.batch)
    message = there.mailboxes.latest(1)
    assert message is not None
    assert message.parameters.tolist() == [1_004.0] * 3 + [1_003.0] * 2
    there.relay.receive(replace(BATCH, messages=(WireMessage(1, 2, np.ones(3, np.int16), None),)))
    assert there.relay.rejected == 1


def test_routes_follow_the_number_of_learners_and_former_nodes_are_still_received(
    clock: Clock,
) -> None:
    three = (range(2), range(2, 4), range(4, 6))
    side = Side(0, ranks=three)
    side.relay.set_topology(make("directed-ring", 4))
    side.counters.set_learners(4)
    side.say(1, 1)
    side.relay.send_due()
    assert [other for other, _ in side.calls] == [1]
    assert versions(side.last.batch) == {1: 1}
    side.relay.receive(replace(BATCH, node=2, progress={4: LearnerProgress(70, 7, 1)}))
    assert side.counters.total_agent_steps == 70, "its last steps are of the budget too"

    side.relay.set_topology(make("complete", 6))
    side.counters.set_learners(6)
    side.last.ended = True
    side.relay.send_due()
    new = next(call.batch for other, call in side.calls if other == 2)
    assert versions(new) == {1: 1}
    assert new.known_progress[4] == LearnerProgress(70, 7, 1)
    side.relay.set_topology(make("directed-ring", 1))
    clock.now += 10.0
    assert not side.relay.send_due(), "there is no other node to send to"
    assert side.relay.has_received_all()


def test_a_new_process_behind_a_link_is_sent_everything_again(clock: Clock) -> None:
    side = Side(0)
    side.say(1, 1)
    side.relay.send_due()
    side.relay.receive(replace(BATCH, node=1, incarnation=1))
    side.last.ended = True
    clock.now += 0.3
    side.relay.send_due()
    assert versions(side.last.batch) == {}
    side.relay.receive(replace(BATCH, node=1, incarnation=2))
    side.last.ended = True
    clock.now += 0.3
    side.relay.send_due()
    assert versions(side.last.batch) == {1: 1}
    assert side.last.batch.messages[0].optimizer_state is not None
