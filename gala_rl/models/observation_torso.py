"""The torso for an observation, and the precision in which it is computed."""

import torch
from torch import Tensor, nn

from gala_rl.models.residual import ResidualTorso
from gala_rl.models.torsos import SHALLOW, SMALL, ConvTorso, MLPTorso, PartsTorso
from gala_rl.spaces import NetworkKind, ObservationSpec

Torso = ConvTorso | ResidualTorso | PartsTorso | MLPTorso
"""From observations [N, ...] to features [N, F]."""


def make_torso(observation: ObservationSpec, network: NetworkKind | None) -> Torso:
    """Return the torso for observations of this kind; images choose by `network`."""
    if observation.is_image:
        if network == "deep":
            return ResidualTorso(observation.shape)
        convolutions = {"small": SMALL, "shallow": SHALLOW, None: None}[network]
        return ConvTorso(observation.shape, convolutions=convolutions)
    if observation.has_pixels:
        return PartsTorso(observation.parts)
    return MLPTorso(observation.size)


def torso_features(torso: nn.Module, observations: Tensor, *, bfloat16: bool) -> Tensor:
    """Return the features [N, F] of observations [N, ...], float32 in either precision."""
    if not bfloat16:
        return torso(observations)  # type: ignore[no-any-return]
    device = observations.device.type
    # No cache of cast weights: a CUDA graph would continue to use those that it recorded.
    with torch.autocast(device, torch.bfloat16, cache_enabled=False):
        features: Tensor = torso(observations)
    return features.float()
