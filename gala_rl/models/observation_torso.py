"""The torso for an observation, and the precision in which it is computed."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.imports import import_function
from gala_rl.models.own_torso import MakeModule, OwnTorso
from gala_rl.models.residual import ResidualTorso
from gala_rl.models.torsos import SHALLOW, SMALL, ConvTorso, MLPTorso, PartsTorso
from gala_rl.spaces import HIDDEN, Activation, NetworkKind, ObservationSpec

Torso = ConvTorso | ResidualTorso | PartsTorso | MLPTorso | OwnTorso
"""From observations [N, ...] to features [N, F]."""


@dataclass(frozen=True)
class TorsoSettings:
    """Settings from which torsos are built.

    Attributes:
        network: torso for images; None: by their size.
        own: a function that builds the torso of any observation; None: the package's torsos.
        hidden: units of each layer for vectors.
        activation: activation of these layers.
        is_shared: whether policy and value share a torso; None: they do, except on vectors.
    """

    network: NetworkKind | None = None
    own: MakeModule | None = None
    hidden: tuple[int, ...] = HIDDEN
    activation: Activation = "tanh"
    is_shared: bool | None = None


def torso_settings(config: ResolvedConfig) -> TorsoSettings:
    """Return the settings of a run's torsos.

    Raises:
        UserError: when the function that builds them cannot be imported.
    """
    kind, own = config.network, None
    if config.has_own_network:
        name = f"network {kind!r}"
        own = MakeModule(import_function(kind, name), name)
    return TorsoSettings(
        network=None if own is not None or kind == "auto" else cast(NetworkKind, kind),
        own=own,
        hidden=config.hidden,
        activation=config.activation,
        is_shared=config.shared_torso,
    )


def make_torso(observation: ObservationSpec, settings: TorsoSettings) -> Torso:
    """Return a torso for observations of this kind.

    Raises:
        UserError: when the user's function does not build a usable one.
    """
    if settings.own is not None:
        return OwnTorso(settings.own, observation)
    if observation.is_image:
        if settings.network == "deep":
            return ResidualTorso(observation.shape)
        convolutions = {"small": SMALL, "shallow": SHALLOW, None: None}[settings.network]
        return ConvTorso(observation.shape, convolutions=convolutions)
    if observation.has_pixels:
        return PartsTorso(observation.parts, hidden=settings.hidden, activation=settings.activation)
    return MLPTorso(observation.size, settings.hidden, settings.activation)


def torso_features(torso: nn.Module, observations: Tensor, *, bfloat16: bool) -> Tensor:
    """Return the features [N, F] of observations [N, ...], float32 in either precision."""
    if not bfloat16:
        return torso(observations)  # type: ignore[no-any-return]
    device = observations.device.type
    # No cache of cast weights: a CUDA graph would continue to use those that it recorded.
    with torch.autocast(device, torch.bfloat16, cache_enabled=False):
        features: Tensor = torso(observations)
    return features.float()
