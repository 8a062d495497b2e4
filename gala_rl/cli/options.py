"""Generates command-line options from settings dataclasses, and reads settings from options."""

import argparse
import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from gala_rl.cli.parser import ELSEWHERE
from gala_rl.config.environment import parse_argument
from gala_rl.config.fields import check, element_of, parse_count
from gala_rl.config.train import TrainConfig

_TABLES = ("algorithm.", "atari.", "gossip.")
"""What stands before the names of settings that are not the run's own."""

Headings = Mapping[str, Collection[str]]
"""Names of settings, by their heading in the help."""

MAX_STEPS = "agent steps after which an evaluation game is cut; it counts with its score so far"
"""Help text of the option that limits evaluation games."""

_Settings = TypeVar("_Settings")


def add_settings(
    parser: argparse.ArgumentParser,
    kind: Any,
    without: Collection[str] = (),
    headings: Headings = MappingProxyType({}),
) -> None:
    """Add an option for each field of a settings dataclass, under headings.

    Args:
        parser: parser to add the options to.
        kind: dataclass whose fields come from `setting`.
        without: names of fields without an option.
        headings: heading per field; fields in none come before all headings.
    """
    by_name = {name: heading for heading, names in headings.items() for name in names}
    groups = {heading: parser.add_argument_group(heading) for heading in headings}
    hints = get_type_hints(kind)
    for entry in dataclasses.fields(kind):
        if entry.name not in without:
            group = groups.get(by_name.get(entry.name, ""), parser)
            add_setting(group, entry, hints[entry.name])


def options_from(given: argparse.Namespace, kind: Callable[..., _Settings]) -> _Settings:
    """Return a command's options as a dataclass, with defaults for those that were not given.

    Raises:
        UserError: when a value is out of its bounds.
    """
    names = {entry.name for entry in dataclasses.fields(cast(Any, kind))}
    options = kind(**{name: value for name, value in vars(given).items() if name in names})
    check(options)
    return options


def add_json(parser: argparse.ArgumentParser, instead_of: str = "a table") -> None:
    """Add the option that prints a JSON document."""
    parser.add_argument("--json", action="store_true", help=f"print JSON instead of {instead_of}")


def add_setting(
    group: Any,
    entry: Any,
    hint: Any,
    default: str | None = None,
    prefix: str = "",
    *,
    may_be_none: bool = False,
) -> None:
    """Add the option of a setting.

    Args:
        group: parser or group to add it to.
        entry: field of a dataclass, from `setting`.
        hint: type of the field.
        default: text that describes the default; None: that of the field's own.
        prefix: part of the config that has the setting, such as "gossip".
        may_be_none: whether the option takes None, where that is a value, as the word `none`.
    """
    destination = f"{prefix}.{entry.name}" if prefix else entry.name
    flag = entry.metadata["flag"] or f"--{entry.name.replace('_', '-')}"
    default = shown(entry, entry.default) if default is None else default
    text = entry.metadata["help"]
    if flag in ELSEWHERE:
        text += f"; elsewhere {ELSEWHERE[flag]}"
    # Off switches are needed even for defaults of False: a method may set them to True.
    is_bool = bool in (hint, *get_args(hint))
    may_be_off = is_bool and (hint is not bool or entry.default or prefix == "algorithm")
    if default and (not is_bool or may_be_off):
        text += f" (default: {default})"
    options: dict[str, Any] = {
        "help": text.replace("%", "%%"),
        "dest": destination,
        "default": argparse.SUPPRESS,
    }
    if is_bool:
        action: Any = argparse.BooleanOptionalAction if may_be_off else "store_true"
        group.add_argument(flag, action=action, **options)
        return
    element = element_of(hint)
    if Literal in (get_origin(hint), get_origin(element)):
        options["action"] = "store" if element is None else _Again
        group.add_argument(flag, choices=get_args(element or hint), **options)
        return
    if entry.metadata["flag"]:
        options["type"] = argument if get_origin(hint) is Mapping else str
        options["metavar"] = entry.metadata["metavar"]
        group.add_argument(flag, action=_Again, **options)
        return
    value_type = element or next(
        kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)
    )
    parse: Any = {int: count, float: number, str: str}[value_type]
    metavar = entry.metadata["metavar"] or {int: "N", float: "X", str: "NAME"}[value_type]
    options["type"] = parse if element is None else partial(_several, parse)
    options["metavar"] = metavar if element is None else f"{metavar},…"
    if may_be_none and type(None) in get_args(hint):
        options["type"] = partial(_or_none, options["type"])
        options["metavar"] += "|none"
    group.add_argument(flag, **options)


class _Again(argparse.Action):
    """Collect the values of an option that may be given several times: in a tuple or a dict."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add a value: a key and its value to the dict, or anything else to the tuple."""
        before = getattr(namespace, self.dest, None)
        if isinstance(values, tuple):
            both: Any = {**(before or {}), values[0]: values[1]}
        else:
            both = (*(before or ()), values)
        setattr(namespace, self.dest, both)


def _several(parse: Callable[[str], Any], text: str) -> tuple[Any, ...]:
    """Parse values that are separated by commas."""
    return tuple(parse(part) for part in text.split(","))


def _or_none(parse: Callable[[str], Any], text: str) -> Any:
    """Parse a value; the word `none` is None."""
    return None if text == "none" else parse(text)


def shown(entry: Any, value: Any) -> str:
    """Return a setting's default value as help shows it."""
    if value is dataclasses.MISSING:
        return ""
    if value is None:
        return str(entry.metadata["unset"])
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ",".join(re.sub("000000$", "M", str(part)) for part in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def add_max_steps(parser: argparse.ArgumentParser) -> None:
    """Add the option `--max-steps`, which limits evaluation games."""
    text = f"{MAX_STEPS} (default: 27,000; on Atari as --max-episode-frames)"
    parser.add_argument("--max-steps", type=count, metavar="N", help=text)


def add_checkpoint(parser: Any, what: str) -> None:
    """Add the option `--checkpoint`, which selects the checkpoint described by `what`."""
    parser.add_argument(
        "--checkpoint",
        default="newest",
        metavar="best|newest|STEP",
        help=f"checkpoint {what}; best: with the highest mean return; STEP: its agent steps "
        f"(default: newest)",
    )


def count(text: str) -> int:
    """Parse a count as `parse_count` does, with an error that argparse shows."""
    try:
        return parse_count(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number such as 4000000, 4e6 or 4M"
        ) from error


def number(text: str) -> float:
    """Parse a number, with an error that argparse shows."""
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number such as 0.5, 20 or 1e-3"
        ) from error


def argument(text: str) -> tuple[str, Any]:
    """Parse KEY=VALUE as `parse_argument` does, with an error that argparse shows."""
    try:
        return parse_argument(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, such as max_episode_steps=1000") from error


def given(options: argparse.Namespace) -> dict[str, Any]:
    """Return values of the given settings by name, such as "seed" or "gossip.when"."""
    known = {entry.name for entry in dataclasses.fields(TrainConfig)}
    return {
        name: value
        for name, value in vars(options).items()
        if name in known or name.startswith(_TABLES)
    }
