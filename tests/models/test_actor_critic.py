"""The whole network: its published size, and one answer whichever method is asked."""

import pytest
import torch
from torch import Tensor

from gala_rl.models.actor_critic import ActorCritic
from gala_rl.models.policies import GaussianPolicy
from gala_rl.spaces import ActionSpec, ObservationSpec

IMAGE = ObservationSpec((1, 36, 40), True)
VECTOR = ObservationSpec((3,), False)
DISCRETE = ActionSpec(4, True)
CONTINUOUS = ActionSpec(2, False)

every_kind = pytest.mark.parametrize(
    ("observation", "action"),
    [(IMAGE, DISCRETE), (IMAGE, CONTINUOUS), (VECTOR, DISCRETE), (VECTOR, CONTINUOUS)],
)


def network(observation: ObservationSpec, action: ActionSpec) -> ActorCritic:
    """All parameters random, so that the policy is far from uniform."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = ActorCritic(observation, action)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    return model


def observations(spec: ObservationSpec, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    if spec.is_image:
        return torch.randint(0, 256, (count, *spec.shape), generator=generator).to(torch.uint8)
    return torch.randn(count, *spec.shape, generator=generator)


@pytest.mark.parametrize(
    ("actions", "count"), [(4, 865_413), (6, 866_439), (9, 867_978), (18, 872_595)]
)
def test_the_atari_network_has_the_published_number_of_parameters(actions: int, count: int) -> None:
    with torch.device("meta"):
        model = ActorCritic(ObservationSpec((4, 84, 84), True), ActionSpec(actions, True))
    assert sum(p.numel() for p in model.parameters()) == count


@every_kind
def test_evaluate_agrees_with_values_and_samples(
    observation: ObservationSpec, action: ActionSpec
) -> None:
    model, x = network(observation, action), observations(observation)
    actions = model.act(x, torch.Generator().manual_seed(3)).detach()
    evaluation = model.evaluate(x, actions)
    assert all(part.shape == (6,) for part in evaluation[:3])
    assert evaluation.state.numel() == 0
    torch.testing.assert_close(evaluation.values, model.values(x))
    assert actions.shape == ((6,) if action.is_discrete else (6, action.size))


@every_kind
def test_forward_gives_what_the_distribution_is_made_of_and_the_values(
    observation: ObservationSpec, action: ActionSpec
) -> None:
    model, x = network(observation, action), observations(observation)
    output, values = model(x)
    assert output.shape == (6, action.size)
    torch.testing.assert_close(values, model.values(x))
    greedy = model.greedy(x)
    torch.testing.assert_close(greedy, output.argmax(-1) if action.is_discrete else output)
    if action.is_discrete:
        log_probs = model.evaluate(x, greedy).log_probs
        torch.testing.assert_close(log_probs, output.log_softmax(-1).max(-1).values)


def test_samples_and_greedy_actions_follow_the_probabilities_that_evaluate_reports() -> None:
    model = network(VECTOR, DISCRETE)
    x = observations(VECTOR, 1)
    probabilities = torch.stack(
        [model.evaluate(x, torch.tensor([a])).log_probs.exp()[0] for a in range(4)]
    ).detach()
    many = model.act(x.expand(20_000, -1), torch.Generator().manual_seed(4))
    frequencies = torch.bincount(many, minlength=4) / 20_000
    torch.testing.assert_close(frequencies, probabilities, rtol=0.0, atol=0.02)
    assert probabilities.max() - probabilities.min() > 0.1
    assert model.greedy(x).item() == int(probabilities.argmax())
    entropy = model.evaluate(x, torch.tensor([0])).entropies
    expected = -(probabilities * probabilities.log()).sum()
    torch.testing.assert_close(entropy, expected[None])


@every_kind
def test_each_observation_is_answered_by_itself(
    observation: ObservationSpec, action: ActionSpec
) -> None:
    model, x = network(observation, action), observations(observation)
    together = model.values(x)
    alone = torch.cat([model.values(x[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert len(set(together.tolist())) == len(x)


def touched(model: ActorCritic) -> set[str]:
    """Names of the parts whose parameters have a gradient."""
    return {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}


def test_vectors_keep_the_value_error_away_from_the_policy() -> None:
    model, x = network(VECTOR, DISCRETE), observations(VECTOR)
    evaluation = model.evaluate(x, torch.zeros(6, dtype=torch.int64))
    torch.autograd.backward(evaluation.values.sum(), retain_graph=True)
    assert touched(model) == {"value_torso", "_value"}
    model.zero_grad()
    torch.autograd.backward(evaluation.log_probs.sum())
    assert touched(model) == {"torso", "_policy"}


def test_images_share_one_torso_and_pass_it_once() -> None:
    model, x = network(IMAGE, DISCRETE), observations(IMAGE)
    passes: list[int] = []
    model.torso.register_forward_hook(lambda *_: passes.append(1))
    evaluation = model.evaluate(x, torch.zeros(6, dtype=torch.int64))
    assert len(passes) == 1
    torch.autograd.backward(evaluation.values.sum())
    assert touched(model) == {"torso", "_value"}


def test_continuous_actions_get_a_gaussian_policy_with_a_deviation_that_learns() -> None:
    model, x = network(VECTOR, CONTINUOUS), observations(VECTOR)
    assert isinstance(model._policy, GaussianPolicy)
    torch.autograd.backward(model.evaluate(x, torch.ones(6, 2)).log_probs.sum())
    assert model._policy.log_std.grad is not None
    assert model._policy.log_std.grad.abs().min() > 0


@every_kind
def test_bfloat16_rounds_the_torso_and_nothing_else(
    observation: ObservationSpec, action: ActionSpec
) -> None:
    exact, x = network(observation, action), observations(observation)
    rounded = ActorCritic(observation, action, bfloat16=True)
    rounded.load_state_dict(exact.state_dict())
    actions = exact.act(x, torch.Generator().manual_seed(3)).detach()
    coarse, fine = rounded.evaluate(x, actions), exact.evaluate(x, actions)
    for ours, theirs in zip(coarse[:3], fine[:3], strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1)
    assert not torch.equal(coarse.values, fine.values)
    torch.autograd.backward(coarse.values.sum())
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in rounded.parameters())
    assert rounded.allocate_activations(5, x) is None
