"""The command `gala envs`: lists the environments available on this machine."""

import argparse
import json
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
        "gala envs cartpole",
        "gala envs minatar",
        "gala envs",
    )
    parser.usage = "gala envs [WORD] [--json]"
    text = f"part of the name; spaces are shown for up to {_MOST_DESCRIBED} environments"
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _envs(options: argparse.Namespace) -> int:
    from gala_rl.envs.catalogue import backend_name, description, environment_names

    names, missing = environment_names(options.word), _missing()
    if not names:
        raise UserError(f"no environment on this machine has {options.word!r} in its name{missing}")
    rows = [{"env": name, "backend": backend_name(name)} for name in names]
    if is_described := len(names) <= _MOST_DESCRIBED:
        rows = [row | description(row["env"])._asdict() for row in rows]
    if options.json:
        options.document = json.dumps(rows)
        return 0
    columns = [name.replace("_", " ") for name in rows[0]]
    print_table("environments", columns, [list(row.values()) for row in rows], 100)
    if not is_described:
        say(
            f"{len(names)} environments; a WORD that matches at most {_MOST_DESCRIBED} shows their "
            f"spaces too{missing}"
        )
    return 0


def _missing() -> str:
    """Return the end of a message: which backends are not installed; empty if all are."""
    from gala_rl.envs.catalogue import missing_packages

    words = [
        f"{name} (pip install 'gala-rl[{extra}]')" for name, extra in missing_packages().items()
    ]
    return f"; not installed: {', '.join(words)}" if words else ""
