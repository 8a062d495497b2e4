"""Policy heads are the distributions they claim to be: densities, entropies and samples."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, Normal

from gala_rl.models.policies import (
    CategoricalPolicy,
    GaussianPolicy,
    MultiCategoricalPolicy,
    Policy,
)

FEATURES = 5
SAMPLES = 20_000


def features(count: int = 11) -> Tensor:
    return torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(1))


def categorical(actions: int = 4) -> CategoricalPolicy:
    """A policy far from uniform, different for each input."""
    policy = CategoricalPolicy(FEATURES, actions)
    generator = torch.Generator().manual_seed(2)
    policy.logits.weight.data.normal_(generator=generator)
    dict(policy.named_parameters())["logits.bias"].data.normal_(generator=generator)
    return policy


def gaussian(actions: int = 3) -> GaussianPolicy:
    policy = GaussianPolicy(FEATURES, actions)
    policy.mean.weight.data.normal_(generator=torch.Generator().manual_seed(3))
    policy.log_std.data.copy_(torch.linspace(-1.0, 0.7, actions))
    return policy


def reference(policy: CategoricalPolicy | GaussianPolicy) -> Any:
    parameters = policy(features())
    if isinstance(policy, CategoricalPolicy):
        return Categorical(logits=parameters)
    return Independent(Normal(parameters, policy.log_std.exp().expand_as(parameters)), 1)


both_kinds = pytest.mark.parametrize("make", [categorical, gaussian])
Make = Callable[[], CategoricalPolicy | GaussianPolicy]


@both_kinds
def test_log_probabilities_and_entropies_equal_those_of_torch(make: Make) -> None:
    policy = make()
    actions = policy.sample(features(), torch.Generator().manual_seed(4)).detach()
    log_probs, entropies = policy.log_prob_and_entropy(features(), actions)
    expected = reference(policy)
    assert log_probs.shape == entropies.shape == (11,)
    torch.testing.assert_close(log_probs, expected.log_prob(actions))
    torch.testing.assert_close(entropies, expected.entropy())


@both_kinds
def test_their_gradients_equal_those_of_torch(make: Make) -> None:
    mine, theirs = make(), make()
    actions = mine.sample(features(), torch.Generator().manual_seed(4)).detach()
    weights = torch.linspace(-1.0, 2.0, 11)
    log_probs, entropies = mine.log_prob_and_entropy(features(), actions)
    torch.autograd.backward((weights * log_probs + entropies).sum())
    expected = reference(theirs)
    torch.autograd.backward((weights * expected.log_prob(actions) + expected.entropy()).sum())
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_probabilities_of_all_discrete_actions_sum_to_one() -> None:
    policy = categorical()
    total = torch.zeros(11)
    for action in range(4):
        log_probs, _ = policy.log_prob_and_entropy(features(), torch.full((11,), action))
        total += log_probs.exp().detach()
    torch.testing.assert_close(total, torch.ones(11))


def test_discrete_samples_are_as_frequent_as_their_probabilities() -> None:
    policy = categorical()
    x = features(3)
    probabilities = torch.softmax(policy(x), dim=-1).detach()
    many = x.repeat_interleave(SAMPLES, dim=0)
    actions = policy.sample(many, torch.Generator().manual_seed(7)).view(3, SAMPLES)
    for row in range(3):
        observed = torch.bincount(actions[row], minlength=4).float()
        expected = probabilities[row] * SAMPLES
        chi_square = float(((observed - expected).square() / expected).sum())
        # 3 degrees of freedom: exceeded by chance once in a million draws.
        assert chi_square < 31.0


def test_continuous_samples_have_the_mean_and_the_deviation_of_the_policy() -> None:
    policy = gaussian()
    x = features(1)
    actions = policy.sample(x.expand(SAMPLES, -1), torch.Generator().manual_seed(7)).detach()
    deviation = policy.log_std.exp().detach()
    standard_error = deviation / SAMPLES**0.5
    assert actions.shape == (SAMPLES, 3)
    assert ((actions.mean(0) - policy(x)[0].detach()).abs() < 5 * standard_error).all()
    assert ((actions.std(0) - deviation).abs() < 5 * standard_error / 2**0.5).all()
    correlation = torch.corrcoef(actions.T) - torch.eye(3)
    assert (correlation.abs() < 5 / SAMPLES**0.5).all()


@both_kinds
def test_samples_follow_the_given_generator_and_nothing_else(make: Make) -> None:
    policy: Policy = make()
    before = torch.get_rng_state()
    first = policy.sample(features(50), torch.Generator().manual_seed(9))
    again = policy.sample(features(50), torch.Generator().manual_seed(9))
    other = policy.sample(features(50), torch.Generator().manual_seed(10))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_goes_on_from_sample_to_sample() -> None:
    generator = torch.Generator().manual_seed(9)
    policy = categorical()
    draws = [policy.sample(features(50), generator) for _ in range(2)]
    assert not torch.equal(draws[0], draws[1])


def test_the_greedy_discrete_action_has_the_largest_logit() -> None:
    policy = categorical()
    logits = policy(features()).tolist()
    expected = [row.index(max(row)) for row in logits]
    assert policy.mode(policy(features())).tolist() == expected
    assert len(set(expected)) > 1


def test_the_greedy_continuous_action_is_the_mean() -> None:
    policy = gaussian()
    assert torch.equal(policy.mode(policy(features())), policy(features()))


def test_actions_are_of_the_documented_shape_and_type() -> None:
    generator = torch.Generator().manual_seed(0)
    for action in (
        categorical().sample(features(), generator),
        categorical().mode(categorical()(features())),
    ):
        assert (tuple(action.shape), action.dtype) == ((11,), torch.int64)
    for action in (
        gaussian().sample(features(), generator),
        gaussian().mode(gaussian()(features())),
    ):
        assert (tuple(action.shape), action.dtype) == ((11, 3), torch.float32)


def test_an_extremely_certain_policy_has_entropy_zero_and_finite_gradients() -> None:
    policy = CategoricalPolicy(FEATURES, 3)
    dict(policy.named_parameters())["logits.bias"].data.copy_(torch.tensor([1e4, 0.0, -1e4]))
    log_probs, entropies = policy.log_prob_and_entropy(features(2), torch.tensor([0, 2]))
    torch.autograd.backward((log_probs + entropies).sum())
    assert entropies.tolist() == [0.0, 0.0]
    assert all(torch.isfinite(p.grad).all() for p in policy.parameters() if p.grad is not None)


def test_a_new_policy_is_nearly_uniform_or_standard_normal() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        discrete, continuous = CategoricalPolicy(FEATURES, 6), GaussianPolicy(FEATURES, 2)
    x = features()
    uniform = torch.full((11, 6), 1 / 6)
    torch.testing.assert_close(torch.softmax(discrete(x), -1), uniform, rtol=0.0, atol=0.02)
    assert continuous(x).abs().max() < 0.1
    assert continuous.log_std.tolist() == [0.0, 0.0]


def test_categorical_actions_are_those_of_multinomial() -> None:
    policy, generator = categorical(), torch.Generator().manual_seed(9)
    probabilities = torch.softmax(policy(features(50)), dim=-1)
    for _ in range(100):
        state = generator.get_state()
        actions = policy.sample(features(50), generator)
        generator.set_state(state)
        expected = torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
        assert torch.equal(actions, expected)


SIZES = [(3, 3), (2, 5, 3), (4,), (1, 2)]
all_sizes = pytest.mark.parametrize("sizes", SIZES, ids=str)


def several(sizes: tuple[int, ...]) -> MultiCategoricalPolicy:
    """Far from uniform, different for each input."""
    policy = MultiCategoricalPolicy(FEATURES, sizes)
    generator = torch.Generator().manual_seed(2)
    for parameter in policy.parameters():
        parameter.data.normal_(generator=generator)
    return policy


def one_by_one(policy: MultiCategoricalPolicy, sizes: tuple[int, ...]) -> list[Any]:
    """Each action's distribution, from its own rows of the layer."""
    weight = policy.logits.weight.view(len(sizes), max(sizes), FEATURES)
    bias = policy.logits.bias.view(len(sizes), max(sizes))
    return [
        Categorical(logits=features() @ weight[a, :size].T + bias[a, :size])
        for a, size in enumerate(sizes)
    ]


