"""Messages, mailboxes, journals, slots and words full of random bits: rejected, or sound."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gala_rl.actors import actors
from gala_rl.gossip import Gossip, Message, SharedMailboxes, directed_ring
from gala_rl.gossip.journal import Journal, OverrunError
from gala_rl.gossip.mixing import mix_
from gala_rl.gossip.node import GossipNode, Mix
from gala_rl.gossip.topology import complete
from tests.actors.scripted import make_config, run, scripted
from tests.fuzz.mutate import both

SIZE = 6


def odd_numbers(chance: random.Random) -> Tensor:
    """Numbers of any bits: NaN, infinities, huge and subnormal ones among them."""
    bits = torch.frombuffer(bytearray(chance.randbytes(4 * SIZE)), dtype=torch.float32)
    return torch.where(torch.rand(SIZE) < chance.random(), torch.randn(SIZE), bits)


def odd_message(chance: random.Random) -> Message:
    version: Any = chance.choice([-(2**63), -1, 0, 1, 2, chance.randrange(10**6), 2**63, 2**64])
    shapes: tuple[Callable[[], Tensor], ...] = (
        lambda: torch.randn(SIZE),
        lambda: odd_numbers(chance),
        lambda: torch.full((SIZE,), chance.choice([1e17, 1e19, 3e38, -3e38])),
        lambda: torch.randn(chance.choice([0, 1, SIZE + 1])),
        lambda: torch.randn(SIZE, 1),
        lambda: torch.zeros(()),
        lambda: torch.randn(SIZE, dtype=torch.float64),
        lambda: torch.ones(SIZE, dtype=torch.int64),
        lambda: torch.randn(2 * SIZE)[::2],
        lambda: torch.randn(SIZE, dtype=torch.complex64),
        lambda: torch.ones(SIZE, dtype=torch.bool),
    )
    parameters = chance.choice(shapes)()
    return Message(chance.choice([-1, 0, 1, 2, 3, 10**9]), version, parameters)


@both(400, 30_000)
def test_a_message_is_rejected_and_counted_or_mixed(seed: int, inputs: int) -> None:
    chance = random.Random(seed)
    torch.manual_seed(seed)
    accepted = 0
    for number in range(inputs):
        if number % 20 == 0:
            node, own = GossipNode(0, complete(3), size=SIZE, when="any"), torch.randn(SIZE)
        message, rejected = odd_message(chance), sum(node.rejected.values())
        reason = node.on_message(message)
        assert sum(node.rejected.values()) == rejected + (reason is not None)
        accepted += reason is None
        decision = node.decide()
        if isinstance(decision, Mix):
            mix_(own, [m.parameters for m in decision.messages])
            node.on_mixed(decision)
        assert torch.isfinite(own).all()
        assert all(v >= 0 for v in node.mixed_versions.values())
    assert 0 < accepted < inputs


def scribble(memory: Tensor, chance: random.Random) -> None:
    """Random bits in some, or all, of a shared memory."""
    whole = memory.view(-1).view(torch.uint8).numpy()
    for _ in range(chance.choice([1, 2, 8])):
        a, b = sorted(chance.randrange(len(whole) + 1) for _ in range(2))
        b = min(b, a + chance.choice([1, 8, 64, 10_000]))
        whole[a:b] = np.frombuffer(chance.randbytes(b - a), dtype=np.uint8)


@both(300, 20_000)
def test_mailboxes_full_of_random_bits_never_reach_the_parameters(seed: int, inputs: int) -> None:
    chance, ring = random.Random(seed), directed_ring(3)
    torch.manual_seed(seed)
    boxes = SharedMailboxes(3, SIZE)
    gossips: list[Gossip] = []
    for version in range(1, inputs + 1):
        if version % 20 == 1:
            boxes = SharedMailboxes(3, SIZE)
            gossips = [Gossip(torch.randn(SIZE), boxes.transport(r), r, ring) for r in range(3)]
        for memory in (boxes._parameters, boxes._headers, boxes._latest, boxes._down):
            if chance.random() < 0.4:
                scribble(memory, chance)
        for gossip in gossips:
            gossip.exchange(version)
            assert torch.isfinite(gossip.parameters).all()
        for learner in range(3):
            boxes.latest(learner)
            assert boxes.version(learner) >= 0


@both(200, 5_000)
def test_a_journal_full_of_random_bits_ends_in_a_gap(seed: int, inputs: int) -> None:
    chance = random.Random(seed)
    journal = Journal(2, 2)
    writers, reader = [journal.writer(i) for i in range(2)], journal.reader()
    gaps = entries = 0
    for version in range(1, inputs + 1):
        writers[version % 2].mix(version, [(0, version), (1, version)])
        if chance.random() < 0.5:
            scribble(journal._written, chance)
        if chance.random() < 0.5:
            row = int(journal._written[0]) % len(journal._rings[0])
            scribble(journal._rings[0, row : row + 2], chance)
        try:
            found = reader.new_entries()
        except OverrunError:
            gaps += 1
            continue
        entries += len(found)
        assert all(e.learner in (0, 1) and e.version <= version for e in found)
    assert gaps
    assert entries


@pytest.fixture
def books(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Queued actors that are scripted, and that may die as often as they like."""
    monkeypatch.setattr(actors, "_EXIT_S", 0.0)
    with scripted(replace(make_config(batch_rollouts=1), max_restarts=10**9)) as (queue, made):
        queue._publish()
        yield queue, made


