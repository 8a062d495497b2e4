"""The deep torso is the paper's: 15 convolutions, halved three times, residual."""

import pytest
import torch
from torch import nn

from gala_rl.models.actor_critic import ActorCritic
from gala_rl.models.observation_torso import TorsoSettings
from gala_rl.models.residual import ResidualTorso
from gala_rl.spaces import ActionSpec, ObservationSpec

ATARI = (4, 84, 84)


def images(count: int, shape: tuple[int, ...] = ATARI) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)


def by_hand(torso: ResidualTorso, x: torch.Tensor) -> torch.Tensor:
    """The network once more, from its layers in their order, with functions alone."""
    layers = iter([m for m in torso.modules() if isinstance(m, nn.Conv2d)])

    def convolve(x: torch.Tensor) -> torch.Tensor:
        layer = next(layers)
        return nn.functional.conv2d(x, layer.weight, layer.bias, padding=1)

    x = x.float() / 255
    for _section in range(3):
        x = nn.functional.max_pool2d(convolve(x), 3, 2, 1)
        for _block in range(2):
            x = x + convolve(convolve(x.relu()).relu())
    assert next(layers, None) is None
    # Rows of pixels, each with all its channels: the order in which they lie in memory.
    features = x.relu().permute(0, 2, 3, 1).flatten(1)
    return torso.linear(features).relu()  # type: ignore[no-any-return]


def test_it_has_15_convolutions_of_the_papers_widths() -> None:
    torso = ResidualTorso(ATARI)
    convolutions = [m for m in torso.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [16] * 5 + [32] * 10
    assert {c.kernel_size for c in convolutions} == {(3, 3)}
    assert torso.linear.in_features == 32 * 11 * 11
    # The paper gives 1.6 million for its deep network, an LSTM of 256 units (0.5) included.
    assert 1.0e6 < sum(p.numel() for p in torso.parameters()) < 1.15e6


@pytest.mark.parametrize("shape", [ATARI, (3, 40, 52)])
def test_it_computes_what_the_figure_shows(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    torso = ResidualTorso(shape)
    x = images(3, shape)
    torch.testing.assert_close(torso(x), by_hand(torso, x), rtol=1e-4, atol=1e-5)


def test_features_are_of_a_size_to_learn_from_and_every_layer_learns() -> None:
    torch.manual_seed(0)
    torso = ResidualTorso(ATARI)
    features = torso(images(8))
    assert 0.05 < float(features.detach().std()) < 5.0
    features.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in torso.parameters())


def test_an_actor_critic_acts_and_learns_with_it_and_keeps_no_activations() -> None:
    model = ActorCritic(
        ObservationSpec(ATARI, True), ActionSpec(6, True), torso=TorsoSettings("deep")
    )
    x = images(2)
    assert model.allocate_activations(5, x) is None
    choice = model.act_and_evaluate(x, torch.Generator().manual_seed(0))
    evaluation = model.evaluate(x, choice.actions)
    torch.testing.assert_close(evaluation.log_probs.detach(), choice.log_probs)
    torch.testing.assert_close(evaluation.values.detach(), choice.values)
