"""The options of a run: every setting of `TrainConfig`, under what a person decides."""

import argparse
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import get_type_hints

from gala_rl import methods
from gala_rl.cli.chosen import add_config_file
from gala_rl.cli.dry_run import add_dry_run
from gala_rl.cli.options import add_setting, shown
from gala_rl.cli.parser import Formatter, Parser, example_lines
from gala_rl.config.settings import AlgorithmSettings, AtariProtocol, GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.methods.method import Method
from gala_rl.spaces import EnvKind

HEADINGS: Mapping[str, Collection[str]] = {
    "what to train": (
        "env",
        "env_args",
        "wrappers",
        "stagger",
        "preset",
        "seed",
        "init_from",
        "init_checkpoint",
        "init_optimizer",
    ),
    "how long, and what is stored": (
        "steps",
        "stop_at",
        "patience",
        "evaluate_every",
        "evaluate_episodes",
        "out",
        "log",
        "log_every",
        "checkpoint_every",
        "checkpoints_kept",
    ),
    "how many learners and simulators": (
        "learners",
        "max_learners",
        "simulators",
        "simulator_processes",
        "simulator_groups",
        "simulator_threads",
        "network_threads",
        "device",
        "serial",
    ),
    "network": (
        "network",
        "hidden",
        "activation",
        "shared_torso",
        "lstm_size",
        "precision",
    ),
    "algorithm": ("algorithm",),
    "gossip": ("gossip",),
    "Atari games": ("atari",),
    "faults and clusters": (
        "max_restarts",
        "hang_after",
        "simulator_deadline",
        "fault_plan",
        "cluster",
        "learners_per_node",
        "message_precision",
    ),
}
"""Names of settings, by their heading in the help."""

_KINDS: Mapping[EnvKind, str] = {
    "atari": "Atari",
    "discrete": "other discrete actions",
    "continuous": "continuous",
}

_OPTIMIZER = (
    "learning_rate",
    "learning_rate_rule",
    "learning_rate_schedule",
    "bias_correction",
    "optimizer",
    "rmsprop_decay",
    "rmsprop_epsilon",
    "adam_epsilon",
    "max_grad_norm",
)


def add_train_arguments(parser: Parser, method: Method | None = None) -> None:
    """Add METHOD and all options of `gala train`, or those that a method has."""
    parser.usage = f"{parser.prog} [options]" if method else "gala train METHOD [options]"
    if method is None:
        names = ", ".join(known.name for known in methods.METHODS)
        parser.add_argument(
            "method",
            metavar="METHOD",
            nargs="?",
            default=argparse.SUPPRESS,
            help=f"{names}: see gala methods; or MODULE:METHOD, your own: docs/own-method.md",
        )
        parser.prepare = partial(add_own_methods, parser)
        parser.help_for = lambda given: _help_of(getattr(given, "method", None), parser)
    add_config_file(parser)
    add_dry_run(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out if there is one, else start it",
    )
    parser.add_argument(
        "--dashboard",
        action="store_true",
        help="show the run on a live page in the browser, as gala dashboard does, while it trains",
    )
    add_train_settings(parser, method=method)


