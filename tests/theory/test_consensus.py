"""Measured distances and cosines equal those computed pair by pair."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from gala_rl.theory.consensus import consensus, mean_pairwise_cosine


def random(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 1000, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("learners", [2, 3, 7])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_distances_are_those_of_all_pairs_and_from_the_mean(learners: int, offset: float) -> None:
    vectors = random(learners) + offset
    pairs = list(itertools.combinations(vectors.double(), 2))
    found = consensus(vectors)
    assert found.span == pytest.approx(max(float((a - b).norm()) for a, b in pairs), rel=1e-5)
    centred = vectors.double() - vectors.double().mean(dim=0)
    assert found.rms == pytest.approx(float(centred.square().sum(dim=1).mean().sqrt()), rel=1e-5)
    assert found.distances == pytest.approx(centred.norm(dim=1).tolist(), rel=1e-5)
    assert found.mean_norm == pytest.approx(float(vectors.double().mean(dim=0).norm()), rel=1e-5)


def test_equal_vectors_are_not_apart() -> None:
    found = consensus(random(1).expand(4, -1))
    assert found.rms == found.span == 0.0


@pytest.mark.parametrize("learners", [2, 5])
def test_the_mean_cosine_is_that_of_all_pairs(learners: int) -> None:
    gradients = random(learners) + 0.5 * random(1, seed=1)
    pairs = itertools.combinations(gradients, 2)
    cosines = [float(F.cosine_similarity(a, b, dim=0)) for a, b in pairs]
    assert mean_pairwise_cosine(gradients) == pytest.approx(sum(cosines) / len(cosines), abs=1e-5)


def test_there_is_no_cosine_with_nothing() -> None:
    assert mean_pairwise_cosine(random(1)) is None
    assert mean_pairwise_cosine(torch.stack([random(1)[0], torch.zeros(1000)])) is None