@all_sizes
def test_several_actions_are_independent_categoricals(sizes: tuple[int, ...]) -> None:
    mine, theirs = several(sizes), several(sizes)
    actions = mine.sample(features(), torch.Generator().manual_seed(4))
    log_probs, entropies = mine.log_prob_and_entropy(features(), actions)
    assert log_probs.shape == entropies.shape == (11,)
    parts = one_by_one(theirs, sizes)
    expected = sum(part.log_prob(actions[:, a]) for a, part in enumerate(parts))
    entropy = sum(part.entropy() for part in parts)
    torch.testing.assert_close(log_probs, expected)
    torch.testing.assert_close(entropies, entropy)
    weights = torch.linspace(-1.0, 2.0, 11)
    torch.autograd.backward((weights * log_probs + entropies).sum())
    torch.autograd.backward((weights * expected + entropy).sum())
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


@all_sizes
def test_several_actions_are_drawn_as_often_as_they_are_probable(sizes: tuple[int, ...]) -> None:
    policy = several(sizes)
    probabilities = [part.probs[0].detach() for part in one_by_one(policy, sizes)]
    many = policy.sample(features()[:1].expand(SAMPLES, -1), torch.Generator().manual_seed(7))
    assert (tuple(many.shape), many.dtype) == ((SAMPLES, len(sizes)), torch.int64)
    for a, size in enumerate(sizes):
        observed = torch.bincount(many[:, a], minlength=size).float()
        assert len(observed) == size, "no action that there isn't"
        expected = probabilities[a] * SAMPLES
        # At most 4 degrees of freedom: exceeded by chance once in a million draws.
        assert float(((observed - expected).square() / expected).sum()) < 34.0


