"""Settings of a run by their names, such as "seed", "gossip.when" or "algorithm.discount"."""

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gala_rl.config.train import TrainConfig


def to_values(config: TrainConfig) -> dict[str, Any]:
    """Return the value of each setting by its name, such as "seed" or "gossip.when"."""
    values: dict[str, Any] = {}
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if dataclasses.is_dataclass(value):
            inner = (own.name for own in dataclasses.fields(value))
            values |= {f"{entry.name}.{name}": getattr(value, name) for name in inner}
        elif not entry.metadata.get("is_read") and entry.name != "algorithm":
            values[entry.name] = value
    return values


def from_values(values: Mapping[str, Any]) -> tuple[TrainConfig, dict[str, Any]]:
    """Return the config with given settings, and the given settings of its algorithm apart.

    Args:
        values: value per setting, by names such as "seed", "gossip.when" or "algorithm.discount".
    """
    given: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {"algorithm": {}}
    for name, value in values.items():
        group, dot, setting_name = name.partition(".")
        if dot:
            groups.setdefault(group, {})[setting_name] = value
        else:
            given[name] = value
    algorithm, defaults = groups.pop("algorithm"), TrainConfig()
    for group, settings in groups.items():
        given[group] = replace(getattr(defaults, group), **settings)
    return TrainConfig(**given), algorithm
