"""The references that speed is compared with do the same work as what they are references for."""

import numpy as np
import pytest
import torch

from gala_lab.bench import bare_simulators, component_rates, plain_network
from gala_rl.agent import build_model
from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.train import TrainConfig
from gala_rl.envs import make_simulators
from gala_rl.losses.actor_critic import actor_critic_loss
from gala_rl.losses.boundaries import EpisodeBoundaries
from gala_rl.losses.returns import n_step_returns
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.spaces import ActionSpec, ObservationSpec

PONG = resolve(TrainConfig(method="a2c", simulators=2, simulator_threads=1))
T, B, ACTIONS = 3, 2, 6
SHAPE = (4, 84, 84)
IMAGES = ObservationSpec(SHAPE, True)
VECTORS = ObservationSpec((4,), False)


def test_bare_simulators_show_what_those_of_training_show() -> None:
    layer = make_simulators(EnvironmentSource(PONG.env, atari=PONG.atari), PONG.simulators, 1)
    layer.reset(7)
    simulators = bare_simulators.make_bare(PONG, 7)
    actions = np.random.default_rng(0).integers(layer.action.size, size=(40, PONG.simulators))
    for action in actions:
        observations, _, terminated, _, _ = simulators.step(action)
        transition = layer.step(action)
        np.testing.assert_array_equal(observations, transition.observations)
        np.testing.assert_array_equal(terminated, transition.terminated)


def test_only_games_of_ale_have_bare_simulators() -> None:
    assert bare_simulators.is_available("PongNoFrameskip-v4")
    assert not bare_simulators.is_available("CartPole-v1")


def test_only_images_with_discrete_actions_have_a_plain_network() -> None:
    assert plain_network.is_available(IMAGES, ActionSpec(6, True))
    assert not plain_network.is_available(IMAGES, ActionSpec(6, False))
    assert not plain_network.is_available(ObservationSpec((4,), False), ActionSpec(6, True))


def make_update(
    learning_rate: float, observation: ObservationSpec = IMAGES
) -> tuple[plain_network.PlainNetwork | plain_network.PlainMLP, plain_network.PlainUpdate]:
    generator = torch.Generator().manual_seed(0)
    shape = (T + 1, B, *observation.shape)
    network: plain_network.PlainNetwork | plain_network.PlainMLP
    if observation.is_image:
        network = plain_network.PlainNetwork(SHAPE, ACTIONS)
        observations = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    else:
        network = plain_network.PlainMLP(observation.size, ACTIONS)
        observations = torch.randn(shape, generator=generator)
    rewards = torch.randn(T, B, generator=generator)
    discounts = torch.full((T, B), 0.99)
    discounts[1, 0] = 0.0
    update = plain_network.PlainUpdate(
        network, A2CSettings(), observations, rewards, discounts, learning_rate
    )
    return network, update


@pytest.mark.parametrize("observation", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_the_plain_network_has_the_parameters_of_the_packages_own(
    observation: ObservationSpec,
) -> None:
    model = build_model(PONG, observation, ActionSpec(ACTIONS, True))
    network, _ = make_update(0.0, observation)
    ours = sorted(tuple(p.shape) for p in model.parameters())
    assert sorted(tuple(p.shape) for p in network.parameters()) == ours


@pytest.mark.parametrize("observation", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_the_plain_update_has_the_loss_of_the_packages_own(observation: ObservationSpec) -> None:
    network, update = make_update(0.0, observation)
    with torch.no_grad():
        logits, values = network(update._observations[:-1].flatten(0, 1))
        bootstrap = network(update._observations[-1])[1]
    actions = torch.arange(T * B).view(T, B) % ACTIONS
    policy = torch.distributions.Categorical(logits=logits)
    ended = update._discounts == 0
    boundaries = EpisodeBoundaries(ended, torch.zeros_like(ended), torch.zeros(T, B), bootstrap)
    returns = n_step_returns(update._rewards, boundaries, 0.99)
    expected = actor_critic_loss(
        log_probs=policy.log_prob(actions.flatten()).view(T, B),  # type: ignore[no-untyped-call]
        entropies=policy.entropy().view(T, B),  # type: ignore[no-untyped-call]
        values=values.view(T, B),
        returns=returns,
        value_cost=0.5,
        entropy_cost=0.01,
    ).total
    torch.testing.assert_close(update._returns(), returns)
    torch.testing.assert_close(update._loss(actions, returns).detach(), expected)


def test_the_plain_update_learns_at_the_rate_it_is_given() -> None:
    for learning_rate, moves in ((0.0, False), (1e-3, True)):
        network, update = make_update(learning_rate)
        before = [p.detach().clone() for p in network.parameters()]
        update.step()
        moved = [not torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True)]
        assert all(moved) if moves else not any(moved)
        norm = torch.nn.utils.get_total_norm(
            p.grad for p in network.parameters() if p.grad is not None
        )
        assert 0 < norm <= 0.5 + 1e-4


def test_every_part_stands_for_the_agent_steps_it_makes() -> None:
    device = torch.device("cpu")
    expected = {
        component_rates.simulators_only: 2,
        component_rates.simulators_bare: 2,
        component_rates.network_only: 2 * 5,
        component_rates.network_plain: 2 * 5,
    }
    for part, agent_steps in expected.items():
        work = part(PONG, 0, device)
        for k in range(2):
            work.call(k)
        assert work.agent_steps == agent_steps