def test_several_draws_do_not_follow_each_other() -> None:
    policy = several((2, 2))
    policy.logits.weight.data.zero_()
    policy.logits.bias.data.zero_()
    many = policy.sample(features(1).expand(SAMPLES, -1), torch.Generator().manual_seed(7))
    correlation = torch.corrcoef(many.T.float())[0, 1]
    assert abs(float(correlation)) < 5 / SAMPLES**0.5


@all_sizes
def test_greedy_actions_are_each_the_most_probable(sizes: tuple[int, ...]) -> None:
    policy = several(sizes)
    expected = [part.logits.argmax(dim=-1) for part in one_by_one(policy, sizes)]
    assert torch.equal(policy.mode(policy(features())), torch.stack(expected, dim=-1))


def test_an_action_that_there_is_not_is_never_chosen_however_unlikely_the_others_are() -> None:
    policy = several((2, 4))
    policy.logits.bias.data.copy_(torch.tensor([-1e4, -2e4, 1e6, 1e6, 0.0, 0.0, 0.0, 0.0]))
    actions = policy.sample(features(), torch.Generator())
    log_probs, entropies = policy.log_prob_and_entropy(features(), actions)
    assert set(actions[:, 0].tolist()) == {0}
    assert torch.isfinite(log_probs).all()
    assert torch.isfinite(entropies).all()
    torch.autograd.backward((log_probs + entropies).sum())
    assert policy.logits.weight.grad is not None
    assert torch.isfinite(policy.logits.weight.grad).all()
    assert not policy.logits.weight.grad[2:4].any()
