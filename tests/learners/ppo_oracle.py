"""A whole PPO update, literally: sample by sample and step by step, as the paper has it."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, Normal

from gala_rl.learners.ppo import PPOLearner
from gala_rl.methods.ppo import PPOSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.models.policies import GaussianPolicy
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Trajectory
from tests.support.learning_problems import (
    DISCRETE,
    SIMULATORS,
    STEPS,
    VECTOR,
    random_trajectory,
)
from tests.support.loss_oracles import Steps

SAMPLES = STEPS * SIMULATORS
RATE = 1e-3
# Every term counts and nothing is at its default; 12 samples make minibatches of 3, 3, 2, 2 and 2.
SETTINGS = PPOSettings(
    discount=0.8,
    gae_lambda=0.7,
    value_cost=0.7,
    entropy_cost=0.05,
    max_grad_norm=1.5,
    epochs=3,
    minibatches=5,
    clip_range=0.15,
    value_clip_range=0.2,
    adam_epsilon=1e-4,
)
SPLITS = [3, 3, 2, 2, 2]


def chosen(
    model: ActorCritic,
    observation: ObservationSpec = VECTOR,
    action: ActionSpec = DISCRETE,
    *,
    seed: int = 0,
    noise: float = 0.2,
) -> Trajectory:
    """A rollout whose policy and values were the model's, but for some noise."""
    trajectory = random_trajectory(observation, action, seed)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        was = model.evaluate(
            trajectory.observations[:-1].flatten(0, 1), trajectory.actions.flatten(0, 1)
        )
    log_probs, values = (
        x.view(STEPS, SIMULATORS) + noise * torch.randn(STEPS, SIMULATORS, generator=generator)
        for x in (was.log_probs, was.values)
    )
    return replace(trajectory, log_probs=log_probs, values=values)


def make_learner(model: ActorCritic, settings: PPOSettings, seed: int = 0) -> PPOLearner:
    return PPOLearner(model, settings, initial_learning_rate=RATE, seed=seed)


def steps_made(learner: PPOLearner) -> float:
    return learner.optimizer.state[2 * learner.flat.values.numel()].item()


def literal_advantages(model: ActorCritic, trajectory: Trajectory) -> list[list[float]]:
    """[T][B], each a sum of its own."""
    assert trajectory.values is not None
    with torch.no_grad():
        bootstrap = model.values(trajectory.observations[-1])
    columns = [
        Steps(
            rewards=trajectory.rewards[:, b].tolist(),
            terminated=trajectory.terminated[:, b].tolist(),
            truncated=trajectory.truncated[:, b].tolist(),
            truncation_values=trajectory.truncation_values[:, b].tolist(),
            values=trajectory.values[:, b].tolist(),
            bootstrap_value=bootstrap[b].item(),
            discount=SETTINGS.discount,
        )
        for b in range(SIMULATORS)
    ]
    return [
        [column.generalized_advantage(t, SETTINGS.gae_lambda) for column in columns]
        for t in range(STEPS)
    ]


def literal_update(
    model: ActorCritic,
    optimizer: torch.optim.Optimizer,
    trajectory: Trajectory,
    generator: torch.Generator,
    clip_range: float,
) -> list[list[float]]:
    """The update sample by sample in plain autograd; returns what each step saw."""
    assert trajectory.values is not None
    assert trajectory.log_probs is not None
    advantages = literal_advantages(model, trajectory)
    seen = []
    for _ in range(SETTINGS.epochs):
        order = torch.randperm(SAMPLES, generator=generator).tolist()
        for size in SPLITS:
            places = [(row // SIMULATORS, row % SIMULATORS) for row in order[:size]]
            order = order[size:]
            those = [advantages[t][b] for t, b in places]
            mean = sum(those) / size
            deviation = math.sqrt(sum((a - mean) ** 2 for a in those) / size)
            policy = value = entropy = torch.zeros(())
            kl = clipped = 0.0
            for t, b in places:
                distribution = distribution_of(model, trajectory.observations[t, b][None])
                log_prob = distribution.log_prob(trajectory.actions[t, b][None])[0]
                ratio = torch.exp(log_prob - trajectory.log_probs[t, b])
                advantage = (advantages[t][b] - mean) / (deviation + 1e-8)
                limited = ratio.clamp(1 - clip_range, 1 + clip_range)
                policy = policy - torch.minimum(ratio * advantage, limited * advantage)
                old = trajectory.values[t, b].item()
                target, v = (
                    advantages[t][b] + old,
                    model.values(trajectory.observations[t, b][None]),
                )
                near = old + (v - old).clamp(-0.2, 0.2)
                value = value + max((target - v) ** 2, (target - near) ** 2)[0]
                entropy = entropy + distribution.entropy()[0]
                kl += ratio.item() - 1 - math.log(ratio.item())
                clipped += abs(ratio.item() - 1) > clip_range
            policy, value, entropy = policy / size, value / size, entropy / size
            optimizer.zero_grad()
            total = policy + SETTINGS.value_cost * value - SETTINGS.entropy_cost * entropy
            torch.autograd.backward(total)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), SETTINGS.max_grad_norm)
            optimizer.step()
            seen.append(
                [x.item() for x in (policy, value, entropy, norm)] + [kl / size, clipped / size]
            )
    return seen


def distribution_of(model: ActorCritic, x: Tensor) -> Any:
    parameters = model._policy(model.torso(x))
    if isinstance(model._policy, GaussianPolicy):
        return Independent(Normal(parameters, model._policy.log_std.exp()), 1)
    return Categorical(logits=parameters)
