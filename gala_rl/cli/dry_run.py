"""Prints what `gala train --dry-run` would run."""

import argparse
import json
from typing import Any

from gala_rl.cli.console import print_table
from gala_rl.errors import UserError, counted

_WIDTH = 100


def add_dry_run(parser: Any) -> None:
    """Add the options that show a run instead of training it."""
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything and show the run; start nothing"
    )
    parser.add_argument("--json", action="store_true", help="with --dry-run: print JSON")


def check_dry_run(options: argparse.Namespace) -> None:
    """Raise a UserError if `--dry-run` or `--json` is given where it has no meaning."""
    if options.json and not options.dry_run:
        raise UserError("--json is for --dry-run: a run writes its results to its folder")
    if options.dry_run and options.resume:
        raise UserError("--dry-run shows a new run: leave --resume out")


def show_dry_run(options: argparse.Namespace, config: Any) -> int:
    """Print the run of a config that has been checked; return the exit code."""
    from gala_rl.app.dry_run import dry_run

    shown = dry_run(config)
    if options.json:
        options.document = json.dumps(shown, indent=2)
        return 0
    title = "dry run: all checks passed, nothing is started or written"
    print_table(title, ["", ""], [list(row) for row in _rows(shown)], _WIDTH)
    return 0


def _rows(shown: dict[str, Any]) -> list[tuple[str, str]]:
    algorithm, threads = shown["config"]["algorithm"], shown["threads"]
    rule, base = algorithm["learning_rate_rule"], algorithm["learning_rate"]
    schedule = algorithm["learning_rate_schedule"]
    changes = [
        f"{_named(c['name'])} {c['value']} (default {c['default']})" for c in shown["changed"]
    ]
    memory = f"{_mib(shown['least_memory_bytes'])} or more"
    if shown["replay_bytes"]:
        memory += f", {_mib(shown['replay_bytes'])} of them for replays"
    return [
        ("method", f"{shown['method']}: {shown['title']}"),
        ("environment", f"{shown['env']}: observation {shown['observation']}, {_actions(shown)}"),
        (
            "agent steps",
            f"{shown['steps']:,}: {shown['updates']:,} updates of "
            f"{shown['update_agent_steps']:,} per learner",
        ),
        (
            "learners",
            f"{counted(shown['learners'], 'learner')} x "
            f"{counted(shown['simulators'], 'simulator')}, on {shown['device']}",
        ),
        (
            "learning rate",
            f"{shown['initial_learning_rate']:.3g} ({base:g} by the rule {rule}), then "
            f"{'constant' if schedule == 'constant' else 'linearly to 0'}",
        ),
        ("parameters", f"{shown['parameters']:,}"),
        ("memory", f"{memory}; {_mib(shown['shared_memory_bytes'])} of shared memory"),
        (
            "threads per learner",
            f"{threads['acting']} to act, {threads['learning']} to learn, "
            f"{threads['simulators']} at most for simulators",
        ),
        ("folder", shown["folder"]),
        *([("preset", _listed(shown["preset"]))] if shown["preset"] else []),
        ("other settings", "\n".join(changes) or "defaults"),
    ]


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{_named(name)} {value}" for name, value in values.items())


def _named(name: str) -> str:
    """Return a setting's name without its table."""
    return name.rpartition(".")[2]


def _actions(shown: dict[str, Any]) -> str:
    if shown["kind"] == "continuous":
        return counted(shown["actions"], "continuous action")
    return f"discrete actions {shown['actions']}"


def _mib(size: int) -> str:
    return f"{-(-size // 2**20):,} MiB"
