"""Updates equal those of Stable-Baselines3's A2C, from equal weights on equal rollouts."""

from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray
from torch import Tensor, nn

from gala_rl.methods.a2c import A2CSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Trajectory
from tests.support.learning_problems import a2c_learner

pytestmark = pytest.mark.peers

STEPS, SIMULATORS, UPDATES = 8, 6, 3
LEARNING_RATE = 7e-4
# Every term counts, and the gradient is clipped.
SETTINGS = A2CSettings(
    rollout_steps=STEPS, discount=0.9, value_cost=0.4, entropy_cost=0.05, max_grad_norm=0.3
)


class Step(NamedTuple):
    observation: NDArray[np.float32]
    action: NDArray[Any]
    reward: float
    terminated: bool
    truncated: bool
    final: NDArray[np.float32]


class Recorder(gymnasium.Env[NDArray[np.float32], Any]):
    """Random observations, rewards and ends of both kinds; remembers every step."""

    def __init__(self, action_space: gymnasium.Space[Any], seed: int) -> None:
        self.observation_space = Box(-10, 10, (3,), np.float32)
        self.action_space = action_space
        self._random = np.random.default_rng(seed)
        self.observation = self._draw()
        self.steps: list[Step] = []

    def _draw(self) -> NDArray[np.float32]:
        return self._random.standard_normal(3).astype(np.float32)

    def reset(self, **_: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.observation = self._draw()
        return self.observation, {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        before, self.observation = self.observation, self._draw()
        reward = float(self._random.standard_normal())
        terminated, truncated = (bool(x) for x in self._random.random(2) < 0.2)
        self.steps.append(
            Step(before, np.array(action), reward, terminated, truncated, self.observation)
        )
        return self.observation, reward, terminated, truncated, {}


def trajectory_of(recorders: list[Recorder], model: ActorCritic) -> Trajectory:
    """The last rollout that was made with them."""
    rollouts = [recorder.steps[-STEPS:] for recorder in recorders]

    def gather(name: str) -> Tensor:
        return torch.as_tensor(
            np.array([[getattr(rollout[t], name) for rollout in rollouts] for t in range(STEPS)])
        )

    last = torch.as_tensor(np.array([recorder.observation for recorder in recorders]))
    terminated, truncated = gather("terminated"), gather("truncated")
    with torch.no_grad():
        final_values = model.values(gather("final").flatten(0, 1)).view(STEPS, SIMULATORS)
    return Trajectory(
        observations=torch.cat([gather("observation"), last[None]]),
        actions=gather("action"),
        rewards=gather("reward").float(),
        terminated=terminated,
        truncated=truncated,
        truncation_values=final_values * truncated,
        is_first=torch.zeros(STEPS + 1, SIMULATORS, dtype=torch.bool),
        initial_state=torch.zeros(SIMULATORS, 0),
        final_state=torch.zeros(SIMULATORS, 0),
    )


def layers_of(ours: ActorCritic, theirs: Any) -> list[tuple[nn.Module, nn.Module]]:
    """Parts of both networks that do the same."""
    policy: Any = ours._policy
    assert ours.value_torso is not None
    value_torso: Any = ours.value_torso
    torso: Any = ours.torso
    head = policy.logits if hasattr(policy, "logits") else policy.mean
    return [
        (torso.layers, theirs.mlp_extractor.policy_net),
        (value_torso.layers, theirs.mlp_extractor.value_net),
        (head, theirs.action_net),
        (ours._value, theirs.value_net),
    ]


def pairs_of(ours: ActorCritic, theirs: Any) -> list[tuple[Tensor, Tensor]]:
    """All parameters of both networks, in pairs."""
    pairs: list[tuple[Tensor, Tensor]] = [
        pair
        for one, other in layers_of(ours, theirs)
        for pair in zip(one.parameters(), other.parameters(), strict=True)
    ]
    policy: Any = ours._policy
    if hasattr(policy, "log_std"):
        pairs.append((policy.log_std, theirs.log_std))
    assert len(pairs) == len(list(ours.parameters())) == len(list(theirs.parameters()))
    return pairs


@pytest.mark.parametrize(
    ("space", "spec"),
    [
        (Discrete(4), ActionSpec(4, True)),
        (Box(-100, 100, (2,), np.float32), ActionSpec(2, False)),
    ],
    ids=["discrete", "continuous"],
)
def test_updates_equal_those_of_stable_baselines3(
    stable_baselines3: Any, space: gymnasium.Space[Any], spec: ActionSpec
) -> None:
    recorders = [Recorder(space, seed) for seed in range(SIMULATORS)]
    environments = stable_baselines3.common.vec_env.DummyVecEnv(
        [lambda recorder=recorder: recorder for recorder in recorders]
    )
    theirs = stable_baselines3.A2C(
        "MlpPolicy",
        environments,
        learning_rate=LEARNING_RATE,
        n_steps=STEPS,
        gamma=SETTINGS.discount,
        ent_coef=SETTINGS.entropy_cost,
        vf_coef=SETTINGS.value_cost,
        max_grad_norm=SETTINGS.max_grad_norm,
        rms_prop_eps=SETTINGS.rmsprop_epsilon,
        seed=0,
        device="cpu",
    )
    model = ActorCritic(ObservationSpec((3,), False), spec)
    learner = a2c_learner(model, SETTINGS)
    pairs = pairs_of(model, theirs.policy)
    with torch.no_grad():
        for mine, other in pairs:
            mine.copy_(other)
    for _ in range(UPDATES):
        before = learner.flat.values.clone()
        # Its rollout, made and taken apart by itself, then one update on it.
        theirs.learn(STEPS * SIMULATORS, reset_num_timesteps=False)
        trajectory = trajectory_of(recorders, model)
        assert trajectory.terminated.any()
        assert (trajectory.truncated & ~trajectory.terminated).any()
        metrics = learner.update(trajectory, LEARNING_RATE)
        assert metrics.grad_norm > SETTINGS.max_grad_norm
        assert (learner.flat.values - before).abs().max() > 0.1 * LEARNING_RATE
        for mine, other in pairs:
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
