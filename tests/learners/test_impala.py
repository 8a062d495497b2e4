"""An update of IMPALA against the paper's formulas written out slowly, and against A2C's."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Trajectory
from tests.support.learning_problems import a2c_learner, impala_learner

STEPS, SIMULATORS, ACTIONS = 6, 4, 3
DISCOUNT = 0.9
LEARNING_RATE = 1e-3


def make_model(seed: int = 0) -> ActorCritic:
    torch.manual_seed(seed)
    model = ActorCritic(ObservationSpec((5,), False), ActionSpec(ACTIONS, True))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_rollout(model: ActorCritic, seed: int = 1, lag: float = 0.0) -> Trajectory:
    """Random, with ends of both kinds; the policy that acted was off by `lag` in log π."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    observations = randn(STEPS + 1, SIMULATORS, 5)
    actions = torch.randint(ACTIONS, (STEPS, SIMULATORS), generator=generator)
    terminated, truncated = randn(STEPS, SIMULATORS) > 1.0, randn(STEPS, SIMULATORS) > 1.0
    with torch.no_grad():
        present = model.evaluate(observations[:-1].flatten(0, 1), actions.flatten())
    log_probs = present.log_probs.view(STEPS, SIMULATORS) + lag * randn(STEPS, SIMULATORS)
    truncated &= ~terminated
    return Trajectory(
        observations=observations,
        actions=actions,
        rewards=randn(STEPS, SIMULATORS),
        terminated=terminated,
        truncated=truncated,
        truncation_values=randn(STEPS, SIMULATORS) * truncated,
        log_probs=log_probs,
        is_first=torch.zeros(STEPS + 1, SIMULATORS, dtype=torch.bool),
        initial_state=torch.zeros(SIMULATORS, 0),
        final_state=torch.zeros(SIMULATORS, 0),
    )


def loss_by_hand(model: ActorCritic, rollout: Trajectory, settings: ImpalaSettings) -> Tensor:
    """Sums over time and batch; targets by the definition, equation 1, as sums of products."""
    assert rollout.log_probs is not None
    total = torch.zeros(())
    for b in range(SIMULATORS):
        x = rollout.observations[:, b]
        value = model.values(x)
        evaluation = model.evaluate(x[:-1], rollout.actions[:, b])
        v, ends = value.detach(), (rollout.terminated | rollout.truncated)[:, b].tolist()
        ratio = (evaluation.log_probs.detach() - rollout.log_probs[:, b]).exp()

        def after(t: int, targets: Any, b: int = b) -> Tensor:
            if rollout.terminated[t, b]:
                return torch.zeros(())
            cut = bool(rollout.truncated[t, b])
            return rollout.truncation_values[t, b] if cut else targets[t + 1]

        targets: dict[int, Tensor] = {STEPS: v[STEPS]}
        for s in range(STEPS):
            targets[s] = v[s].clone()
            weight = 1.0
            for t in range(s, STEPS):
                error = rollout.rewards[t, b] + DISCOUNT * after(t, v) - v[t]
                targets[s] += weight * min(settings.clip_rho, float(ratio[t])) * error
                weight *= DISCOUNT * min(settings.clip_c, float(ratio[t]))
                if ends[t]:
                    break
        for s in range(STEPS):
            rho = min(settings.clip_rho, float(ratio[s]))
            advantage = rollout.rewards[s, b] + DISCOUNT * after(s, targets) - v[s]
            total = total - rho * advantage * evaluation.log_probs[s]
            total = total + settings.value_cost * (targets[s] - value[s]) ** 2
            total = total - settings.entropy_cost * evaluation.entropies[s]
    return total


@pytest.mark.parametrize("lag", [0.0, 0.5])
@pytest.mark.parametrize(("clip_rho", "clip_c"), [(1.0, 1.0), (1.5, 0.7)])
@pytest.mark.parametrize("max_grad_norm", [1e9, 0.5])
def test_an_update_is_the_papers(
    lag: float, clip_rho: float, clip_c: float, max_grad_norm: float
) -> None:
    settings = ImpalaSettings(
        discount=DISCOUNT, clip_rho=clip_rho, clip_c=clip_c, max_grad_norm=max_grad_norm
    )
    model, by_hand = make_model(), make_model()
    rollout = make_rollout(model, lag=lag)
    loss = loss_by_hand(by_hand, rollout, settings)
    grads = torch.autograd.grad(loss, list(by_hand.parameters()))
    norm = torch.stack([g.square().sum() for g in grads]).sum().sqrt()
    scale = min(1.0, max_grad_norm / float(norm))
    # TensorFlow's RMSprop, from accumulators of one.
    decay, epsilon = settings.rmsprop_decay, settings.rmsprop_epsilon
    expected = [
        p - LEARNING_RATE * g * scale / (decay + (1 - decay) * (g * scale) ** 2 + epsilon).sqrt()
        for p, g in zip(by_hand.parameters(), grads, strict=True)
    ]
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    metrics = impala_learner(model, settings).update(rollout, LEARNING_RATE)
    for parameter, wanted in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(metrics.grad_norm, norm, rtol=1e-4, atol=1e-4)
    moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - before
    torch.testing.assert_close(metrics.update_norm, moved.norm(), rtol=1e-3, atol=1e-6)


def test_of_the_present_policy_it_learns_as_a2c_from_sums() -> None:
    settings = ImpalaSettings(discount=DISCOUNT, max_grad_norm=1e9)
    a2c = A2CSettings(discount=DISCOUNT, max_grad_norm=1e9, value_cost=settings.value_cost)
    impala, plain = impala_learner(make_model(), settings), a2c_learner(make_model(), a2c)
    rollout = make_rollout(make_model())
    metrics = impala.update(rollout, LEARNING_RATE)
    plain.update(replace(rollout, log_probs=None), LEARNING_RATE)
    sums = plain.flat.grads * (STEPS * SIMULATORS)
    torch.testing.assert_close(impala.flat.grads, sums, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(metrics.losses["clipped_rho"], torch.tensor(1.0))


def test_a_policy_that_has_moved_away_is_believed_less() -> None:
    model = make_model()
    rollout = make_rollout(model, lag=1.0)
    metrics = impala_learner(model, ImpalaSettings()).update(rollout, LEARNING_RATE)
    assert 0.3 < float(metrics.losses["clipped_rho"]) < 0.95


def test_new_parameters_can_go_elsewhere() -> None:
    learner, other = (impala_learner(make_model(), ImpalaSettings()) for _ in range(2))
    rollout = make_rollout(make_model(), lag=0.3)
    out = torch.empty_like(learner.flat.values)
    before = learner.flat.values.clone()
    learner.update(rollout, LEARNING_RATE, out)
    other.update(rollout, LEARNING_RATE)
    assert torch.equal(learner.flat.values, before)
    assert torch.equal(out, other.flat.values)


def test_without_the_actors_probabilities_there_is_no_correction() -> None:
    model = make_model()
    rollout = replace(make_rollout(model), log_probs=None)
    with pytest.raises(ValueError, match="log_probs"):
        impala_learner(model, ImpalaSettings()).update(rollout, LEARNING_RATE)
