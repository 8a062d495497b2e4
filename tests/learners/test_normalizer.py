"""Rewards are scaled by what came before; moments change between an update and the next rollout."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from gala_rl.agent import Agent, build_agent
from gala_rl.config.train import TrainConfig
from gala_rl.flat import learned_size
from gala_rl.gossip import MemoryNetwork
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.models.normalization import LIMIT, RunningMoments

DISCOUNT, STEPS, SIMULATORS = 0.8, 5, 3
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Remembering(A2CSettings):
    """A2C that keeps what actors thought when they chose."""

    needs_behaviour = True


BOTH = Remembering(
    rollout_steps=STEPS, discount=DISCOUNT, normalize_observations=True, normalize_rewards=True
)


def agents(
    env: str,
    count: int = 1,
    settings: A2CSettings = BOTH,
    network: MemoryNetwork | None = None,
) -> list[Agent]:
    config = resolve(
        TrainConfig(env=f"tests.environments:{env}", learners=count, simulators=SIMULATORS)
    )
    config = replace(config, algorithm=settings)
    network, cpu = network or MemoryNetwork(count), torch.device("cpu")
    return [build_agent(config, r, network.transport(r), cpu, seed=r) for r in range(count)]


def moments_of(agent: Agent) -> tuple[RunningMoments, RunningMoments]:
    model = agent.actor.network
    assert model.observation_moments is not None
    assert model.sum_moments is not None
    return model.observation_moments, model.sum_moments


class Spy:
    """Stands before a learner and keeps what each of its updates was given."""

    def __init__(self, agent: Agent) -> None:
        self._agent, self._update = agent, agent.learner.update
        self.rewards: list[np.ndarray[Any, Any]] = []
        self.observations: list[np.ndarray[Any, Any]] = []
        self.vectors: list[torch.Tensor] = []
        self.misjudged: list[float] = []
        agent.learner.update = self  # type: ignore[assignment]

    def __call__(self, trajectory: Any, *args: Any) -> Any:
        self.rewards.append(trajectory.rewards.numpy().copy())
        self.observations.append(trajectory.observations.numpy().copy())
        self.vectors.append(self._agent.learner.flat.values.clone())
        observations, actions = trajectory.observations[:-1], trajectory.actions
        network: Any = self._agent.actor.network
        now = network.evaluate(observations.flatten(0, 1), actions.flatten())
        then = trajectory.log_probs.flatten(), trajectory.values.flatten()
        for a, b in ((now.log_probs, then[0]), (now.values, then[1])):
            self.misjudged.append((a - b).abs().max().item())
        return self._update(trajectory, *args)


@pytest.mark.parametrize("env", ["Counting-v0", "CountingTruncated-v0"])
def test_rewards_are_those_of_the_environment_over_the_deviation_of_their_sums(env: str) -> None:
    (agent,) = agents(env)
    spy = Spy(agent)
    # Episodes of 7 steps pay 1, 2, … 7 whatever is done, in all simulators alike.
    steps = np.arange(12 * STEPS) % 7
    raw, sums, total = steps + 1.0, [], 0.0
    for step, reward in zip(steps, raw, strict=True):
        total = reward + (DISCOUNT * total if step else 0.0)
        sums.append(total)
    for k in range(12):
        agent.step(LEARNING_RATE)
        deviation = np.std(sums[: k * STEPS]) if k else 1.0
        expected = np.minimum(raw[k * STEPS : (k + 1) * STEPS] / deviation, LIMIT)
        np.testing.assert_allclose(spy.rewards[k], np.stack([expected] * SIMULATORS, 1), rtol=1e-4)
    assert agent.normalizer.discounted_sums.tolist() == pytest.approx([sums[-1]] * SIMULATORS)
    assert {episode.score for episode in agent.actor.episodes} == {28.0}, "reported raw"


def test_every_observation_is_counted_once_and_after_its_update() -> None:
    (agent,) = agents("Drifting-v0")
    spy = Spy(agent)
    for _ in range(6):
        agent.step(LEARNING_RATE)
    seen = np.concatenate([x[:-1] for x in spy.observations]).reshape(-1, 2)
    of_observations, _ = moments_of(agent)
    np.testing.assert_allclose(of_observations.mean, seen.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(of_observations.variance, seen.var(0), rtol=1e-4)


def test_acting_and_learning_see_the_same_moments_even_as_neighbours_are_mixed_in() -> None:
    first, second = agents("Drifting-v0", count=2)
    spies = Spy(first), Spy(second)
    for _ in range(5):
        first.step(LEARNING_RATE)
        second.step(LEARNING_RATE)
    assert first.gossip.node.mixes >= 4
    for spy in spies:
        assert max(spy.misjudged) < 1e-5
        assert not torch.equal(spy.vectors[-1], spy.vectors[-2])


def test_what_is_sent_is_what_the_update_used_and_its_rollout_counts_for_the_next() -> None:
    network = MemoryNetwork(2)
    agent, _ = agents("Drifting-v0", count=2, network=network)
    of_observations, _ = moments_of(agent)
    for sent_rollouts in range(3):
        agent.step(LEARNING_RATE)
        sent = network.latest(0)
        assert sent is not None
        now = agent.learner.flat.values
        learned = learned_size(agent.actor.network)
        assert torch.equal(sent.parameters[:learned], now[:learned])
        assert not torch.equal(sent.parameters[learned:], now[learned:])
        offset = (of_observations.rollouts.data_ptr() - now.data_ptr()) // now.element_size()
        assert sent.parameters[offset] == sent_rollouts
        assert now[offset] == sent_rollouts + 1


def test_who_takes_over_a_learner_s_vector_sees_as_it_does() -> None:
    donor, heir = agents("Unscaled-v0", count=2)
    for _ in range(20):
        donor.step(LEARNING_RATE)
    x = torch.tensor([[1e5 + 1e2, 7e5], [1e5 - 1e2, 7e5]])
    assert not torch.equal(heir.actor.network.values(x), donor.actor.network.values(x))
    heir.learner.flat.load(donor.learner.flat.values)
    assert torch.equal(heir.actor.network.values(x), donor.actor.network.values(x))
    assert heir.actor.network.values(x)[0] != heir.actor.network.values(x)[1], "it tells them apart"


def test_without_the_settings_there_are_no_moments_and_rewards_stay_raw() -> None:
    (agent,) = agents("Counting-v0", settings=Remembering(rollout_steps=STEPS))
    spy = Spy(agent)
    agent.step(LEARNING_RATE)
    assert agent.actor.network.observation_moments is agent.actor.network.sum_moments is None
    assert spy.rewards[0][:, 0].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def mean_return(normalize: bool) -> float:
    """Over the last third of 300 updates."""
    settings = A2CSettings(
        rollout_steps=10,
        entropy_cost=0.0,
        normalize_observations=normalize,
        normalize_rewards=normalize,
    )
    (agent,) = agents("Unscaled-v0", settings=settings)
    for update in range(300):
        agent.step(5e-3 * (1 - update / 300))
        if update == 200:
            agent.actor.episodes.clear()
    return float(np.mean([episode.score for episode in agent.actor.episodes]))


def test_what_is_out_of_all_scale_is_learned_with_them_alone() -> None:
    assert mean_return(normalize=True) > 4500
    assert mean_return(normalize=False) < 3500
