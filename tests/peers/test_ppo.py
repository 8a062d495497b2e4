"""Updates equal those of Stable-Baselines3's PPO, from equal weights on equal rollouts."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from gala_rl.learners.ppo import PPOLearner
from gala_rl.methods.ppo import PPOSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Trajectory
from tests.peers.test_a2c import SIMULATORS, STEPS, Recorder, pairs_of, trajectory_of

pytestmark = pytest.mark.peers

UPDATES = 3
LEARNING_RATE = 3e-3
SAMPLES = STEPS * SIMULATORS
# Every term counts, and gradients and ratios are clipped. Values are not: it takes the error of the
# clipped value, where Baselines and we take the larger of the two errors.
SETTINGS = PPOSettings(
    rollout_steps=STEPS,
    epochs=4,
    minibatches=4,
    discount=0.9,
    gae_lambda=0.8,
    value_cost=0.4,
    entropy_cost=0.05,
    max_grad_norm=0.3,
    clip_range=0.05,
    anneal_clip_range=False,
)


def chosen(trajectory: Trajectory, model: ActorCritic) -> Trajectory:
    """The rollout with what the policy that acted knew of its choices."""
    with torch.no_grad():
        was = model.evaluate(
            trajectory.observations[:-1].flatten(0, 1), trajectory.actions.flatten(0, 1)
        )
    shape = STEPS, SIMULATORS
    return replace(trajectory, log_probs=was.log_probs.view(shape), values=was.values.view(shape))


def shuffled_as(learner: PPOLearner) -> list[NDArray[np.int64]]:
    """The next update's orders of samples, in Stable-Baselines3's numbering: simulators first."""
    assert learner.generator is not None
    generator = torch.Generator()
    generator.set_state(learner.generator.get_state())
    orders = [torch.randperm(SAMPLES, generator=generator).numpy() for _ in range(SETTINGS.epochs)]
    return [order % SIMULATORS * STEPS + order // SIMULATORS for order in orders]


@pytest.mark.parametrize("normalize_advantages", [False, True])
@pytest.mark.parametrize(
    ("space", "spec"),
    [
        (Discrete(4), ActionSpec(4, True)),
        (Box(-100, 100, (2,), np.float32), ActionSpec(2, False)),
    ],
    ids=["discrete", "continuous"],
)
def test_updates_equal_those_of_stable_baselines3(
    stable_baselines3: Any,
    space: gymnasium.Space[Any],
    spec: ActionSpec,
    normalize_advantages: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(SETTINGS, normalize_advantages=normalize_advantages)
    recorders = [Recorder(space, seed) for seed in range(SIMULATORS)]
    theirs = stable_baselines3.PPO(
        "MlpPolicy",
        stable_baselines3.common.vec_env.DummyVecEnv(
            [lambda recorder=recorder: recorder for recorder in recorders]
        ),
        learning_rate=LEARNING_RATE,
        n_steps=STEPS,
        batch_size=SAMPLES // settings.minibatches,
        n_epochs=settings.epochs,
        gamma=settings.discount,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip_range,
        normalize_advantage=normalize_advantages,
        ent_coef=settings.entropy_cost,
        vf_coef=settings.value_cost,
        max_grad_norm=settings.max_grad_norm,
        seed=0,
        device="cpu",
    )
    model = ActorCritic(ObservationSpec((3,), False), spec)
    learner = PPOLearner(model, settings, LEARNING_RATE, seed=0)
    pairs = pairs_of(model, theirs.policy)
    with torch.no_grad():
        for mine, other in pairs:
            mine.copy_(other)
    if normalize_advantages:
        # It divides by the deviation of a sample (N - 1), we by that of the batch, as Baselines.
        monkeypatch.setattr("gala_rl.learners.ppo.normalized", as_stable_baselines3)
    for _ in range(UPDATES):
        before = learner.flat.values.clone()
        orders = iter(shuffled_as(learner))
        with monkeypatch.context() as patched:
            patched.setattr("numpy.random.permutation", lambda _, orders=orders: next(orders))
            theirs.learn(SAMPLES, reset_num_timesteps=False)
        assert next(orders, None) is None, "every order has been used"
        trajectory = chosen(trajectory_of(recorders, model), model)
        assert trajectory.terminated.any()
        assert (trajectory.truncated & ~trajectory.terminated).any()
        metrics = learner.update(trajectory, LEARNING_RATE)
        assert metrics.grad_norm > settings.max_grad_norm
        assert metrics.losses["clip_fraction"] > 0
        assert (learner.flat.values - before).abs().max() > 10 * LEARNING_RATE
        for mine, other in pairs:
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def as_stable_baselines3(advantages: torch.Tensor) -> torch.Tensor:
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)
