"""An agent acts, learns and gossips in the order of Algorithm 1, all from the given seeds."""

from collections.abc import Collection
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from gala_rl.agent import Agent, build_agent, build_model, message_size, simulator_groups
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.gossip import MemoryNetwork, Message, SharedMailboxes
from gala_rl.gossip.message import Event
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory_source import StopRequested

CPU = torch.device("cpu")
LEARNING_RATE = 1e-3


class Unusable:
    """A transport for learners that must not use any."""

    def outbox(self) -> Tensor | None:
        raise AssertionError("the outbox was asked for")

    def send(self, message: Message, receivers: Collection[int]) -> Message:
        raise AssertionError("a message was sent")

    def poll(self, senders: Collection[int]) -> list[Event]:
        raise AssertionError("messages were asked for")

    def close(self) -> None:
        raise AssertionError("the network was closed")


def config_of(env: str = "Drifting-v0", learners: int = 1, seed: int = 0) -> ResolvedConfig:
    return resolve(
        TrainConfig(
            env=f"tests.environments:{env}",
            learners=learners,
            simulators=3,
            seed=seed,
            algorithm=A2CSettings(rollout_steps=5),
        )
    )


def alone(config: ResolvedConfig, seed: int = 7) -> Agent:
    return build_agent(config, 0, Unusable(), CPU, seed)


def pair(env: str = "Drifting-v0") -> tuple[MemoryNetwork, list[Agent]]:
    """Two learners in a ring."""
    network, config = MemoryNetwork(2), config_of(env, learners=2)
    agents = [build_agent(config, r, network.transport(r), CPU, seed=r) for r in range(2)]
    return network, agents


def test_with_one_learner_gossip_does_nothing() -> None:
    agent, bare = alone(config_of()), alone(config_of())
    for _ in range(10):
        metrics = agent.step(LEARNING_RATE)
        expected = bare.learner.update(bare.actor.collect(), LEARNING_RATE)
        assert metrics == expected
    assert torch.equal(agent.learner.flat.values, bare.learner.flat.values)
    assert torch.equal(agent.actor.trajectory.actions, bare.actor.trajectory.actions)


