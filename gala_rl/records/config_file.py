"""Reads settings from a file: TOML by hand, or the `config.json` of a run.

A file names settings as `config.json` does, in the tables `algorithm`, `gossip` and `atari`, or
without a table, as options of the command line are.
"""

import dataclasses
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_origin, get_type_hints

from gala_rl.config import train as configs
from gala_rl.config.fields import check_field, element_of, parse_count
from gala_rl.config.settings import AlgorithmSettings
from gala_rl.config.train import TrainConfig
from gala_rl.config.values import from_values, to_values
from gala_rl.errors import UserError
from gala_rl.methods import ALGORITHMS, algorithms_of
from gala_rl.methods.resolving import with_settings
from gala_rl.records.files import read_json
from gala_rl.records.run_folder import RunFolder
from gala_rl.suggestions import closest

_OF_ONE_RUN = "out"
"""A setting of a run that no other run can have."""


@dataclasses.dataclass(frozen=True)
class ConfigFile:
    """Settings that a file gives.

    Attributes:
        path: the file.
        values: value per setting, by names such as "seed", "gossip.when", "algorithm.discount".
        algorithm: all settings of the algorithm, if the file is that of a run.
    """

    path: Path
    values: Mapping[str, Any]
    algorithm: AlgorithmSettings | None = None


class _Setting(NamedTuple):
    """A setting's name in `ConfigFile.values`, its dataclass field and its type."""

    name: str
    entry: dataclasses.Field[Any]
    hint: Any


def read_config(path: str | Path) -> TrainConfig:
    """Return the config in a file, for `train`; settings that it does not give have defaults.

    Args:
        path: a TOML file, the `config.json` of a run, or the folder of a run. The config of a run
            comes without its `out`.

    Raises:
        UserError: naming the file, the line of a TOML file, and the setting that is wrong.
    """
    file = read_config_file(path)
    config, given = from_values(file.values)
    config = dataclasses.replace(config, algorithm=file.algorithm)
    return with_settings(config, given) if given else config


def read_config_file(path: str | Path) -> ConfigFile:
    """Return the settings that a file gives; see `read_config`."""
    path = Path(path)
    if path.is_dir() or path.suffix == ".json":
        return _read_run(path)
    return ConfigFile(path, _read_toml(path))


def setting_of(name: str, text: str, algorithm: type[AlgorithmSettings]) -> tuple[str, Any]:
    """Return the full name of a setting, such as "gossip.when", and its value.

    Args:
        name: its name without a table.
        text: its value as a command line has it: a count such as 4M, JSON, or text.
        algorithm: settings of the algorithm in question, which count more than those of others.

    Raises:
        UserError: when there is no such setting, or the value is wrong.
    """
    setting = _setting_of((name,), _settings({"": algorithm, **ALGORITHMS}))
    kinds = getattr(setting.hint, "__args__", (setting.hint,))
    parse = parse_count if int in kinds and float not in kinds else json.loads
    value: Any
    if element_of(setting.hint) is None:
        value = _parsed(text, parse)
    else:
        value = [_parsed(part, json.loads) for part in text.split(",")]
    value = _converted(value, setting)
    check_field(name, value, setting.hint, setting.entry.metadata)
    return setting.name, value


def _parsed(text: str, parse: Callable[[str], Any]) -> Any:
    """Return a parsed value, or the text itself if it cannot be parsed."""
    try:
        return parse(text)
    except (ValueError, RecursionError):
        return text


def _read_run(path: Path) -> ConfigFile:
    """Return the settings of a run, given its folder or a copy of its `config.json`."""
    folder = RunFolder(path if path.is_dir() else path.parent)
    is_of_run = path.is_dir() or path == folder.config_file
    try:
        config = folder.read_config() if is_of_run else _config_of(read_json(path))
    except UserError as error:
        file = folder.config_file if path.is_dir() else path
        raise UserError(str(error) if str(path) in str(error) else f"{file}: {error}") from error
    values = {
        name: value
        for name, value in to_values(config).items()
        if name != _OF_ONE_RUN and not name.startswith("algorithm.")
    }
    return ConfigFile(path, values, config.algorithm)


def _config_of(content: Mapping[str, Any]) -> TrainConfig:
    if "config" not in content:
        raise UserError("it is not the config.json of a run, which has a key 'config'")
    return configs.from_dict(content["config"], algorithms_of(content["config"]))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise UserError(f"config file {path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"config file {path} is not TOML: {error}") from error
    known = _settings(algorithms_of(content))
    values: dict[str, Any] = {}
    for keys, value in _pairs(content):
        try:
            setting = _setting_of(keys, known)
            if setting.name in values:
                raise UserError(f"{keys[-1]} is there twice: in a table, and without one")
            values[setting.name] = _converted(value, setting)
            check_field(keys[-1], values[setting.name], setting.hint, setting.entry.metadata)
        except UserError as error:
            raise UserError(f"{path}, line {_line_of(text, keys)}: {error}") from error
    return values


def _settings(algorithms: Mapping[str, type[AlgorithmSettings]]) -> dict[str, _Setting]:
    """Return every setting by its name without a table."""
    tables: list[tuple[str, Any]] = [("", TrainConfig)]
    tables += [("algorithm.", kind) for kind in algorithms.values()]
    known: dict[str, _Setting] = {}
    for table, kind in tables:
        hints = get_type_hints(kind)
        for entry in dataclasses.fields(kind):
            hint = hints[entry.name]
            if dataclasses.is_dataclass(hint):
                tables.append((f"{entry.name}.", hint))
            elif entry.name != "algorithm":
                known.setdefault(entry.name, _Setting(f"{table}{entry.name}", entry, hint))
    return known


def _pairs(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the keys of each setting and its value, from tables too."""
    for key, value in content.items():
        if key in ("algorithm", "gossip", "atari") and isinstance(value, dict):
            yield from (((key, inner), own) for inner, own in value.items())
        else:
            yield (key,), value


def _setting_of(keys: tuple[str, ...], known: Mapping[str, _Setting]) -> _Setting:
    """Return the setting that a key names, perhaps in a table."""
    *table, key = keys
    inside = "".join(f"{name}." for name in table)
    choices = [name for name, own in known.items() if own.name.startswith(inside)]
    if key in choices:
        return known[key]
    where = f" in [{table[0]}]" if table else ""
    if key in known:
        home = known[key].name.rpartition(".")[0]
        raise UserError(
            f"{key} is no setting{where}: it is in [{home}], or above all tables"
            if home
            else f"{key} is no setting{where}: it is above all tables"
        )
    guess = closest(key, choices)
    remedy = f"did you mean {guess}?" if guess else "gala train --help lists the settings"
    raise UserError(f"setting {key}{where} is unknown: {remedy}")


def _converted(value: Any, setting: _Setting) -> Any:
    """Return a value of TOML as settings have it: lists are tuples, and 4e6 may be a count."""
    if isinstance(value, list) and element_of(setting.hint) is not None:
        return tuple(value)
    kinds = getattr(setting.hint, "__args__", (setting.hint,))
    if isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds:
        return int(value)
    if isinstance(value, dict) and get_origin(setting.hint) is not Mapping:
        raise UserError(f"{setting.entry.name} is a table, but must be one value")
    return value


def _line_of(text: str, keys: tuple[str, ...]) -> int:
    """Return the line where a key of a TOML file is set: the first of the shortest part with it."""
    lines, whole = text.splitlines(), 0
    for end in range(1, len(lines) + 1):
        try:
            found: Any = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # A value goes on in the next line.
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if found is not None:
            break
        whole = end
    return whole + 1
