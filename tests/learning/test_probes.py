"""Problems with known answers, each a trap for one defect, are learned by every method."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from gala_rl.agent import build_model
from gala_rl.app.train import train
from gala_rl.config.settings import ActorCriticSettings
from gala_rl.config.train import TrainConfig
from gala_rl.envs import make_simulators
from gala_rl.flat import FlatParameters
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.ppo import PPOSettings
from gala_rl.methods.resolving import resolve
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder

DISCOUNT = 0.7

A2C = A2CSettings(learning_rate=5e-3, learning_rate_rule="constant")
PPO = PPOSettings(rollout_steps=16, learning_rate=5e-3, clip_range=0.2)
IMPALA = ImpalaSettings(rollout_steps=5, learning_rate=5e-3)
METHODS: dict[str, tuple[ActorCriticSettings, int]] = {
    "a2c": (A2C, 1),
    "gala-a2c": (A2C, 2),
    "a2c-allreduce": (A2C, 2),
    "a2c-async": (A2C, 2),
    "a3c": (A2C, 2),
    "ppo": (PPO, 1),
    "ppo-allreduce": (PPO, 2),
    "ppo-async": (PPO, 2),
    "gala-ppo": (PPO, 2),
    "impala": (IMPALA, 1),
    "gala-impala": (IMPALA, 2),
}
"""Settings and number of learners of each method."""


SLOW = {
    "a2c",
    "a2c-allreduce",
    "a2c-async",
    "a3c",
    "gala-ppo",
    "gala-impala",
    "ppo-allreduce",
    "ppo-async",
}
"""Methods that take up to half a minute each; others here have the same parts."""
FAST = {"a2c", "gala-a2c", "ppo", "impala"}
"""Methods that need half of the steps."""
SPECIAL_CASE = pytest.mark.parametrize(
    "method",
    [pytest.param(m, marks=[pytest.mark.slow] * (m != "a2c")) for m in METHODS],
)
"""A simpler problem, for who looks for the cause: those below are not learned without it."""


@pytest.fixture(params=[pytest.param(m, marks=[pytest.mark.slow] * (m in SLOW)) for m in METHODS])
def method(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def learned(method: str, env: str, path: Path, steps: int, rollout_steps: int = 0) -> ActorCritic:
    """The network of learner 0, which has learned an environment from scratch."""
    algorithm, learners = METHODS[method]
    config = TrainConfig(
        method=method,
        env=f"tests.environments:{env}",
        learners=learners,
        simulators=16 // learners,
        steps=steps // 2 if method in FAST else steps,
        seed=2,
        device="cpu",
        # Those that step together cannot take turns.
        serial=not method.endswith("allreduce"),
        out=str(path),
        algorithm=replace(
            algorithm,
            discount=DISCOUNT,
            entropy_cost=0.0,
            learning_rate_schedule="linear",
            rollout_steps=rollout_steps or algorithm.rollout_steps,
        ),
    )
    train(config, Console(file=io.StringIO()))
    simulators = make_simulators(config.source, 1, 1)
    model = build_model(resolve(config), simulators.observation, simulators.action)
    simulators.close()
    saved = checkpoint.newest(RunFolder(path).checkpoints)
    assert saved is not None
    FlatParameters(model).load(saved.load(0).tensors["parameters"])
    assert isinstance(model, ActorCritic)
    return model


def values_of(model: ActorCritic, *observations: float) -> list[float]:
    values: list[float] = model.values(torch.tensor(observations)[:, None]).tolist()
    return values


def probability_of_action_1(model: ActorCritic, observation: float) -> float:
    x = torch.tensor([[observation]])
    return model.evaluate(x, torch.tensor([1])).log_probs.exp().item()


@SPECIAL_CASE
def test_a_constant_reward_is_the_value_of_an_episode_of_one_step(
    method: str, tmp_path: Path
) -> None:
    values = values_of(learned(method, "Bandit-always-v0", tmp_path / "run", 12_000), -1.0, 1.0)
    assert values == pytest.approx([1.0, 1.0], abs=0.1)


@SPECIAL_CASE
def test_a_reward_that_the_observation_tells_is_its_value(method: str, tmp_path: Path) -> None:
    model = learned(method, "Bandit-observation-v0", tmp_path / "run", 20_000)
    assert values_of(model, -1.0, 1.0) == pytest.approx([-1.0, 1.0], abs=0.1)


@SPECIAL_CASE
def test_the_action_that_pays_is_chosen(method: str, tmp_path: Path) -> None:
    model = learned(method, "Bandit-action-v0", tmp_path / "run", 20_000)
    assert probability_of_action_1(model, -1.0) > 0.9
    assert probability_of_action_1(model, 1.0) > 0.9


def test_the_action_that_matches_the_observation_is_chosen(method: str, tmp_path: Path) -> None:
    model = learned(method, "Bandit-match-v0", tmp_path / "run", 20_000)
    assert probability_of_action_1(model, -1.0) < 0.1
    assert probability_of_action_1(model, 1.0) > 0.9


Formula = Callable[[int], float]


@pytest.mark.parametrize(
    ("env", "value"),
    [
        ("CorridorEnds-v0", lambda step: DISCOUNT ** (2 - step)),
        # The cut is no end: a reward of 1 at each step for ever.
        ("CorridorIsCut-v0", lambda _: 1 / (1 - DISCOUNT)),
    ],
)
@pytest.mark.parametrize(
    "method",
    # Rollouts of one step, below, are the default suite's for A2C.
    [pytest.param(m, marks=[pytest.mark.slow] * (m in SLOW or m == "gala-a2c")) for m in METHODS],
)
def test_values_are_discounted_and_go_on_past_a_cut(
    env: str, value: Formula, method: str, tmp_path: Path
) -> None:
    values = values_of(learned(method, env, tmp_path / "run", 32_000), 0.0, 1.0, 2.0)
    assert values == pytest.approx([value(step) for step in range(3)], abs=0.15)


@pytest.mark.parametrize("env", ["CorridorEnds-v0", "CorridorIsCut-v0"])
def test_so_are_those_of_rollouts_of_one_step(env: str, tmp_path: Path) -> None:
    """Which see nothing of the reward but through the value of the next observation."""
    model = learned("a2c", env, tmp_path / "run", 12_800, rollout_steps=1)
    ends = [DISCOUNT**2, DISCOUNT, 1.0]
    expected = ends if env == "CorridorEnds-v0" else 3 * [1 / (1 - DISCOUNT)]
    assert values_of(model, 0.0, 1.0, 2.0) == pytest.approx(expected, abs=0.15)
