"""Settings that may change when a run is resumed; imports no torch."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from gala_rl.config.fields import check
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError

_OF_THE_RUN = (
    *("steps", "stop_at", "patience", "evaluate_every", "evaluate_episodes"),
    *("log_every", "checkpoint_every", "checkpoints_kept"),
    *("max_restarts", "hang_after"),
    *("network_threads", "simulator_threads", "simulator_deadline"),
)
_OF_THE_ALGORITHM = (
    *("learning_rate", "learning_rate_rule", "learning_rate_schedule", "max_grad_norm"),
    *("value_cost", "entropy_cost"),
    *("epochs", "gae_lambda", "clip_range", "anneal_clip_range", "value_clip_range", "target_kl"),
    *("clip_rho", "clip_c", "save_replay"),
)
CHANGEABLE = frozenset(
    (
        *_OF_THE_RUN,
        *("gossip.max_staleness", "gossip.deadline"),
        *(f"algorithm.{name}" for name in _OF_THE_ALGORITHM),
    )
)
"""Names of the settings that may change when a run is resumed."""

_ENVIRONMENT = ("env", "env_args", "wrappers", "stagger", "preset")
_NETWORK = ("network", "hidden", "activation", "shared_torso", "lstm_size", "precision")


def changed(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """Return the config of a run with other values of some settings, checked.

    Args:
        config: config of the run, with its algorithm.
        changes: new values by name; settings of a group may be named without it.

    Raises:
        UserError: when one may not change, does not exist, or has a wrong value.
    """
    run: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for given, value in changes.items():
        name = full_name(given)
        if name not in CHANGEABLE:
            raise UserError(f"{given} cannot change when a run is resumed: {why_fixed(name)}")
        group, dot, setting = name.rpartition(".")
        if not dot:
            run[setting] = value
        elif hasattr(getattr(config, group), setting):
            groups.setdefault(group, {})[setting] = value
        else:
            raise UserError(f"{setting} is not a setting of the run's method, {config.method}")
    for group, values in groups.items():
        run[group] = dataclasses.replace(getattr(config, group), **values)
    config = dataclasses.replace(config, **run)
    check(config)
    return config


def full_name(name: str) -> str:
    """Return the name of a setting with its group, such as "algorithm.learning_rate"."""
    return next((full for full in CHANGEABLE if full.rpartition(".")[2] == name), name)


def why_fixed(name: str) -> str:
    """Return why a setting cannot change when a run is resumed, and what to do instead."""
    group, _, setting = name.rpartition(".")
    if setting in ("learners", "max_learners"):
        return "gala scale changes the number of learners while a run trains"
    if setting.startswith("init_"):
        return "it is where the run has started"
    if setting == "out":
        return "a run stays in its folder"
    if group == "atari" or setting in _ENVIRONMENT:
        return "its scores are those of one environment; start a new run with it"
    if setting in _NETWORK:
        return "its checkpoints are of one network; start a new run with it"
    return "it is fixed when a run starts; start a new run with it"


def differences(before: TrainConfig, after: TrainConfig) -> dict[str, list[Any]]:
    """Return the settings that have been changed: [old value, new value] by name."""
    pairs = {name: [_value_of(before, name), _value_of(after, name)] for name in CHANGEABLE}
    return {name: pair for name, pair in sorted(pairs.items()) if pair[0] != pair[1]}


def _value_of(config: TrainConfig, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part, None)  # An algorithm lacks settings of others.
    return value
