"""The command line of `gala compare`: its options, its table, its files."""

import argparse
import json
from pathlib import Path
from typing import Any

from gala_rl.cli.console import print_table, say
from gala_rl.cli.options import (
    add_max_steps,
    add_settings,
    algorithm_settings,
    config_from,
    count,
    given,
)
from gala_rl.cli.parser import add_command
from gala_rl.config.run import TrainConfig


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
        "methods", metavar="METHOD", nargs="+", help="what to compare: see gala methods"
    )
    parser.add_argument(
        "--out",
        dest="folder",
        required=True,
        metavar="DIR",
        help="folder of the comparison; the same command goes on there, perhaps with more seeds or "
        "methods, and prints the table when all is done",
    )
    parser.add_argument(
        "--seeds", type=count, default=3, metavar="K", help="runs per method (default: 3)"
    )
    parser.add_argument(
        "--first-seed",
        type=count,
        default=0,
        metavar="SEED",
        help="seed of each method's first run (default: 0)",
    )
    _add_protocol(parser)
    of_runs_elsewhere = ("cluster", "message_precision")
    without = ("method", "seed", "out", "simulators", *of_runs_elsewhere)
    add_settings(parser, TrainConfig, without=without)


def _add_protocol(parser: Any) -> None:
    """Add the options that say how methods are compared."""
    parser.add_argument(
        "--simulators-total",
        type=count,
        metavar="N",
        help="simulators of all learners of a method (default: 16, or the next number that the "
        "learners of each method divide)",
    )
    parser.add_argument(
        "--settings",
        choices=("published", "equal"),
        default="published",
        help="each method's own values, or the first method's for all that have the setting; "
        "options given here hold for all either way (default: published)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="report which runs reach this mean return, and when",
    )
    parser.add_argument(
        "--episodes",
        type=count,
        default=0,
        metavar="N",
        help="also play N full games greedily after each run (default: 0)",
    )
    add_max_steps(parser)
    parser.add_argument(
        "--at-once",
        type=count,
        default=1,
        metavar="M",
        help="runs side by side, which share the cores: seconds and rates are not comparable then "
        "(default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _compare(options: argparse.Namespace) -> int:
    plan = _plan_of(options)
    from rich.console import Console

    from gala_lab.compare.run import train_all

    console = Console(stderr=options.json)
    outcome = train_all(plan, console)
    if outcome.interrupted:
        console.print("stopped; go on with the same command", highlight=False)
        return 130
    return _report(plan, options)


def _plan_of(options: argparse.Namespace) -> Any:
    """The plan, checked."""
    from gala_lab.compare import plan as plans

    configs = plans.configs_of(
        config_from(options),
        options.methods,
        simulators_total=options.simulators_total,
        settings=options.settings,
        algorithm=algorithm_settings(options),
    )
    if "log_every" not in given(options):
        configs = tuple(map(plans.with_many_rows, configs))
    plan = plans.Plan(
        folder=Path(options.folder),
        configs=configs,
        seeds=range(options.first_seed, options.first_seed + options.seeds),
        settings=options.settings,
        threshold=options.threshold,
        episodes=options.episodes,
        max_steps=options.max_steps,
        at_once=options.at_once,
    )
    plans.check(plan)
    return plan


def _report(plan: Any, options: argparse.Namespace) -> int:
    from gala_lab.compare import plot, report, table
    from gala_rl.records.files import write_json

    result = report.result_of(plan)
    result["notes"] = table.notes_of(result)
    write_json(plan.folder / "result.json", result)
    (plan.folder / "table.md").write_text(table.markdown(result), encoding="utf-8")
    if plot.can_plot():
        plot.plot(result, plan.folder / "curves.png")
    if options.json:
        options.document = json.dumps(result, indent=2, allow_nan=False)
    else:
        print_table(*table.table_of(result))
        for note in result["notes"]:
            say(note)
        say(f"all of it is in {plan.folder}" if plot.can_plot() else plot.MISSING)
    return 0 if all(m["complete"] == len(m["runs"]) for m in result["methods"].values()) else 1
