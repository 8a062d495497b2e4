"""What must hold of every update from a replay: its ratio, its targets, its priorities."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gala_rl.agent import Agent, build_agent
from gala_rl.config.train import TrainConfig
from gala_rl.gossip import MemoryNetwork
from gala_rl.learners.replay_learner import ReplayLearner
from gala_rl.methods.dqn import DQNSettings
from gala_rl.methods.q_learning import QLearningSettings
from gala_rl.methods.r2d2 import R2D2Settings
from gala_rl.methods.resolving import resolve

SIMULATORS = 3
COMMON: dict[str, Any] = {
    "rollout_steps": 5,
    "batch_size": 6,
    "target_every": 4,
    "replay_size": 600,
    "min_replay": 60,
    "replay_ratio": 1.7,
    "learning_rate": 1e-3,
}
DQN = DQNSettings(**COMMON)
R2D2 = R2D2Settings(**COMMON, sequence_length=8, burn_in=3, n_step=2)
both = pytest.mark.parametrize("settings", [DQN, replace(DQN, categorical=True), R2D2])


def make_agent(settings: QLearningSettings, seed: int = 0, env: str = "Counting-v0") -> Agent:
    config = resolve(
        TrainConfig(
            method=settings.name,
            env=f"tests.environments:{env}",
            simulators=SIMULATORS,
            lstm_size=4 if settings.name == "r2d2" else None,
            serial=True,
            algorithm=settings,
        )
    )
    transport = MemoryNetwork(1).transport(0)
    return build_agent(config, 0, transport, torch.device("cpu"), seed)


def learner_of(agent: Agent) -> ReplayLearner:
    assert isinstance(agent.learner, ReplayLearner)
    return agent.learner


@pytest.fixture
def agent(settings: QLearningSettings) -> Any:
    made = make_agent(settings)
    yield made
    made.source.close()


@both
def test_nothing_is_learned_before_the_replay_is_filled(
    agent: Agent, settings: QLearningSettings
) -> None:
    learner = learner_of(agent)
    before, out = learner.flat.values.clone(), torch.empty_like(learner.flat.values)
    for update in range(3):
        metrics = learner.update(agent.source.collect(), 1e-3, out.fill_(torch.nan))
        assert metrics.update_norm == 0
        assert metrics.losses["replay_steps"] == 15 * (update + 1)
        assert torch.equal(out, before)
        assert torch.equal(learner.flat.values, before)
    assert learner.gradient_steps == learner.collected == 0
    while not learner.gradient_steps:
        assert torch.equal(learner.flat.values, before)
        metrics = learner.update(agent.source.collect(), 1e-3, out.fill_(torch.nan))
    assert metrics.losses["replay_steps"] >= settings.min_replay
    assert torch.equal(out, learner.flat.values)
    moved = torch.linalg.vector_norm(out - before)
    torch.testing.assert_close(metrics.update_norm, moved)
    assert moved > 0


@both
def test_the_replay_ratio_is_held(agent: Agent, settings: QLearningSettings) -> None:
    learner = learner_of(agent)
    collected = 0
    for _ in range(40):
        before = learner.gradient_steps
        metrics = learner.update(agent.source.collect(), 1e-3)
        collected += 15 * (learner.collected > 0)
        allowed = settings.replay_ratio * collected
        assert learner.collected == collected
        assert allowed - settings.batch_steps < learner.replayed <= allowed
        if learner.gradient_steps > before:
            assert metrics.losses["replay_ratio"] == pytest.approx(learner.replayed / collected)
    assert metrics.losses["gradient_steps"] == learner.gradient_steps > 10
    if settings.learned_steps == 1:
        assert learner.replayed == learner.gradient_steps * settings.batch_size


def spied(monkeypatch: pytest.MonkeyPatch, learner: ReplayLearner) -> list[tuple[Tensor, Tensor]]:
    """Parameters of the network and of its target before each gradient step."""
    seen: list[tuple[Tensor, Tensor]] = []
    step = learner._step.__call__

    def note(loss: Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        seen.append((learner.flat.values.clone(), learner._target_flat.values.clone()))
        return step(loss, learning_rate)

    monkeypatch.setattr(learner, "_step", note)
    return seen


@both
def test_the_target_is_a_copy_of_every_fourth_step_and_constant_between(
    monkeypatch: pytest.MonkeyPatch, agent: Agent, settings: QLearningSettings
) -> None:
    seen = spied(monkeypatch, learner_of(agent))
    while len(seen) < 14:
        agent.step(1e-3)
    for step, (_, target) in enumerate(seen):
        copied = seen[step - step % settings.target_every][0]
        assert torch.equal(target, copied)
        assert step % settings.target_every == 0 or not torch.equal(target, seen[step][0])


@both
def test_priorities_are_written_back(
    monkeypatch: pytest.MonkeyPatch, agent: Agent, settings: QLearningSettings
) -> None:
    learner = learner_of(agent)
    written: list[tuple[Any, Tensor]] = []
    update: Callable[..., None] = learner.replay.update_priorities

    def note(keys: Any, priorities: Tensor) -> None:
        written.append((keys, priorities))
        update(keys, priorities)

    monkeypatch.setattr(learner.replay, "update_priorities", note)
    while len(written) < 2:
        learner.should_stop = lambda: True
        metrics = learner.update(agent.source.collect(), 1e-3)
    keys, priorities = written[-1]
    # Where an item was drawn twice, the last one counts.
    last = {leaf: float(p) for leaf, p in zip(keys.leaf.tolist(), priorities, strict=True)}
    for leaf, priority in last.items():
        power = max(priority, 1e-6) ** settings.priority_exponent
        assert learner.replay._items.tree.leaves[leaf] == pytest.approx(power)
    assert metrics.losses["priority_max"] == pytest.approx(float(priorities.max()))
    assert metrics.losses["priority_mean"] == pytest.approx(float(priorities.mean()))


@both
def test_a_stop_ends_an_update_after_a_step_and_the_next_update_catches_up(
    agent: Agent, settings: QLearningSettings
) -> None:
    learner = learner_of(agent)
    while learner.collected < 30:
        agent.step(1e-3)
    learner.should_stop = lambda: True
    for _ in range(4):
        before = learner.gradient_steps
        learner.update(agent.source.collect(), 1e-3)
        assert learner.gradient_steps == before + 1
    learner.should_stop = lambda: False
    learner.update(agent.source.collect(), 1e-3)
    allowed = settings.replay_ratio * learner.collected
    assert allowed - settings.batch_steps < learner.replayed <= allowed


@both
def test_runs_with_one_seed_are_equal_and_with_two_are_not(settings: QLearningSettings) -> None:
    def parameters(seed: int) -> Tensor:
        agent = make_agent(settings, seed)
        for _ in range(12):
            agent.step(1e-3)
        agent.source.close()
        return agent.learner.flat.values

    assert torch.equal(parameters(3), parameters(3))
    assert not torch.equal(parameters(3), parameters(4))


@both
def test_what_a_checkpoint_has_is_restored(agent: Agent, settings: QLearningSettings) -> None:
    for _ in range(10):
        agent.step(1e-3)
    saved = {name: tensor.clone() for name, tensor in agent.learner.tensors().items()}
    other = make_agent(settings, seed=1)
    other.learner.restore(saved)
    for name, tensor in other.learner.tensors().items():
        assert torch.equal(tensor, saved[name])
    learner = learner_of(other)
    learner.flat.load(agent.learner.flat.values)
    # The replay is empty: nothing is learned, and the ratio stays as it was.
    collected, replayed = learner.collected, learner.replayed
    assert collected > 0
    other.step(1e-3)
    assert (learner.collected, learner.replayed) == (collected, replayed)
    other.source.close()


@both
def test_learning_lowers_the_loss_of_a_batch(agent: Agent, settings: QLearningSettings) -> None:
    learner = learner_of(agent)
    while learner.collected < 15:
        agent.step(0.0)
    batch = learner.replay.sample(200, np.random.default_rng(0))
    target = copy.deepcopy(learner._target)

    def loss() -> Tensor:
        return learner._loss(learner._network, target, settings, batch).total

    first = float(loss().detach())
    for _ in range(60):
        learner._step(loss(), 3e-3)
    assert float(loss().detach()) < 0.7 * first
