"""Proves that gossip alone moves no coordinate out of the range the learners began in.

Whatever the order of the turns and whatever the network does to the messages: a mean of numbers
lies between them, and nothing but means is ever taken.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gala_rl.gossip import Gossip, MemoryNetwork, Topology, topology
from gala_rl.gossip import gossip as gossip_module

SIZE = 3
NUMBERS = st.floats(-(2.0**40), 2.0**40, width=32)


@dataclass(frozen=True)
class Story:
    """What happens to a few learners with a learning rate of zero."""

    graph: Topology
    start: torch.Tensor
    fates: list[int | None]
    when: Literal["all", "any"]
    max_staleness: int | None
    events: list[tuple[str, int]]


@st.composite
def connected_graphs(draw: st.DrawFn, learners: int) -> Topology:
    """A ring with any further edges: connected, and in general not regular."""
    pairs = [(i, j) for i in range(learners) for j in range(learners) if (j - i) % learners > 1]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    ring = [(i, (i + 1) % learners) for i in range(learners)] if learners > 1 else []
    return topology.from_edges([*ring, *chosen], learners)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    learners = draw(st.integers(1, 5))
    named = st.sampled_from(topology.NAMES).map(lambda name: topology.make(name, learners))
    rows = st.lists(NUMBERS, min_size=SIZE, max_size=SIZE)
    events = st.tuples(
        st.sampled_from(["turn", "turn", "turn", "turn", "kill", "restart"]),
        st.integers(0, learners - 1),
    )
    return Story(
        graph=draw(named | connected_graphs(learners)),
        start=torch.tensor(draw(st.lists(rows, min_size=learners, max_size=learners))),
        fates=draw(st.lists(st.none() | st.integers(0, 4), min_size=1, max_size=12)),
        when=draw(st.sampled_from(["all", "any"])),
        max_staleness=draw(st.none() | st.integers(0, 2)),
        events=draw(st.lists(events, min_size=1, max_size=40)),
    )


def live_through(story: Story) -> Iterator[torch.Tensor]:
    """All learners' parameters [n, P] after each event."""
    fates = itertools.cycle(story.fates)
    network = MemoryNetwork(story.graph.learners, delay=lambda *_: next(fates))
    vectors = story.start.clone()

    def begin(rank: int, version: int) -> Gossip:
        gossip = Gossip(
            vectors[rank],
            network.transport(rank),
            rank,
            story.graph,
            when=story.when,
            max_staleness=story.max_staleness,
            deadline_s=-1.0,
        )
        gossip.node.restore(version, {}, staleness_updates=0)
        return gossip

    gossips = [begin(rank, 0) for rank in range(story.graph.learners)]
    for event, rank in story.events:
        if event == "kill":
            network.kill(rank)
        elif event == "restart":
            donor = network.latest((rank + 1) % story.graph.learners)
            if donor is not None:
                vectors[rank].copy_(donor.parameters)
            gossips[rank] = begin(rank, gossips[rank].node.version)
        else:
            gossips[rank].exchange()
        yield vectors


def assert_inside(vectors: torch.Tensor, start: torch.Tensor) -> None:
    """Within two units in the last place of the largest magnitude a coordinate began with."""
    now, then = vectors.numpy(), start.numpy()
    margin = 2 * np.spacing(np.abs(then).max(axis=0))
    assert (now >= then.min(axis=0) - margin).all(), "below the hull"
    assert (now <= then.max(axis=0) + margin).all(), "above the hull"


def assert_never_leaves_the_hull(story: Story) -> None:
    for vectors in live_through(story):
        assert_inside(vectors, story.start)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(stories())
def test_no_coordinate_ever_leaves_the_hull_of_where_the_learners_began(story: Story) -> None:
    assert_never_leaves_the_hull(story)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(stories(), NUMBERS)
def test_learners_that_agree_never_move(story: Story, number: float) -> None:
    story.start.fill_(number)
    for vectors in live_through(story):
        assert torch.equal(vectors, story.start)


def sum_of_all(parameters: torch.Tensor, received: list[torch.Tensor], start: torch.Tensor) -> None:
    for message in received:
        parameters.add_(message)


def step_too_far(
    parameters: torch.Tensor, received: list[torch.Tensor], start: torch.Tensor
) -> None:
    for message in received:
        parameters.lerp_(message, 1.001)


@pytest.mark.parametrize("wrong_mix", [sum_of_all, step_too_far])
def test_a_wrong_mix_is_seen_to_leave_the_hull(
    wrong_mix: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gossip_module, "mix_", wrong_mix)
    story = Story(
        graph=topology.directed_ring(3),
        start=torch.tensor([[-1.0] * SIZE, [1.0] * SIZE, [5.0] * SIZE]),
        fates=[0],
        when="all",
        max_staleness=None,
        events=[("turn", rank) for rank in (0, 1, 2)],
    )
    with pytest.raises(AssertionError, match="the hull"):
        assert_never_leaves_the_hull(story)
