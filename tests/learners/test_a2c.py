"""An A2C update equals its literal reimplementation."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, Normal

from gala_rl.models.actor_critic import ActorCritic
from gala_rl.models.policies import GaussianPolicy
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Trajectory
from tests.support.learning_problems import (
    CONTINUOUS,
    DISCRETE,
    IMAGE,
    SETTINGS,
    SIMULATORS,
    STEPS,
    VECTOR,
    a2c_learner,
    make_model,
    random_trajectory,
    scalars,
    vector_of,
)
from tests.support.loss_oracles import literal_returns


def recorded(trajectory: Trajectory, model: ActorCritic) -> Trajectory:
    """The same with the activations of the acting passes."""
    memory = model.allocate_activations(STEPS, trajectory.observations[0])
    assert memory is not None
    for t in range(STEPS):
        model.act(trajectory.observations[t], torch.Generator(), record=memory.at(t))
    return replace(trajectory, activations=memory)


def literal_update(
    model: ActorCritic,
    optimizer: torch.optim.Optimizer,
    trajectory: Trajectory,
    max_grad_norm: float,
) -> list[float]:
    """The update step by step in plain autograd; returns the metrics."""
    with torch.no_grad():
        bootstrap = model.values(trajectory.observations[-1])
    returns = literal_returns(
        trajectory.rewards.tolist(),
        trajectory.terminated.tolist(),
        trajectory.truncated.tolist(),
        trajectory.truncation_values.tolist(),
        bootstrap.tolist(),
        SETTINGS.discount,
    )
    policy = value = entropy = torch.zeros(())
    for t in range(STEPS):
        for b in range(SIMULATORS):
            x = trajectory.observations[t, b][None]
            parameters = model._policy(model.torso(x))
            distribution: Any
            if isinstance(model._policy, GaussianPolicy):
                distribution = Independent(Normal(parameters, model._policy.log_std.exp()), 1)
            else:
                distribution = Categorical(logits=parameters)
            advantage = returns[t][b] - model.values(x)[0]
            action = trajectory.actions[t, b][None]
            policy = policy - distribution.log_prob(action)[0] * advantage.item()
            value = value + advantage**2
            entropy = entropy + distribution.entropy()[0]
    count = STEPS * SIMULATORS
    policy, value, entropy = policy / count, value / count, entropy / count
    optimizer.zero_grad()
    total = policy + SETTINGS.value_cost * value - SETTINGS.entropy_cost * entropy
    torch.autograd.backward(total)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    return [policy.item(), value.item(), entropy.item(), norm.item()]


@pytest.mark.parametrize(
    ("observation", "action", "max_grad_norm"),
    [(VECTOR, DISCRETE, 0.52), (VECTOR, CONTINUOUS, 0.5), (IMAGE, DISCRETE, 1.0)],
)
def test_updates_equal_the_literal_reimplementation(
    observation: ObservationSpec, action: ActionSpec, max_grad_norm: float
) -> None:
    model = make_model(observation, action)
    literal = copy.deepcopy(model)
    learner = a2c_learner(model, replace(SETTINGS, max_grad_norm=max_grad_norm))
    reference = torch.optim.RMSprop(
        literal.parameters(),
        lr=1.0,
        alpha=SETTINGS.rmsprop_decay,
        eps=SETTINGS.rmsprop_epsilon,
    )
    norms = []
    for update, learning_rate in enumerate((1e-3, 3e-4, 2e-3)):
        trajectory = random_trajectory(observation, action, update)
        reference.param_groups[0]["lr"] = learning_rate
        before = vector_of(literal)
        expected = literal_update(literal, reference, trajectory, max_grad_norm)
        step = vector_of(literal) - before
        metrics = learner.update(trajectory, learning_rate)
        assert scalars(metrics) == pytest.approx(expected, rel=1e-3, abs=1e-5)
        assert metrics.update_norm.item() == pytest.approx(step.norm().item(), rel=1e-2)
        norms.append(expected[-1])
        for mine, theirs in zip(model.parameters(), literal.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert min(norms) < max_grad_norm < max(norms), "both sides of the limit must be seen"


def test_the_gradient_is_clipped_before_the_step_and_reported_as_it_was() -> None:
    trajectory = random_trajectory(VECTOR, DISCRETE, 0)
    model = make_model(VECTOR, DISCRETE)
    learner = a2c_learner(model, replace(SETTINGS, max_grad_norm=1e-3))
    metrics = learner.update(trajectory, 1e-3)
    assert metrics.grad_norm.item() > 0.1
    assert torch.linalg.vector_norm(learner.flat.grads).item() == pytest.approx(1e-3, rel=1e-2)


def test_an_update_leaves_the_trajectory_alone() -> None:
    model = make_model(IMAGE, DISCRETE)
    trajectory = recorded(random_trajectory(IMAGE, DISCRETE, 0), model)
    kept = copy.deepcopy(trajectory)
    a2c_learner(model, SETTINGS).update(trajectory, 1e-3)
    assert trajectory.activations is not None
    assert kept.activations is not None
    assert torch.equal(trajectory.activations.pixels, kept.activations.pixels)
    assert torch.equal(trajectory.activations.features, kept.activations.features)
    for ours, before in zip(
        trajectory.activations.convolutions, kept.activations.convolutions, strict=True
    ):
        assert torch.equal(ours, before)
    for name, value in vars(kept).items():
        if isinstance(value, Tensor):
            assert torch.equal(getattr(trajectory, name), value), name


def test_recorded_activations_spare_a_pass_over_the_torso_and_change_nothing() -> None:
    results = []
    for record in (False, True):
        model = make_model(IMAGE, DISCRETE)
        learner = a2c_learner(model, SETTINGS)
        passes: list[int] = []
        model.torso.register_forward_hook(lambda _m, args, _o, p=passes: p.append(len(args[0])))
        trajectory = random_trajectory(IMAGE, DISCRETE, 0)
        learner.update(recorded(trajectory, model) if record else trajectory, 1e-3)
        results.append(learner.flat.values.clone())
        # The bootstrap needs the last observation; the others only without recording.
        assert passes == ([SIMULATORS] if record else [STEPS * SIMULATORS, SIMULATORS])
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_at_learning_rate_zero_nothing_changes() -> None:
    learner = a2c_learner(make_model(VECTOR, DISCRETE), SETTINGS)
    before = learner.flat.values.clone()
    learner.update(random_trajectory(VECTOR, DISCRETE, 0), 0.0)
    assert torch.equal(learner.flat.values, before)


def test_metrics_do_not_hold_on_to_the_graph() -> None:
    metrics = a2c_learner(make_model(VECTOR, DISCRETE), SETTINGS).update(
        random_trajectory(VECTOR, DISCRETE, 0), 1e-3
    )
    assert not any(m.requires_grad for m in metrics if isinstance(m, Tensor))
