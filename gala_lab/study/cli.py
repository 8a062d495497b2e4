"""The command line of `gala study`: its options, its tables, its files."""

import argparse
import json
from pathlib import Path
from typing import Any

from gala_lab.study.options import StudyOptions
from gala_rl.cli.console import print_table, say
from gala_rl.cli.options import Headings, add_json, add_settings, options_from
from gala_rl.cli.parser import add_command
from gala_rl.cli.plots import check_plot, save_plot

_HEADINGS: Headings = {
    "what is trained": ("envs", "algorithm", "simulators_total", "steps", "seeds", "threshold"),
    "axes of the study": ("learners", "rates", "optimizers", "second_moments", "bias_corrections"),
    "gossip": ("topologies", "delays", "missed", "warm_ups"),
}


def add_study(commands: Any) -> None:
    """Add `study` to the commands of `gala`."""
    parser = add_command(
        commands,
        "study",
        "compare gossip with one large batch, over learning rates and seeds",
        _study,
        "gala study --out runs/rates --learners 1,16 --rates 0.5,1,2,4,8 --seeds 20",
    )
    parser.usage = "gala study --out DIR [options]"
    parser.add_argument(
        "--out",
        dest="folder",
        required=True,
        metavar="DIR",
        help="folder of the study; repeat the command to continue it; other values add cells",
    )
    add_settings(parser, StudyOptions, headings=_HEADINGS)
    add_json(parser)


def _study(given: argparse.Namespace) -> int:
    from rich.console import Console

    from gala_lab.study import plan, schedule
    from gala_rl.config import fields
    from gala_rl.records.run_folder import RunFolder

    options, folder = options_from(given, StudyOptions), Path(given.folder)
    fields.check(options)
    if options.plot is not None:
        check_plot(options.plot)
    cells = plan.cells_of(options)
    plan.prepare(folder)
    console = Console(stderr=given.json)
    with RunFolder(folder).lock():
        batches = plan.batches_of(cells, options.seeds, plan.read_rows(folder))
        if batches and schedule.train_all(folder, batches, options.at_once, console):
            console.print("stopped; continue with the same command", highlight=False)
            return 130
    _report(folder, options, given)
    return 0


def _report(folder: Path, options: StudyOptions, given: argparse.Namespace) -> None:
    from gala_lab.study.plan import read_rows
    from gala_lab.study.table import tables_of

    rows = read_rows(folder)
    if options.plot is not None:
        from gala_lab.study.figure import draw

        save_plot(draw(rows), options.plot)
    if given.json:
        given.document = json.dumps({"rows": rows}, allow_nan=False)
        return
    for table in tables_of(rows, options.threshold):
        print_table(*table)
    say(f"all rows are in {folder}")
    if options.plot is not None:
        say(f"drawn: {options.plot}")
