"""The Q-network: its heads, its acting, what its state holds, and what is not a parameter."""

import pytest
import torch
from torch import Tensor

from gala_rl.flat import FlatParameters, flat_size
from gala_rl.models.observation_torso import TorsoSettings
from gala_rl.models.q_network import DuellingHeads, QNetwork, Support
from gala_rl.spaces import ActionSpec, NetworkKind, ObservationSpec
from gala_rl.threads import forward_flop

VECTOR, PLANES = ObservationSpec((3,), False), ObservationSpec((4, 10, 10), True)
IMAGE = ObservationSpec((4, 36, 36), True)
ITEMS, ACTIONS, UNITS = 5, 4, 6
DISCRETE = ActionSpec(ACTIONS, True)

kinds = pytest.mark.parametrize("observation", [VECTOR, PLANES, IMAGE])
cores = pytest.mark.parametrize("lstm_size", [None, UNITS])


def network(
    observation: ObservationSpec = VECTOR,
    lstm_size: int | None = None,
    support: Support | None = None,
    kind: NetworkKind | None = None,
) -> QNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        torso = TorsoSettings(kind)
        return QNetwork(observation, DISCRETE, lstm_size=lstm_size, support=support, torso=torso)


def observations(spec: ObservationSpec, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if spec.is_image:
        return torch.randint(0, 256, (ITEMS, *spec.shape), generator=generator).to(torch.uint8)
    return torch.randn(ITEMS, *spec.shape, generator=generator)


def random_state(model: QNetwork) -> Tensor:
    state = torch.randn(ITEMS, model.state_size, generator=torch.Generator().manual_seed(3))
    if model.state_size:
        state[:, -2] = torch.arange(ITEMS) % (ACTIONS + 1)
    return state


@pytest.mark.parametrize("atoms", [1, 3])
def test_heads_are_value_plus_advantage_minus_the_mean_advantage(atoms: int) -> None:
    heads = DuellingHeads(3, ACTIONS, 5, atoms)
    features = torch.randn(2, 3)
    values = heads.value(features)
    advantages = heads.advantage(features).view(2, ACTIONS, atoms)
    q = heads(features)
    for a in range(ACTIONS):
        for z in range(atoms):
            mean = sum(advantages[:, b, z] for b in range(ACTIONS)) / ACTIONS
            torch.testing.assert_close(q[:, a, z], values[:, z] + advantages[:, a, z] - mean)
    # A mean over all numbers, or over the items, would not give the value back.
    torch.testing.assert_close(q.mean(dim=1), values)


def test_a_constant_in_all_advantages_changes_nothing() -> None:
    heads = DuellingHeads(3, ACTIONS, 5)
    features = torch.randn(2, 3)
    before = heads(features)
    last = heads.advantage[-1]
    assert isinstance(last, torch.nn.Linear)
    last.bias.data.add_(7.0)
    torch.testing.assert_close(heads(features), before)


@kinds
@cores
def test_first_q_values_are_small(observation: ObservationSpec, lstm_size: int | None) -> None:
    model = network(observation, lstm_size)
    assert model(observations(observation), random_state(model)).abs().max() < 0.1


@kinds
@cores
def test_shapes_and_sizes(observation: ObservationSpec, lstm_size: int | None) -> None:
    model = network(observation, lstm_size)
    assert model.state_size == (0 if lstm_size is None else 2 * UNITS + 2)
    x, state = observations(observation), model.initial_state(ITEMS)
    assert model(x, state).shape == (ITEMS, ACTIONS)
    assert model.values(x, state).shape == (ITEMS,)
    hidden = model.heads.value[0]
    assert isinstance(hidden, torch.nn.Linear)
    assert hidden.out_features == (512 if observation.is_image else 64)
    assert forward_flop(model, observation) > 0


@pytest.mark.parametrize("kind", ["small", "shallow", "deep"])
def test_images_have_the_torso_that_is_asked_for(kind: NetworkKind) -> None:
    model = network(IMAGE, kind=kind)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == {"small": 1, "shallow": 3, "deep": 15}[kind]
    assert model(observations(IMAGE)).shape == (ITEMS, ACTIONS)


def test_actions_that_are_not_discrete_are_refused() -> None:
    for action in (ActionSpec(2, False), ActionSpec(2, True, (3, 4))):
        with pytest.raises(ValueError, match="one discrete action"):
            QNetwork(VECTOR, action)


@cores
def test_acting_follows_epsilon_and_reports_q(lstm_size: int | None) -> None:
    model = network(lstm_size=lstm_size)
    model.epsilons = torch.tensor([0.0, 1.0, 0.5, 0.0, 0.0])
    x, start = observations(VECTOR), random_state(model)
    with torch.no_grad():
        q = model(x, start)
        assert torch.equal(model.values(x, start), q.amax(dim=-1))
    seen = set()
    for seed in range(40):
        state, again = start.clone(), start.clone()
        output = model.act_and_evaluate(x, torch.Generator().manual_seed(seed), state)
        assert output.action_values is not None
        actions = output.actions.tolist()
        assert [actions[i] for i in (0, 3, 4)] == [int(q[i].argmax()) for i in (0, 3, 4)]
        seen.add(actions[1])
        torch.testing.assert_close(output.values, q.amax(dim=-1))
        torch.testing.assert_close(output.action_values, q[range(ITEMS), actions])
        chance = 0.5 / ACTIONS + (0.5 if actions[2] == int(q[2].argmax()) else 0.0)
        expected = [1.0, 1 / ACTIONS, chance, 1.0, 1.0]
        assert output.log_probs.exp().tolist() == pytest.approx(expected, rel=1e-6)
        assert torch.equal(model.act(x, torch.Generator().manual_seed(seed), again), output.actions)
        assert torch.equal(again, state)
    assert seen == set(range(ACTIONS))
    state = start.clone()
    assert torch.equal(model.greedy(x, state), q.argmax(dim=-1))


def test_the_state_holds_the_core_the_action_and_the_reward() -> None:
    model = network(lstm_size=UNITS)
    assert model.core is not None
    x, start = observations(VECTOR), random_state(model)
    state, rewards = start.clone(), torch.arange(ITEMS) - 1.5
    with torch.no_grad():
        actions = model.act(x, torch.Generator().manual_seed(0), state)
        model.observe_rewards(rewards, state)
        one_hot = torch.zeros(ITEMS, ACTIONS)
        for i, code in enumerate(start[:, -2].int().tolist()):
            if code > 0:
                one_hot[i, code - 1] = 1.0
        inputs = torch.cat([model.torso(x), one_hot, start[:, -1:]], dim=-1)
        features, after = model.core(inputs, start[:, :-2])
        torch.testing.assert_close(model(x, start), model.heads(features).squeeze(-1))
    torch.testing.assert_close(state[:, :-2], after)
    assert state[:, -2].tolist() == [a + 1 for a in actions.tolist()]
    assert torch.equal(state[:, -1], rewards)


def test_previous_action_and_reward_change_the_values() -> None:
    model = network(lstm_size=UNITS)
    x, state = observations(VECTOR), torch.zeros(ITEMS, model.state_size)
    values = [model.values(x, state)]
    for column, value in ((-2, 1.0), (-2, 2.0), (-1, 1.0), (-1, -1.0)):
        changed = state.clone()
        changed[:, column] = value
        values.append(model.values(x, changed))
    for i, ours in enumerate(values):
        for theirs in values[:i]:
            assert not torch.isclose(ours, theirs).any()


def test_without_a_core_nothing_is_remembered_and_rewards_are_ignored() -> None:
    model = network()
    state = model.initial_state(ITEMS)
    model.observe_rewards(torch.ones(ITEMS), state)
    assert state.shape == (ITEMS, 0)


def test_a_recurrent_network_needs_a_state() -> None:
    with pytest.raises(ValueError, match="give it the one before"):
        network(lstm_size=UNITS)(observations(VECTOR))


def test_epsilons_and_atoms_are_no_parameters() -> None:
    model = network(support=Support(5, -1.0, 1.0))
    names = {name for name, _ in model.named_parameters()} | set(model.state_dict())
    assert not {name for name in names if "epsilon" in name or "atoms" in name}
    size = flat_size(model)
    model.epsilons = torch.full((7,), 0.5)
    assert flat_size(model) == size
    FlatParameters(model).load(torch.zeros(size))
    assert model.epsilons.tolist() == [0.5] * 7


def test_a_categorical_network_s_q_is_the_mean_of_its_distribution() -> None:
    model = network(support=Support(5, -2.0, 6.0))
    x = observations(VECTOR)
    probabilities = model.log_probs(x).exp()
    assert probabilities.shape == (ITEMS, ACTIONS, 5)
    torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(ITEMS, ACTIONS))
    mean = sum(z * probabilities[..., i] for i, z in enumerate((-2.0, 0.0, 2.0, 4.0, 6.0)))
    assert isinstance(mean, Tensor)
    torch.testing.assert_close(model(x), mean)


def test_bfloat16_is_for_the_torso_alone() -> None:
    exact = network(IMAGE)
    model = QNetwork(IMAGE, DISCRETE, bfloat16=True)
    model.load_state_dict(exact.state_dict())
    x = observations(IMAGE)
    q = model(x)
    assert q.dtype == torch.float32
    assert not torch.equal(q, exact(x))
    torch.testing.assert_close(q, exact(x), rtol=0.05, atol=0.05)
