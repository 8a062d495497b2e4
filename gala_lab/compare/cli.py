"""The command line of `gala compare`: its options, its table, its files."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gala_lab.compare.compare_options import CompareOptions
from gala_rl.cli.chosen import add_config_file, chosen
from gala_rl.cli.console import print_table, say
from gala_rl.cli.options import add_json, add_settings, options_from
from gala_rl.cli.parser import add_command
from gala_rl.cli.train_options import add_own_methods, add_train_settings
from gala_rl.errors import UserError, counted

_MISSING_PLOT = "curves.png needs matplotlib: pip install matplotlib, then repeat the command"

_FEW_SEEDS = 5

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
        "gala compare a2c a2c:learning_rate=1e-3 --env Acrobot-v1 --out runs/rates",
    )
    parser.usage = "gala compare METHOD … --out DIR [options]"
    parser.add_argument(
        "methods",
        metavar="METHOD",
        nargs="+",
        help="methods to compare: see gala methods; or MODULE:METHOD, your own",
    )
    parser.prepare = partial(_add_own_methods, parser)
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


def _add_own_methods(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add the options of methods module:METHOD, also of those with settings of their own."""
    from gala_lab.compare.variants import method_of

    add_own_methods(parser, [method_of(argument) for argument in arguments])


def _compare(options: argparse.Namespace) -> int:
    plans = _plans_of(options)
    from rich.console import Console

    from gala_lab.compare.run_schedule import train_all

    console = Console(stderr=options.json)
    if (seeds := next(iter(plans.values())).options.seeds) < _FEW_SEEDS:
        warning = f"{counted(seeds, 'seed')} per method: too few for conclusions; use --seeds 5"
        console.print(f"{warning} or more", highlight=False)
    for plan in plans.values():
        if train_all(plan, console):
            console.print("stopped; continue with the same command", highlight=False)
            return 130
    return _report(plans, options)


def _plans_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the plan per environment, all of them checked."""
    from gala_lab.compare import comparison_plan
    from gala_lab.compare.variants import folder_name

    own, choice = options_from(options, CompareOptions), chosen(options, _NOT_OF_COMPARISONS)
    envs, folder = str(choice.config.env).split(","), Path(options.folder)
    if len(envs) > 1 and (folder / comparison_plan.FILE).exists():
        raise UserError(f"comparison {folder} has one environment: choose another --out")
    plans: dict[str, Any] = {}
    for env in envs:
        if env in plans:
            raise UserError(f"env {env} is named twice: name each once")
        configs = comparison_plan.configs_of(
            dataclasses.replace(choice.config, env=env),
            options.methods,
            simulators_total=own.simulators_total,
            settings=own.settings,
            algorithm=choice.settings,
        )
        if "log_every" not in choice.values:
            configs = tuple(map(comparison_plan.with_many_rows, configs))
        plans[env] = comparison_plan.Plan(
            folder=folder if len(envs) == 1 else folder / folder_name(env),
            configs=configs,
            options=own,
            names=tuple(options.methods),
        )
    for plan in plans.values():
        comparison_plan.check(plan)
    return plans


def _report(plans: dict[str, Any], options: argparse.Namespace) -> int:
    from gala_lab.compare import comparison_table, environments, report
    from gala_lab.figures.comparisons import draw_comparison
    from gala_rl.cli.plots import can_plot

    results, folder = {}, Path(options.folder)
    for env, plan in plans.items():
        results[env] = result = report.result_of(plan)
        result["notes"] = comparison_table.notes_of(result)
        table = comparison_table.table_of(result)
        _write(plan.folder, result, table)
        if can_plot():
            draw_comparison(result, plan.folder / "curves.png")
    if len(plans) > 1:
        result = environments.result_over(results)
        result["notes"] = environments.notes_over(result)
        table = environments.table_over(result)
        _write(folder, result, table)
    if options.json:
        options.document = json.dumps(result, indent=2, allow_nan=False)
    else:
        print_table(*table)
        for note in result["notes"]:
            say(note)
        say(f"all results are in {folder}" if can_plot() else _MISSING_PLOT)
    methods = (method for own in results.values() for method in own["methods"].values())
    return 0 if all(m["complete"] == len(m["runs"]) for m in methods) else 1


def _write(folder: Path, result: dict[str, Any], table: Any) -> None:
    from gala_lab.compare.comparison_table import document
    from gala_rl.records.files import write_json

    write_json(folder / "result.json", result)
    (folder / "table.md").write_text(document(table, result["notes"]), encoding="utf-8")