def add_own_methods(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add the options of the methods module:METHOD that are among a command's arguments.

    They replace options of the same names, whose types may differ.

    Raises:
        UserError: when such a method cannot be used.
    """
    is_value = False
    for argument in arguments:
        if not is_value and not argument.startswith("-") and methods.is_own(argument):
            # Groups inherit it.
            parser.conflict_handler = "resolve"
            _add_algorithm(parser, methods.find(argument))
        action = parser._option_string_actions.get(argument)
        is_value = action is not None and action.nargs is None


def _help_of(name: str | None, parser: Parser) -> str:
    """Return the help of `gala train`, or of `gala train METHOD`."""
    if name is None:
        return parser.format_help()
    method = methods.find(name)
    own = Parser(
        prog=f"gala train {name}",
        description=f"{method.title[0].upper()}{method.title[1:]}. {method.paper}.",
        epilog=example_lines(f"gala train {name} --env CartPole-v1 --steps 500k"),
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    add_train_arguments(own, method)
    return own.format_help()


def add_train_settings(
    parser: argparse.ArgumentParser,
    without: Collection[str] = ("method",),
    method: Method | None = None,
) -> None:
    """Add an option for each setting of a run.

    Args:
        parser: parser to add the options to.
        without: names of settings without an option.
        method: method whose settings alone are added, with its defaults; None: those of all.
    """
    hints, entries = get_type_hints(TrainConfig), TrainConfig.__dataclass_fields__
    for heading, names in HEADINGS.items():
        if "gossip" in names and method is not None and not method.gossips:
            continue
        if "algorithm" in names:
            if method is None:
                _add_algorithms(parser)
            else:
                _add_algorithm(parser, method)
            continue
        group = parser.add_argument_group(heading)
        for name in names:
            nested = {"gossip": GossipSettings, "atari": AtariProtocol}.get(name)
            if nested is not None:
                for entry in dataclasses.fields(nested):
                    add_setting(group, entry, get_type_hints(nested)[entry.name], prefix=name)
            elif name not in without:
                add_setting(group, entries[name], hints[name])


def _add_algorithm(parser: argparse.ArgumentParser, method: Method) -> None:
    """Add an option for each setting of a method's algorithm, with its values per environment."""
    presets = {kind: method.settings(kind) for kind in _KINDS}
    settings = type(presets["atari"])
    own = parser.add_argument_group(f"algorithm: {settings.name}")
    optimizer = parser.add_argument_group("optimizer")
    for entry in dataclasses.fields(settings):
        values = {kind: shown(entry, getattr(presets[kind], entry.name)) for kind in _KINDS}
        default = ", ".join(f"{_KINDS[kind]} {value}" for kind, value in values.items())
        if len(set(values.values())) == 1:
            default = values["atari"]
        group = optimizer if entry.name in _OPTIMIZER else own
        add_setting(group, entry, get_type_hints(settings)[entry.name], default, "algorithm")


def _add_algorithms(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting of any algorithm, with each algorithm's default.

    Options are grouped by which algorithms have them.
    """
    text = (
        "defaults are for Atari games; gala train METHOD --help shows those of a method everywhere"
    )
    presets = {m.settings("atari").name: m.settings("atari") for m in methods.METHODS}
    everywhere = parser.add_argument_group("algorithm", text)
    optimizer = parser.add_argument_group("optimizer", text)
    for owners, names in _by_owners(presets):
        is_everywhere = len(owners) == len(presets)
        group = everywhere if is_everywhere else parser.add_argument_group(_only(owners))
        for name in names:
            entries = {owner: type(presets[owner]).__dataclass_fields__[name] for owner in owners}
            defaults = {owner: shown(entry, entry.default) for owner, entry in entries.items()}
            default = ", ".join(f"{owner} {value}" for owner, value in defaults.items())
            if len(set(defaults.values())) == 1:
                default = defaults[owners[0]]
            hint = get_type_hints(type(presets[owners[0]]))[name]
            chosen = optimizer if name in _OPTIMIZER else group
            add_setting(chosen, entries[owners[0]], hint, default, "algorithm")


def _by_owners(
    presets: Mapping[str, AlgorithmSettings],
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield names of algorithms and those settings that exactly they have, most common first."""
    owners: dict[str, list[str]] = {}
    for name, preset in presets.items():
        for entry in dataclasses.fields(preset):
            owners.setdefault(entry.name, []).append(name)
    by_owners: dict[tuple[str, ...], list[str]] = {}
    for setting, names in owners.items():
        by_owners.setdefault(tuple(names), []).append(setting)
    yield from sorted(by_owners.items(), key=lambda item: len(item[0]), reverse=True)


def _only(names: tuple[str, ...]) -> str:
    """Return the heading of the settings that only some algorithms have."""
    if len(names) > 1:
        return f"{', '.join(names)} only"
    able = ", ".join(m.name for m in methods.METHODS if m.settings("atari").name == names[0])
    return f"{names[0]} only ({able})"
