"""ε-greedy: how often which action is chosen, and the ε of each simulator."""

import math

import pytest
import torch

from gala_rl.models.exploration import epsilon_greedy, epsilon_greedy_log_probs, epsilon_ladder

Q = torch.tensor([[0.0, 1.0, -1.0, 0.5]])
DRAWS = 40_000


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_actions_are_as_frequent_as_their_probabilities(epsilon: float) -> None:
    q, epsilons = Q.expand(DRAWS, 4), torch.tensor([epsilon])
    actions = epsilon_greedy(q, epsilons, torch.Generator().manual_seed(0))
    frequencies = torch.bincount(actions, minlength=4) / DRAWS
    log_probs = epsilon_greedy_log_probs(Q.expand(4, 4), torch.arange(4), epsilons)
    others, best = epsilon / 4, 1 - epsilon + epsilon / 4
    assert log_probs.exp().tolist() == pytest.approx([others, best, others, others])
    deviation = math.sqrt(others * (1 - others) / DRAWS)
    for frequency, expected in zip(frequencies, log_probs.exp(), strict=True):
        assert abs(float(frequency - expected)) <= 4 * deviation


def test_every_simulator_has_its_own_epsilon() -> None:
    q, epsilons = Q.expand(2, 4), torch.tensor([1.0, 0.0])
    generator = torch.Generator().manual_seed(0)
    actions = torch.stack([epsilon_greedy(q, epsilons, generator) for _ in range(100)])
    assert set(actions[:, 0].tolist()) == {0, 1, 2, 3}
    assert set(actions[:, 1].tolist()) == {1}
    log_probs = epsilon_greedy_log_probs(q, torch.tensor([1, 1]), epsilons)
    assert log_probs.exp().tolist() == pytest.approx([0.25, 1.0])


@pytest.mark.parametrize("count", [2, 3])
def test_the_epsilons_of_other_simulators_are_rejected(count: int) -> None:
    with pytest.raises(RuntimeError, match="expand"):
        epsilon_greedy(Q, torch.full((count,), 0.1), torch.Generator())


def test_the_ladder_spans_the_published_range() -> None:
    ladder = epsilon_ladder(256).tolist()
    assert ladder == pytest.approx([0.4 ** (1 + 7 * i / 255) for i in range(256)], rel=1e-6)
    assert ladder[0] == pytest.approx(0.4)
    assert ladder[-1] == pytest.approx(0.4**8)
    assert epsilon_ladder(1).tolist() == pytest.approx([0.4])
