"""A mix is the mean of its vectors, and invalid vectors are no messages."""

import math

import pytest
import torch

from gala_rl.gossip.mixing import defect, mix_


def random_vectors(count: int, size: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("messages", [1, 2, 3, 7, 31])
def test_a_mix_is_the_mean_of_oneself_and_all_messages(messages: int) -> None:
    own, *received = random_vectors(1 + messages, 1000, seed=messages)
    mean = torch.stack([own, *received]).double().mean(dim=0)
    mix_(own, received)
    torch.testing.assert_close(own.double(), mean, rtol=0, atol=2e-6)


def test_the_mean_of_two_numbers_is_known_by_hand() -> None:
    own = torch.tensor([0.0, 2.0, -4.0])
    mix_(own, [torch.tensor([1.0, 2.0, 4.0])])
    assert own.tolist() == [0.5, 2.0, 0.0]


def test_a_mix_changes_the_vector_in_place_and_leaves_the_messages_alone() -> None:
    own, first, second = random_vectors(3, 10)
    pointer, before = own.data_ptr(), [first.clone(), second.clone()]
    mix_(own, [first, second])
    assert own.data_ptr() == pointer
    assert torch.equal(first, before[0])
    assert torch.equal(second, before[1])


@pytest.mark.parametrize("messages", [1, 2, 3, 6, 31])
def test_learners_that_agree_stay_bit_identical(messages: int) -> None:
    vector = random_vectors(1, 1001)[0] * torch.logspace(-30, 10, 1001)
    own = vector.clone()
    mix_(own, [vector.clone() for _ in range(messages)])
    assert torch.equal(own.view(torch.int32), vector.view(torch.int32))


def test_a_mix_without_messages_is_the_identity() -> None:
    own = random_vectors(1, 100)[0]
    before = own.clone()
    mix_(own, [])
    assert torch.equal(own, before)


def test_a_mix_reaches_the_model_that_views_the_vector() -> None:
    values = torch.zeros(6)
    weight = values[2:].view(2, 2)
    mix_(values, [torch.full((6,), 2.0)])
    assert weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_sound_vector_has_no_defect() -> None:
    assert defect(random_vectors(1, 50)[0], 50) is None
    assert defect(torch.zeros(50), 50) is None
    assert defect(torch.full((50,), -1e15), 50) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("position", [0, 17, 49])
def test_one_bad_number_anywhere_is_found(bad: float, position: int) -> None:
    vector = torch.zeros(50)
    vector[position] = bad
    assert defect(vector, 50) == "not finite"


def test_opposite_infinities_do_not_cancel() -> None:
    assert defect(torch.tensor([math.inf, -math.inf]), 2) == "not finite"


@pytest.mark.parametrize(
    "vector",
    [
        torch.zeros(49),
        torch.zeros(51),
        torch.zeros(0),
        torch.zeros(5, 10),
        torch.zeros(1, 50),
        torch.zeros(50, dtype=torch.float64),
        torch.zeros(50, dtype=torch.float16),
        torch.zeros(50, dtype=torch.int32),
        torch.full((49,), math.nan),
    ],
    ids=lambda vector: f"{tuple(vector.shape)}-{vector.dtype}",
)
def test_a_vector_of_another_shape_or_type_is_found(vector: torch.Tensor) -> None:
    assert defect(vector, 50) == "wrong size"


@pytest.mark.parametrize("messages", [1, 2, 5])
def test_the_mean_may_start_from_parameters_that_lie_elsewhere(messages: int) -> None:
    generator = torch.Generator().manual_seed(messages)
    start = torch.randn(6, generator=generator)
    received = [torch.randn(6, generator=generator) for _ in range(messages)]
    in_place, elsewhere, kept = start.clone(), torch.full((6,), torch.nan), start.clone()
    mix_(in_place, received)
    mix_(elsewhere, received, start)
    assert torch.equal(elsewhere, in_place)
    assert torch.equal(start, kept)
