"""The command `gala envs`: lists the environments available on this machine."""

import argparse
import json
from collections import Counter
from typing import Any

from gala_rl.cli.console import print_table, say
from gala_rl.cli.parser import add_command
from gala_rl.errors import UserError

_MOST_DESCRIBED = 12
"""Longer lists omit spaces, since reading them means building every environment."""


def add_envs(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "envs",
        "list the environments available on this machine",
        _envs,
        "gala envs",
        "gala envs cartpole",
        "gala envs minatar",
        "gala envs --all",
    )
    parser.usage = "gala envs [WORD | --all] [--json]"
    text = (
        f"part of the name; spaces are shown for up to {_MOST_DESCRIBED} environments "
        f"(default: only the number of names is shown)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("word", nargs="?", default="", metavar="WORD", help=text)
    which.add_argument("--all", action="store_true", help="list all names")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON instead of a table, without a WORD all names",
    )


def _envs(options: argparse.Namespace) -> int:
    from gala_rl.envs.catalogue import backend_name, description, environment_names, how_to_install

    names, packages = environment_names(options.word)
    left_out = f"left out, as they need {', '.join(map(how_to_install, packages))}"
    if not names:
        missing = f"; {left_out}" if packages else ""
        raise UserError(f"no environment on this machine has {options.word!r} in its name{missing}")
    rows = [{"env": name, "backend": backend_name(name)} for name in names]
    if len(rows) <= _MOST_DESCRIBED:
        rows = [row | description(row["env"])._asdict() for row in rows]
    if options.json:
        options.document = json.dumps(rows)
        return 0
    if options.word or options.all:
        _print_names(rows)
    else:
        _print_counts(rows)
    if packages:
        say(left_out)
    return 0


def _print_names(rows: list[dict[str, str]]) -> None:
    columns = [name.replace("_", " ") for name in rows[0]]
    print_table("environments", columns, [list(row.values()) for row in rows], 100)
    if len(rows) > _MOST_DESCRIBED:
        say(
            f"{len(rows):,} environments; a WORD that matches at most {_MOST_DESCRIBED} shows "
            f"their spaces too"
        )


def _print_counts(rows: list[dict[str, str]]) -> None:
    """Print how many environments each backend has, with an example."""
    counts = Counter(row["backend"] for row in rows)
    examples = {row["backend"]: row["env"] for row in reversed(rows)}
    cells = [[name, f"{count:,}", examples[name]] for name, count in counts.items()]
    print_table("environments", ["backend", "environments", "such as"], cells, 100)
    say("list names with a part of them, such as gala envs cartpole, or all with gala envs --all")