def present(made: list[Any], index: int) -> Any:
    return [actor for actor in made if actor.spec.index == index][-1]


@both(150, 5_000)
def test_a_slot_with_anything_in_it_is_learned_whole_or_costs_its_actor(
    books: Any, seed: int, inputs: int
) -> None:
    queue, made = books
    chance, learned = random.Random(seed), 0
    for number in range(inputs):
        sound, spoiled = number % 5, 5 + number % 95
        queue.poll()
        run(present(made, 0), spoiled, 1)
        slots = present(made, 0).spec.slots
        for memory in (slots._info, slots._episodes):
            scribble(memory, chance)
        queue.poll()
        run(present(made, 1), sound, 1)
        queue.poll()
        while queue.collect().rewards[0, 0] != sound:
            learned += 1
        assert all(0 <= e.simulator < 4 and e.agent_steps > 0 for e in queue.episodes)
        assert queue.failures >= 0
        assert all(lag >= 0 for lag in queue._lags)
        queue.episodes.clear()
    assert 0 < learned < inputs


@both(150, 5_000)
def test_words_that_are_none_cost_their_actor(books: Any, seed: int, inputs: int) -> None:
    queue, made = books
    chance = random.Random(seed)
    for _ in range(inputs):
        actor = present(made, chance.randrange(2))
        kind = chance.randrange(6)
        if kind == 0:
            actor.connection.send_bytes(bytes([chance.randrange(256)]))
        elif kind == 1:
            actor.connection.send_bytes(chance.randbytes(chance.choice([0, 2, 100, 50_000])))
        elif kind == 2:
            os.write(actor.connection.fileno(), chance.randbytes(chance.choice([1, 3, 4, 5, 12])))
        elif kind == 3:
            os.write(actor.connection.fileno(), b"\xff\xff\xff\xff" + chance.randbytes(8))
        elif kind == 4:
            os.write(actor.connection.fileno(), b"\0\0")
            actor.process.kill()
        else:
            actor.connection.send_bytes(b"\xff")
        queue.poll()
        queue.poll()
        for actor in queue._actors:
            assert actor.requested <= set(range(actor.slots.count))
        assert all(slot < actor.slots.count for actor, slot in queue._queue)
        queue._queue.clear()
        for actor in queue._actors:
            queue._request_all(actor)
    assert sum(actor.budget.deaths for actor in queue._actors) > inputs / 4
