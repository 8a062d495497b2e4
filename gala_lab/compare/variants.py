"""A method with settings of its own in a comparison, such as a2c:learning_rate=1e-3."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods import find
from gala_rl.records.config_file import setting_of

EQUAL_IN_ALL = frozenset(
    ("method", "env", "env_args", "wrappers", "steps", "seed", "out", "simulators")
)
"""Settings in which methods of a comparison do not differ."""

_VARIANT = re.compile(r"(.+?):(\w+=.*)")
_BETWEEN = re.compile(r",(?=\w+=)")


@dataclass(frozen=True)
class Variant:
    """A method, and the settings in which it differs from the other methods.

    Attributes:
        name: as the user gave it.
        method: name of the method.
        values: value per setting, by names such as "learners" or "gossip.topology".
        algorithm: value per setting of the algorithm.
    """

    name: str
    method: str
    values: Mapping[str, Any]
    algorithm: Mapping[str, Any]

    def applied_to(self, config: TrainConfig) -> TrainConfig:
        """Return a config with this method and its settings, except those of the algorithm."""
        changes: dict[str, Any] = {"method": self.method}
        for name, value in self.values.items():
            group, _, inner = name.rpartition(".")
            if group:
                before = changes.get(group, getattr(config, group))
                changes[group] = replace(before, **{inner: value})
            else:
                changes[name] = value
        return replace(config, **changes)


def method_of(name: str) -> str:
    """Return the method of a variant; other text as it is."""
    match = _VARIANT.fullmatch(name)
    return name if match is None else match[1]


def read_variant(name: str) -> Variant:
    """Return the variant METHOD or METHOD:SETTING=VALUE,….

    Raises:
        UserError: when the method or a setting is unknown, or a value is wrong.
    """
    method, text = method_of(name), name.removeprefix(method_of(name)).removeprefix(":")
    algorithm = type(find(method).settings("discrete"))
    values: dict[str, Any] = {}
    for part in _BETWEEN.split(text) if text else ():
        key, _, value_text = part.partition("=")
        if key in EQUAL_IN_ALL:
            raise UserError(
                f"method {name!r}: {key} is equal for all methods of a comparison: give it as an "
                f"option"
            )
        try:
            full, value = setting_of(key, value_text, algorithm)
        except UserError as error:
            raise UserError(f"method {name!r}: {error}") from error
        values[full] = value
    prefix = "algorithm."
    return Variant(
        name=name,
        method=method,
        values={n: v for n, v in values.items() if not n.startswith(prefix)},
        algorithm={n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)},
    )


def folder_name(name: str) -> str:
    """Return a variant's name as that of a folder."""
    return re.sub(r"[^\w.=,+-]", "_", name)