def test_what_is_sent_is_the_updated_network_and_the_mix_comes_after() -> None:
    network, (first, second) = pair()
    first.step(LEARNING_RATE)
    from_first = network.latest(0)
    assert from_first is not None
    assert torch.equal(from_first.parameters, first.learner.flat.values)
    second.step(LEARNING_RATE)
    from_second = network.latest(1)
    assert from_second is not None
    assert not torch.equal(from_second.parameters, from_first.parameters)
    mean = (from_first.parameters + from_second.parameters) / 2
    torch.testing.assert_close(second.learner.flat.values, mean, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("mix_optimizer", [False, True])
def test_learners_that_update_into_shared_memory_are_bit_for_bit_those_that_copy(
    mix_optimizer: bool,
) -> None:
    config = config_of(learners=2)
    config = replace(config, gossip=replace(config.gossip, mix_optimizer=mix_optimizer))
    size = message_size(config, alone(config_of()).learner.flat.values.numel())
    results, mixes = [], []
    for network in (MemoryNetwork(2), SharedMailboxes(2, size)):
        agents = [build_agent(config, r, network.transport(r), CPU, seed=r) for r in range(2)]
        # Learner 1 makes two updates for each of learner 0: every other finds nothing to mix.
        for rank in (0, 1, 1) * 10:
            agents[rank].step(LEARNING_RATE)
        results.append([agent.learner.state.clone() for agent in agents])
        mixes.append([agent.gossip.node.mixes for agent in agents])
    assert mixes[0] == mixes[1] == [9, 10]
    for copied, in_place in zip(*results, strict=True):
        assert torch.equal(copied, in_place)


@pytest.mark.parametrize("mix_optimizer", [False, True])
def test_statistics_of_the_optimizer_are_mixed_only_if_asked_for(mix_optimizer: bool) -> None:
    network = MemoryNetwork(2)
    config = config_of(learners=2)
    config = replace(config, gossip=replace(config.gossip, mix_optimizer=mix_optimizer))
    first, second = (build_agent(config, r, network.transport(r), CPU, seed=r) for r in range(2))
    first.step(LEARNING_RATE)
    before = first.learner.optimizer.state.clone()
    alone = build_agent(replace(config, learners=1), 0, Unusable(), CPU, seed=1)
    alone.step(LEARNING_RATE)
    second.step(LEARNING_RATE)
    own = alone.learner.optimizer.state
    assert (before - own).abs().max() > 0
    expected = (before + own) / 2 if mix_optimizer else own
    torch.testing.assert_close(second.learner.optimizer.state, expected)
    sent = network.latest(1)
    assert sent is not None
    assert len(sent.parameters) == message_size(config, len(own))


def test_the_mixed_network_is_the_one_that_acts_next() -> None:
    _, (first, second) = pair()
    first.step(LEARNING_RATE)
    second.step(LEARNING_RATE)
    parameters = [p.data_ptr() for p in second.actor.network.parameters()]
    start = second.learner.flat.values.data_ptr()
    end = start + second.learner.flat.values.numel() * 4
    assert all(start <= p < end for p in parameters)


def test_a_gradient_that_is_not_finite_stops_the_agent_before_anything_is_sent() -> None:
    # Rewards turn to NaN at agent step 15, the last of the third rollout.
    network, (agent, _) = pair("Poisoned-v0")
    agent.step(LEARNING_RATE)
    agent.step(LEARNING_RATE)
    with pytest.raises(FloatingPointError, match="update 3 is not finite"):
        agent.step(LEARNING_RATE)
    sent = network.latest(0)
    assert sent is not None
    assert sent.version == 2
    assert torch.isfinite(sent.parameters).all()


def test_all_ranks_start_from_the_parameters_of_the_run() -> None:
    network, config = MemoryNetwork(3), config_of(learners=3, seed=5)
    agents = [build_agent(config, r, network.transport(r), CPU, seed=100 + r) for r in range(3)]
    vectors = [agent.learner.flat.values for agent in agents]
    assert torch.equal(vectors[0], vectors[1])
    assert torch.equal(vectors[0], vectors[2])
    assert vectors[0].data_ptr() != vectors[1].data_ptr()


def test_another_seed_of_the_run_gives_other_parameters() -> None:
    one, other = alone(config_of(seed=5)), alone(config_of(seed=6))
    assert not torch.equal(one.learner.flat.values, other.learner.flat.values)


def test_building_a_network_neither_reads_nor_moves_the_global_random_state() -> None:
    def parameters(global_seed: int) -> torch.Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(global_seed)
            before = torch.get_rng_state()
            model = build_model(config_of(), ObservationSpec((3,), False), ActionSpec(2, True))
            assert torch.equal(torch.get_rng_state(), before)
            return torch.nn.utils.parameters_to_vector(model.parameters())

    assert torch.equal(parameters(1), parameters(2))


def test_different_seeds_give_different_simulators_and_actions() -> None:
    _, (first, second) = pair()
    one, other = first.actor.collect(), second.actor.collect()
    assert not torch.isclose(one.observations[0], other.observations[0]).any()
    assert not torch.equal(one.actions, other.actions)


def test_the_same_seeds_give_the_same_run() -> None:
    def run(seed: int) -> torch.Tensor:
        agent = alone(config_of(), seed)
        for _ in range(5):
            agent.step(LEARNING_RATE)
        return agent.learner.flat.values

    assert torch.equal(run(7), run(7))
    assert not torch.equal(run(7), run(8))


def test_updates_and_agent_steps_are_counted() -> None:
    agent = alone(config_of())
    for updates in range(1, 6):
        agent.step(LEARNING_RATE)
        assert agent.updates == updates
        assert agent.agent_steps == updates * 5 * 3
        assert agent.gossip.node.version == updates


def test_the_learning_rate_is_that_of_the_call() -> None:
    agent = alone(config_of())
    before = agent.learner.flat.values.clone()
    agent.step(0.0)
    assert torch.equal(agent.learner.flat.values, before)
    agent.step(LEARNING_RATE)
    assert not torch.equal(agent.learner.flat.values, before)


def test_time_is_booked_on_the_part_that_took_it(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = alone(config_of())
    readings = iter([0.0, 1.0, 3.0, 7.0, 10.0, 20.0, 40.0, 80.0])
    clock = SimpleNamespace(perf_counter=lambda: next(readings))
    monkeypatch.setattr("gala_rl.agent.time", clock)
    agent.step(LEARNING_RATE)
    timings = agent.timings
    assert (timings.rollout_s, timings.update_s, timings.gossip_s) == (1.0, 2.0, 4.0)
    agent.step(LEARNING_RATE)
    assert (timings.rollout_s, timings.update_s, timings.gossip_s) == (11.0, 22.0, 44.0)


def test_settings_of_the_run_reach_every_part() -> None:
    config = config_of(learners=2)
    gossip = replace(config.gossip, topology="complete", when="any", max_staleness=4, deadline=9.0)
    config = replace(config, simulators=4, gossip=gossip, algorithm=A2CSettings(rollout_steps=6))
    agent = build_agent(config, 1, MemoryNetwork(2).transport(1), CPU, seed=0)
    assert agent.actor.trajectory.rewards.shape == (6, 4)
    assert agent.gossip.node.rank == 1
    assert agent.gossip.node.topology.learners == 2
    assert agent.gossip.node._when == "any"
    assert agent.gossip.node._max_staleness == 4
    assert agent.gossip._deadline_s == 9.0


def test_learners_of_a_hierarchy_hear_their_node_and_mix_what_is_there() -> None:
    config = config_of(learners=4)
    config = replace(
        config, learners_per_node=2, gossip=replace(config.gossip, topology="hierarchical")
    )
    agent = build_agent(config, 3, MemoryNetwork(4).transport(3), CPU, seed=0)
    assert agent.gossip.node.listening_to == (1, 2)
    assert agent.gossip.node._when == "any"
    agent = build_agent(config_of(learners=4), 3, MemoryNetwork(4).transport(3), CPU, seed=0)
    assert agent.gossip.node._when == "all"


def test_simulators_form_two_groups_only_where_that_hides_the_network() -> None:
    atari = resolve(TrainConfig(learners=1, simulators=4))
    assert simulator_groups(atari, CPU) == 1
    assert simulator_groups(atari, torch.device("cuda")) == 2
    assert simulator_groups(replace(atari, simulators=1), torch.device("cuda")) == 1
    other = resolve(TrainConfig(env="CartPole-v1", learners=1, simulators=4))
    assert simulator_groups(other, torch.device("cuda")) == 1
    assert simulator_groups(replace(atari, simulator_groups=3), CPU) == 3


def test_an_agent_in_bfloat16_keeps_its_parameters_in_float32() -> None:
    config = resolve(TrainConfig(learners=1, simulators=2, precision="bfloat16"))
    agent = build_agent(config, 0, Unusable(), CPU, seed=0)
    before = agent.learner.flat.values.clone()
    agent.step(LEARNING_RATE)
    assert agent.learner.flat.values.dtype == torch.float32
    assert agent.actor.trajectory.activations is None
    assert not torch.equal(agent.learner.flat.values, before)


def test_a_stop_between_rollout_and_update_drops_the_rollout() -> None:
    agent = alone(config_of())
    before = agent.learner.flat.values.clone()
    agent.should_stop = lambda: True
    with pytest.raises(StopRequested):
        agent.step(LEARNING_RATE)
    assert torch.equal(agent.learner.flat.values, before)
    assert (agent.updates, agent.agent_steps) == (0, 0)
