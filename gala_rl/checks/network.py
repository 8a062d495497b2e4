"""Checks the settings of the network, and builds and tries one whose torso is the user's."""

from gala_rl.checks import Row, check_rows
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.imports import import_function
from gala_rl.spaces import SHALLOW_SIDE, ObservationSpec

_DEFAULT = TrainConfig()


def network_rows(config: ResolvedConfig) -> list[Row]:
    """Return checks of the network's settings, for the run's environment."""
    observation, env = config.environment.observation, config.env
    return [
        (
            config.network in ("small", "deep") and not observation.is_image,
            f"network {config.network!r} is for images, and env {env!r} has none: leave it out",
        ),
        (
            observation.is_image
            and config.network == "shallow"
            and min(observation.shape[1:]) < SHALLOW_SIDE,
            f"network 'shallow' is for images of at least {SHALLOW_SIDE} x {SHALLOW_SIDE} pixels, "
            f"and env {env!r} has smaller ones: use small",
        ),
        (not config.hidden, "hidden has no layers: give the units of one at least"),
        *_vector_rows(config, observation),
        *_sharing_rows(config),
    ]


def _vector_rows(config: ResolvedConfig, observation: ObservationSpec) -> list[Row]:
    """Return checks of the settings of layers for vectors, where there are none."""
    parts = observation.parts or (observation,)
    hidden = ",".join(map(str, config.hidden))
    given = []
    if config.hidden != _DEFAULT.hidden:
        given.append(f"hidden {hidden}")
    if config.activation != _DEFAULT.activation:
        given.append(f"activation {config.activation}")
    rows: list[Row] = []
    for setting in given:
        rows += [
            (
                config.has_own_network,
                f"{setting} has no effect on network {config.network!r}, which has layers of its "
                f"own: leave it out",
            ),
            (
                all(part.is_image for part in parts),
                f"{setting} is for vectors, and env {config.env!r} has images only: leave it out, "
                f"or give --network MODULE:FUNCTION",
            ),
        ]
    return rows


def _sharing_rows(config: ResolvedConfig) -> list[Row]:
    shared = config.shared_torso
    return [
        (
            shared is not None and config.algorithm.learns_action_values,
            f"shared_torso is of no use with {config.method}, whose network has one torso: leave "
            f"it out",
        ),
        (
            shared is False and config.lstm_size,
            f"no-shared-torso is impossible with an LSTM (lstm_size {config.lstm_size}), whose "
            f"state policy and value share: leave one of them out",
        ),
    ]


def check_own_network(config: ResolvedConfig) -> None:
    """Build a network whose torso is the user's, and try it; any other network passes.

    Raises:
        UserError: when learners cannot use it; the message says why.
    """
    if not config.has_own_network:
        return
    name = f"network {config.network!r}"
    import_function(config.network, name)
    # Imported only now: mistakes in the name are reported without PyTorch.
    import torch

    from gala_rl.agent import build_model

    environment = config.environment
    first, second = (build_model(config, environment.observation, environment.action) for _ in "ab")
    mine, others = list(first.parameters()), list(second.parameters())
    memory = [p.untyped_storage().data_ptr() for p in (*mine, *others) if p.numel()]
    same = len(mine) == len(others) and all(map(torch.equal, mine, others))
    check_rows(
        [
            (
                len(set(memory)) < len(memory),
                f"{name} returns the same parameters at each call: build a new module in each",
            ),
            (
                not same,
                f"{name} builds other initial parameters at each call: draw them from PyTorch's "
                f"generator alone, which learners seed",
            ),
        ]
    )
