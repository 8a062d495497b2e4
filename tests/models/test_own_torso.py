"""A torso of the user is tried when it is built, and gets what simulators give, as numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gala_rl.errors import UserError
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.models.observation_torso import TorsoSettings, make_torso
from gala_rl.models.own_torso import MakeModule, OwnTorso
from gala_rl.models.q_network import QNetwork
from gala_rl.models.torsos import ConvTorso, MLPTorso, PartsTorso
from gala_rl.spaces import ActionSpec, Activation, ObservationSpec
from tests.environments import networks

VECTOR = ObservationSpec((4,), False)
IMAGE = ObservationSpec((2, 17, 13), True)
PARTS = ObservationSpec((2 * 17 * 13 + 4,), False, (IMAGE, VECTOR))
DISCRETE = ActionSpec(3, True)


def own(function: Any, observation: ObservationSpec = VECTOR) -> OwnTorso:
    return OwnTorso(MakeModule(function, "network 'm:f'"), observation)


@pytest.mark.parametrize(
    ("function", "features"),
    [(networks.mlp, 12), (networks.lazy, 10), (networks.Torso, 6), (networks.Maker.inner, 12)],
)
def test_the_size_of_the_features_is_read_off_the_module(function: Any, features: int) -> None:
    torso = own(function)
    assert torso.features == features
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torso(x), torso.module(x))


def test_pixels_are_scaled_and_other_numbers_are_not() -> None:
    image = torch.full((2, *IMAGE.shape), 51, dtype=torch.uint8)
    torso = own(networks.convolutions, IMAGE)
    torch.testing.assert_close(torso(image), torso.module(torch.full(image.shape, 0.2)))
    assert int(image[0, 0, 0, 0]) == 51
    flat = torch.full((2, *PARTS.shape), 51.0)
    parts = own(networks.mlp, PARTS)
    assert torch.equal(parts(flat), parts.module(flat))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (networks.nothing, "returned NoneType: it must return a torch.nn.Module from observations"),
        (networks.a_class, "returned the class Torso: it must return a torch.nn.Module"),
        (networks.raises, "raised ValueError: no such luck"),
        (networks.takes_nothing, "raised TypeError: takes_nothing() takes 0 positional arguments"),
        (networks.Failing, "raised RuntimeError: no such luck, for observations [3, 4]"),
        (networks.convolutions, "raised"),
        (networks.Pair, "gives tuple: its module must give a tensor"),
        (networks.Unbatched, "gives [4] for observations [3, 4]: its module must be from"),
        (networks.without_parameters, "returned a module without parameters"),
        (networks.InDouble, "has the parameter scale of type torch.float64: it must be float32"),
        (networks.Double, "gives features of type torch.float64: they must be float32"),
        (networks.Tied, "uses one parameter as layer.weight and as other.weight"),
        (networks.Unused, "never uses the parameter lazy.weight"),
        (networks.with_batch_norm, "has the buffer 1.running_mean, which neither gossip nor"),
        (networks.with_dropout, "gives other features for the same observations at each call"),
        (networks.Counting, "gives other features for the same observations at each call"),
        (networks.Averaging, "gives an observation other features beside other observations"),
        (networks.Changing, "changes its input in place"),
        (networks.Infinite, "gives features that are not finite"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_module_that_learners_cannot_use_is_refused_in_one_line(
    function: Any, words: str
) -> None:
    with pytest.raises(UserError) as refused:
        own(function)
    assert str(refused.value).startswith(f"network 'm:f' {words}")
    assert "\n" not in str(refused.value)


def touched(network: ActorCritic, output: Tensor) -> set[str]:
    """Names of the first-level modules that an output depends on."""
    network.zero_grad(set_to_none=True)
    torch.autograd.backward(output.sum())
    return {
        name.partition(".")[0]
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("function", [networks.mlp, None])
@pytest.mark.parametrize("observation", [VECTOR, IMAGE, PARTS], ids=["vector", "image", "parts"])
def test_policy_and_value_share_a_torso_or_have_one_each(
    observation: ObservationSpec, function: Any, is_shared: bool
) -> None:
    make = None if function is None else MakeModule(function, "f")
    settings = TorsoSettings(own=make, is_shared=is_shared)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ActorCritic(observation, DISCRETE, torso=settings)
    x = torch.full((6, *observation.shape), 9.0)
    policy, values = network(x)
    assert touched(network, policy) == {"torso", "_policy"}
    policy, values = network(x)
    expected = {"torso", "_value"} if is_shared else {"value_torso", "_value"}
    assert touched(network, values) == expected
    assert torch.equal(network.values(x), values)


@pytest.mark.parametrize("observation", [VECTOR, IMAGE, PARTS], ids=["vector", "image", "parts"])
def test_without_a_setting_only_vectors_have_a_torso_each(observation: ObservationSpec) -> None:
    for make in (None, MakeModule(networks.mlp, "f")):
        network = ActorCritic(observation, DISCRETE, torso=TorsoSettings(own=make))
        assert (network.value_torso is None) == observation.has_pixels
        recurrent = ActorCritic(observation, DISCRETE, lstm_size=5, torso=TorsoSettings(own=make))
        assert recurrent.value_torso is None
        assert recurrent.core is not None
        assert recurrent.core.inputs.in_features == recurrent.torso.features


def test_a_q_network_has_it_too() -> None:
    settings = TorsoSettings(own=MakeModule(networks.mlp, "f"))
    network = QNetwork(VECTOR, DISCRETE, lstm_size=5, torso=settings)
    assert isinstance(network.torso, OwnTorso)
    state = network.initial_state(2)
    assert network(torch.rand(2, 4), state).shape == (2, 3)


@pytest.mark.parametrize(
    ("activation", "kind"), [("tanh", nn.Tanh), ("relu", nn.ReLU), ("silu", nn.SiLU)]
)
def test_layers_for_vectors_have_the_units_and_the_activation(
    activation: Activation, kind: type[nn.Module]
) -> None:
    settings = TorsoSettings(hidden=(7, 5, 3), activation=activation)
    torso = make_torso(VECTOR, settings)
    assert isinstance(torso, MLPTorso)
    assert [type(layer) for layer in torso.layers] == [nn.Linear, kind] * 3
    shapes = [p.shape for p in torso.parameters() if p.ndim == 2]
    assert shapes == [(7, 4), (5, 7), (3, 5)]
    assert torso.features == 3
    parts = make_torso(PARTS, settings)
    assert isinstance(parts, PartsTorso)
    assert parts.vectors is not None
    assert isinstance(parts.vectors.layers[1], kind)
    assert parts.vectors.features == 3
    assert isinstance(make_torso(IMAGE, settings), ConvTorso)
