"""The command line of `gala compare`: its options, its table, its files."""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from gala_lab.compare.compare_options import CompareOptions
from gala_rl.cli.chosen import add_config_file, chosen
from gala_rl.cli.console import print_table, say
from gala_rl.cli.options import add_json, add_settings, options_from
from gala_rl.cli.parser import add_command
from gala_rl.cli.train_options import add_own_methods, add_train_settings

_MISSING_PLOT = "curves.png needs matplotlib: pip install matplotlib, then repeat the command"

_NOT_OF_COMPARISONS = frozenset(
    (
        *("method", "seed", "out", "simulators", "cluster", "message_precision"),
        *("stop_at", "patience"),
    )
)
"""Settings that a comparison sets itself, that are for several machines, or change the budget."""


def add_compare(commands: Any) -> None:
    """Add `compare` to the commands of `gala`."""
    parser = add_command(
        commands,
        "compare",
        "train methods with several seeds at equal budgets, and compare them with intervals",
        _compare,
        "gala compare a2c ppo --env CartPole-v1 --steps 100k --seeds 5 --out runs/both",
    )
    parser.usage = "gala compare METHOD … --out DIR [options]"
    parser.add_argument(
        "methods",
        metavar="METHOD",
        nargs="+",
        help="methods to compare: see gala methods; or MODULE:METHOD, your own",
    )
    parser.prepare = partial(add_own_methods, parser)
    parser.add_argument(
        "--out",
        dest="folder",
        required=True,
        metavar="DIR",
        help="folder of the comparison; the same command continues it, also with more seeds or "
        "methods, and prints the table when all runs are done",
    )
    add_settings(parser, CompareOptions)
    add_json(parser)
    add_config_file(parser)
    add_train_settings(parser, without=_NOT_OF_COMPARISONS)


def _compare(options: argparse.Namespace) -> int:
    plan = _plan_of(options)
    from rich.console import Console

    from gala_lab.compare.run_schedule import train_all

    console = Console(stderr=options.json)
    if train_all(plan, console):
        console.print("stopped; continue with the same command", highlight=False)
        return 130
    return _report(plan, options)


def _plan_of(options: argparse.Namespace) -> Any:
    """Return the plan, checked."""
    from gala_lab.compare import comparison_plan

    own, choice = options_from(options, CompareOptions), chosen(options, _NOT_OF_COMPARISONS)
    configs = comparison_plan.configs_of(
        choice.config,
        options.methods,
        simulators_total=own.simulators_total,
        settings=own.settings,
        algorithm=choice.settings,
    )
    if "log_every" not in choice.values:
        configs = tuple(map(comparison_plan.with_many_rows, configs))
    plan = comparison_plan.Plan(folder=Path(options.folder), configs=configs, options=own)
    comparison_plan.check(plan)
    return plan


def _report(plan: Any, options: argparse.Namespace) -> int:
    from gala_lab.compare import comparison_table, report
    from gala_lab.figures.comparisons import draw_comparison
    from gala_rl.cli.plots import can_plot
    from gala_rl.records.files import write_json

    result = report.result_of(plan)
    result["notes"] = comparison_table.notes_of(result)
    write_json(plan.folder / "result.json", result)
    table = comparison_table.markdown(result)
    (plan.folder / "table.md").write_text(table, encoding="utf-8")
    if can_plot():
        draw_comparison(result, plan.folder / "curves.png")
    if options.json:
        options.document = json.dumps(result, indent=2, allow_nan=False)
    else:
        print_table(*comparison_table.table_of(result))
        for note in result["notes"]:
            say(note)
        say(f"all results are in {plan.folder}" if can_plot() else _MISSING_PLOT)
    return 0 if all(m["complete"] == len(m["runs"]) for m in result["methods"].values()) else 1
