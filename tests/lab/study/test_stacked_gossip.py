"""Rounds of gossip are products with mixing matrices; late and missed messages are as scripted."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gala_lab.study.options import RANDOM_MATCHING
from gala_lab.study.stacked_gossip import StackedGossip
from gala_rl.gossip.topology import make

SIZE = 3


def parameters(seeds: int, learners: int) -> Tensor:
    return torch.randn(seeds * learners, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("topology", ["directed-ring", "rotating-exponential", "complete"])
@pytest.mark.parametrize("learners", [2, 5, 8])
def test_a_round_is_a_product_with_the_mixing_matrix(topology: str, learners: int) -> None:
    gossip, graph = StackedGossip(topology, learners, seeds=2), make(topology, learners)
    x = parameters(2, learners)
    for number in range(4):
        matrix = torch.from_numpy(graph.mixing_matrix(number)).float()
        expected = torch.cat([matrix @ part for part in x.chunk(2)])
        x = gossip.mix(x)
        torch.testing.assert_close(x, expected)


@pytest.mark.parametrize("learners", [4, 7])
def test_both_of_a_random_pair_get_their_mean(learners: int) -> None:
    gossip, x = StackedGossip(RANDOM_MATCHING, learners, seeds=3), parameters(3, learners)
    partners = set()
    for _ in range(30):
        mixed = gossip.mix(x)
        for seed in range(3):
            before, after = (y.view(3, learners, SIZE)[seed] for y in (x, mixed))
            torch.testing.assert_close(before.mean(0), after.mean(0))
            equal = torch.cdist(after, after) < 1e-7
            changed = (before != after).any(1)
            assert int(changed.sum()) == learners - learners % 2
            assert (equal.sum(1)[changed] == 2).all()
            partners.add(tuple(equal[0].nonzero().flatten().tolist()))
    assert len(partners) == learners - 1 + learners % 2, "every partner, or none if odd"


def test_late_messages_are_what_was_sent_so_many_rounds_ago() -> None:
    gossip = StackedGossip("directed-ring", 3, seeds=1, delays=[2, 0, 1])
    sent, x = [], parameters(1, 3)
    for number in range(5):
        sent.append(x)
        mixed = gossip.mix(x)
        for receiver, delay in enumerate([2, 0, 1]):
            if number < delay:
                assert torch.equal(mixed[receiver], x[receiver])
            else:
                message = sent[number - delay][receiver - 1]
                torch.testing.assert_close(mixed[receiver], (x[receiver] + message) / 2)
        x = mixed + 1.0


def test_learners_miss_mixes_as_often_as_asked() -> None:
    gossip, x = StackedGossip("directed-ring", 4, seeds=50, missed=0.2), parameters(50, 4)
    missed = torch.stack([(gossip.mix(x) == x).all(1) for _ in range(50)]).float()
    # 10,000 draws: five standard deviations.
    assert abs(float(missed.mean()) - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 10_000)
    assert float(missed.mean(0).std()) > 0.0


def test_a_warm_up_averages_all_learners_of_a_seed() -> None:
    gossip, x = StackedGossip("directed-ring", 4, seeds=2, warm_up_rounds=1), parameters(2, 4)
    mixed = gossip.mix(x)
    for part, mean in zip(mixed.chunk(2), x.chunk(2), strict=True):
        torch.testing.assert_close(part, mean.mean(0).expand(4, SIZE))
    again = gossip.mix(x)
    torch.testing.assert_close(again[1], (x[1] + x[0]) / 2)


def test_one_learner_does_not_mix() -> None:
    x = parameters(3, 1)
    assert StackedGossip("directed-ring", 1, seeds=3).mix(x) is x
