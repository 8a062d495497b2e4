"""The settings that a command line gives, together with those of its `--config` file."""

import argparse
from dataclasses import dataclass, replace
from typing import Any

from gala_rl.cli.options import given
from gala_rl.config.train import TrainConfig
from gala_rl.config.values import from_values
from gala_rl.errors import UserError
from gala_rl.methods import find


@dataclass(frozen=True)
class Chosen:
    """Settings of a command line over those of its file.

    Attributes:
        config: config with these settings, except those of the algorithm; but all of the
            algorithm's if the file is that of a run.
        settings: settings of the algorithm, by name.
        values: value per setting, by names such as "seed" or "algorithm.discount".
    """

    config: TrainConfig
    settings: dict[str, Any]
    values: dict[str, Any]


def add_config_file(parser: argparse.ArgumentParser) -> None:
    """Add the option that reads settings from a file."""
    parser.add_argument(
        "--config",
        dest="config_file",
        metavar="FILE",
        help="TOML file of settings, or the folder or config.json of a run: docs/settings.md; "
        "options given here count more",
    )


def chosen(options: argparse.Namespace, without: frozenset[str] = frozenset()) -> Chosen:
    """Return the settings that a command line gives.

    Args:
        options: options of a command with `add_settings` and `add_config_file`.
        without: names of settings that the command does not have.

    Raises:
        UserError: when the file is wrong, or contradicts the method.
    """
    values = given(options)
    if options.config_file is None:
        config, settings = from_values(values)
        return Chosen(config, settings, values)
    from gala_rl.records.config_file import read_config_file

    file = read_config_file(options.config_file)
    for name in sorted(without & set(file.values)):
        raise UserError(
            f"{file.path} gives {name}, which this command does not take: give a TOML file "
            f"without it"
        )
    values = {**file.values, **values}
    config, settings = from_values(values)
    if file.algorithm is None:
        return Chosen(config, settings, values)
    if not isinstance(file.algorithm, type(find(config.method).settings("discrete"))):
        raise UserError(
            f"method {config.method} has no use for the settings of {file.algorithm.name} in "
            f"{file.path}: leave METHOD out, or give a TOML file"
        )
    return Chosen(replace(config, algorithm=file.algorithm), settings, values)
