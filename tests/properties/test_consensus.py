"""Proves that synchronous gossip keeps the mean and contracts disagreement at the exact rate.

All learners send, then all mix: in exact arithmetic X ← W X. The same checks are then held
against deliberately wrong mixes, which they must reject.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gala_rl.gossip import topology
from gala_rl.gossip.message import Message
from gala_rl.gossip.mixing import mix_
from gala_rl.gossip.node import GossipNode, Mix, Proceed
from gala_rl.gossip.topology import NAMES, Topology

SIZE = 4
ROUNDING = 1e-5
QUIET = settings(max_examples=60, deadline=None, derandomize=True)

MixFunction = Callable[[torch.Tensor, Sequence[torch.Tensor]], None]


def synchronous_rounds(
    graph: Topology, start: torch.Tensor, rounds: int, mix: MixFunction = mix_
) -> list[torch.Tensor]:
    """Parameters [n, P] at the start and after each round in which all send before any mixes."""
    vectors = start.clone()
    nodes = [GossipNode(rank, graph, size=start.shape[1]) for rank in range(graph.learners)]
    history = [vectors.clone()]
    for version in range(1, rounds + 1):
        sends = [node.on_update(version) for node in nodes]
        for sender, send in enumerate(sends):
            for receiver in send.receivers:
                message = Message(sender, version, history[-1][sender].clone())
                assert nodes[receiver].on_message(message) is None
        for rank, node in enumerate(nodes):
            decision = node.decide()
            if graph.learners == 1:
                assert decision == Proceed()
                continue
            assert isinstance(decision, Mix)
            mix(vectors[rank], [message.parameters for message in decision.messages])
            node.on_mixed(decision)
        history.append(vectors.clone())
    return history


def disagreement(vectors: torch.Tensor) -> float:
    """Euclidean distance of all learners from their mean."""
    exact = vectors.numpy().astype(np.float64)
    return float(np.linalg.norm(exact - exact.mean(axis=0)))


def assert_mean_is_kept(history: list[torch.Tensor]) -> None:
    start = history[0].numpy().astype(np.float64)
    tolerance = ROUNDING * np.abs(start).max()
    for vectors in history:
        mean = vectors.numpy().mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(mean, start.mean(axis=0), rtol=0, atol=tolerance)


def assert_contracts_like_a_directed_ring(history: list[torch.Tensor]) -> None:
    factor = math.cos(math.pi / history[0].shape[0])
    slack = ROUNDING * max(1.0, float(history[0].abs().max()))
    for before, after in itertools.pairwise(history):
        assert disagreement(after) <= factor * disagreement(before) + slack


def assert_slowest_mode_contracts_exactly(learners: int, mix: MixFunction = mix_) -> None:
    """The wave that fits once around the ring loses just the factor cos(π / n) a round."""
    angle = 2 * math.pi * torch.arange(learners) / learners
    wave = torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)
    history = synchronous_rounds(topology.directed_ring(learners), wave, rounds=5, mix=mix)
    factor = math.cos(math.pi / learners)
    for before, after in itertools.pairwise(history):
        assert disagreement(after) == pytest.approx(factor * disagreement(before), abs=ROUNDING)


def vectors_of(learners: int) -> st.SearchStrategy[torch.Tensor]:
    row = st.lists(st.floats(-1e6, 1e6, width=32), min_size=SIZE, max_size=SIZE)
    return st.lists(row, min_size=learners, max_size=learners).map(torch.tensor)


@QUIET
@given(st.data(), st.sampled_from(NAMES), st.integers(1, 9))
def test_a_synchronous_round_on_a_regular_graph_preserves_the_mean(
    data: st.DataObject, name: str, learners: int
) -> None:
    start = data.draw(vectors_of(learners))
    assert_mean_is_kept(synchronous_rounds(topology.make(name, learners), start, rounds=6))


@QUIET
@given(st.data(), st.sampled_from(NAMES), st.integers(1, 9))
def test_a_synchronous_round_is_a_multiplication_by_the_mixing_matrix(
    data: st.DataObject, name: str, learners: int
) -> None:
    graph = topology.make(name, learners)
    start = data.draw(vectors_of(learners))
    expected, scale = start.double().numpy(), float(start.abs().max())
    for version, vectors in enumerate(synchronous_rounds(graph, start, rounds=4)):
        if version:
            expected = graph.mixing_matrix(version) @ expected
        np.testing.assert_allclose(vectors.numpy(), expected, rtol=0, atol=ROUNDING * scale)


@QUIET
@given(st.data(), st.integers(2, 9))
def test_a_directed_ring_contracts_disagreement_by_at_least_its_factor(
    data: st.DataObject, learners: int
) -> None:
    start = data.draw(vectors_of(learners))
    history = synchronous_rounds(topology.directed_ring(learners), start, rounds=6)
    assert_contracts_like_a_directed_ring(history)


@pytest.mark.parametrize("learners", [2, 3, 4, 8, 16])
def test_the_slowest_mode_of_a_directed_ring_contracts_by_exactly_its_factor(
    learners: int,
) -> None:
    assert_slowest_mode_contracts_exactly(learners)


@pytest.mark.parametrize("learners", [2, 4, 8])
def test_rotating_exponential_gossip_agrees_after_log2_n_rounds(learners: int) -> None:
    start = torch.randn(learners, SIZE, generator=torch.Generator().manual_seed(0))
    rounds = int(math.log2(learners))
    history = synchronous_rounds(topology.rotating_exponential(learners), start, rounds)
    assert disagreement(history[-2]) > 0.01
    assert disagreement(history[-1]) < ROUNDING


@QUIET
@given(st.data(), st.sampled_from(NAMES))
def test_a_learner_alone_is_never_changed(data: st.DataObject, name: str) -> None:
    start = data.draw(vectors_of(1))
    for vectors in synchronous_rounds(topology.make(name, 1), start, rounds=5):
        assert torch.equal(vectors, start)


# The checks themselves: each must reject a mix that is wrong.


def sixty_forty(parameters: torch.Tensor, received: Sequence[torch.Tensor]) -> None:
    parameters.lerp_(received[0], 0.4)


def forgets_itself(parameters: torch.Tensor, received: Sequence[torch.Tensor]) -> None:
    parameters.copy_(torch.stack(list(received)).mean(dim=0))


def divides_by_too_much(parameters: torch.Tensor, received: Sequence[torch.Tensor]) -> None:
    parameters.add_(torch.stack(list(received)).sum(dim=0)).div_(1 + 2 * len(received))


def never_mixes(parameters: torch.Tensor, received: Sequence[torch.Tensor]) -> None:
    pass


def random_start(learners: int) -> torch.Tensor:
    return 1 + torch.randn(learners, SIZE, generator=torch.Generator().manual_seed(learners))


@pytest.mark.parametrize("name", NAMES)
def test_the_check_of_the_mean_rejects_a_wrong_weight(name: str) -> None:
    history = synchronous_rounds(topology.make(name, 4), random_start(4), 6, divides_by_too_much)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_mean_is_kept(history)


def test_the_check_of_the_mean_rejects_an_irregular_graph() -> None:
    graph = topology.from_edges([(0, 1), (1, 0), (0, 2), (2, 0), (1, 2)], 3)
    history = synchronous_rounds(graph, random_start(3), 6)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_mean_is_kept(history)


@pytest.mark.parametrize("wrong_mix", [forgets_itself, never_mixes])
@pytest.mark.parametrize("learners", [2, 3, 4, 8])
def test_the_check_of_the_bound_rejects_a_mix_that_does_not_contract(
    learners: int, wrong_mix: MixFunction
) -> None:
    ring = topology.directed_ring(learners)
    history = synchronous_rounds(ring, random_start(learners), 6, wrong_mix)
    with pytest.raises(AssertionError):
        assert_contracts_like_a_directed_ring(history)


@pytest.mark.parametrize("wrong_mix", [sixty_forty, forgets_itself, never_mixes])
@pytest.mark.parametrize("learners", [2, 3, 4, 8])
def test_the_check_of_the_slowest_mode_rejects_a_wrong_weight(
    learners: int, wrong_mix: MixFunction
) -> None:
    with pytest.raises(AssertionError):
        assert_slowest_mode_contracts_exactly(learners, wrong_mix)
