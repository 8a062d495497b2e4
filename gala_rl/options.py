"""Command-line options made from the config's fields, and back again."""

import argparse
import dataclasses
import difflib
from collections.abc import Callable, Collection
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from gala_rl import methods
from gala_rl.config import TrainConfig, parse_count
from gala_rl.errors import UserError
from gala_rl.settings import ALGORITHMS

_GROUPS = {"atari": "Atari protocol", "algorithm": "algorithm", "gossip": "gossip"}


class Parser(argparse.ArgumentParser):
    """Reports a mistake as one line that names the value and the remedy."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for a wrong value or a missing argument."""
        raise UserError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Called by argparse for each (sub)command; here for unknown options alone."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown and unknown[0].startswith("-"):
            option = unknown[0].partition("=")[0]
            close = difflib.get_close_matches(option, self._option_string_actions, n=1)
            guess = f"did you mean {close[0]}?" if close else f"see {self.prog} --help"
            raise UserError(f"option {option} is unknown: {guess}")
        return namespace, unknown


class Formatter(argparse.HelpFormatter):
    """Wide enough that an option and its help share a line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=36, width=100)


def add_command(commands: Any, name: str, text: str, call: Callable[..., int] | None) -> Any:
    """A command's parser, among those of `ArgumentParser.add_subparsers`.

    Args:
        commands: to add it to.
        name: of the command.
        text: what it does.
        call: does it, given the parsed options, and returns the exit code; None where a command of
            its own follows the name.
    """
    parser = commands.add_parser(
        name, help=text, description=text, formatter_class=Formatter, allow_abbrev=False
    )
    if call is not None:
        parser.set_defaults(command=call)
    return parser


def add_settings(
    parser: argparse.ArgumentParser, kind: Any, without: Collection[str] = ("method",)
) -> None:
    """An option for each field of a settings dataclass, grouped as the dataclasses are."""
    group = parser.add_argument_group("run")
    for entry in dataclasses.fields(kind):
        if entry.name in without:
            continue
        hint = get_type_hints(kind)[entry.name]
        if entry.name == "algorithm":
            text = "defaults are those for Atari games; others may apply elsewhere: docs/methods.md"
            _add_algorithms(parser.add_argument_group(_GROUPS[entry.name], text))
        elif dataclasses.is_dataclass(hint):
            inner = parser.add_argument_group(_GROUPS[entry.name])
            for setting in dataclasses.fields(hint):
                shown = _shown(setting.default)
                _add_setting(inner, setting, get_type_hints(hint)[setting.name], shown, entry.name)
        else:
            _add_setting(group, entry, hint, _shown(entry.default))


def _add_algorithms(group: Any) -> None:
    """An option for each setting of any algorithm, with the default of each that has it."""
    settings: dict[str, Any] = {}
    defaults: dict[str, dict[str, str]] = {}
    for algorithm, kind in ALGORITHMS.items():
        for entry in dataclasses.fields(kind):
            settings.setdefault(entry.name, (entry, get_type_hints(kind)[entry.name]))
            defaults.setdefault(entry.name, {})[algorithm] = _shown(entry.default)
    for name, (entry, hint) in settings.items():
        by_algorithm = defaults[name]
        if len(by_algorithm) == len(ALGORITHMS) and len(set(by_algorithm.values())) == 1:
            shown = next(iter(by_algorithm.values()))
        else:
            shown = ", ".join(f"{algorithm} {value}" for algorithm, value in by_algorithm.items())
        _add_setting(group, entry, hint, shown, "algorithm")


def _add_setting(group: Any, entry: Any, hint: Any, default: str, prefix: str = "") -> None:
    destination = f"{prefix}.{entry.name}" if prefix else entry.name
    text = entry.metadata["help"].replace("%", "%%")
    if default:
        text += f" (default: {default})"
    options: dict[str, Any] = {"help": text, "dest": destination, "default": argparse.SUPPRESS}
    flag = f"--{entry.name.replace('_', '-')}"
    if hint is bool:
        # A method may set what the algorithm leaves out by default.
        may_be_on = entry.default or prefix == "algorithm"
        action: Any = argparse.BooleanOptionalAction if may_be_on else "store_true"
        group.add_argument(flag, action=action, **options)
        return
    if get_origin(hint) is Literal:
        group.add_argument(flag, choices=get_args(hint), **options)
        return
    value_type = next(t for t in (get_args(hint) or (hint,)) if t is not type(None))
    options["type"] = {int: count, float: float, str: str}[value_type]
    options["metavar"] = entry.name.rpartition("_")[2].upper()
    group.add_argument(flag, **options)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def count(text: str) -> int:
    """`parse_count` with an error that argparse shows."""
    try:
        return parse_count(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number such as 4000000, 4e6 or 4M"
        ) from error


def counts(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [count(part) for part in text.split(",")]


def config_from(options: argparse.Namespace) -> TrainConfig:
    """The config that the given options make; what was not given keeps its default.

    Raises:
        UserError: when the method is unknown, or has no such setting.
    """
    values: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {name: {} for name in _GROUPS}
    known = {entry.name for entry in dataclasses.fields(TrainConfig)}
    for name, value in vars(options).items():
        group, dot, setting = name.partition(".")
        if dot:
            inner[group][setting] = value
        elif name in known:
            values[name] = value
    algorithm = inner.pop("algorithm")
    defaults = TrainConfig()
    for group, settings in inner.items():
        values[group] = dataclasses.replace(getattr(defaults, group), **settings)
    config = TrainConfig(**values)
    return methods.with_settings(config, algorithm) if algorithm else config


def given(options: argparse.Namespace) -> set[str]:
    """Names of the settings that are on the command line."""
    groups = {f"{group}." for group in _GROUPS}
    known = {entry.name for entry in dataclasses.fields(TrainConfig)}
    return {n for n in vars(options) if n in known or n[: n.find(".") + 1] in groups}
