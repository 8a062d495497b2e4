"""Settings of a run as one flat table of plain values, for dashboards."""

from collections.abc import Mapping
from typing import Any


def flat_settings(config: Mapping[str, Any], prefix: str = "") -> dict[str, str | float | bool]:
    """Return settings by name, such as `algorithm.learning_rate`; unset ones are left out.

    Args:
        config: settings as in `config.json`.
        prefix: prefix of the names.
    """
    flat: dict[str, str | float | bool] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            flat[prefix + name] = ",".join(map(str, value))
        elif value is not None:
            flat[prefix + name] = value
    return flat
