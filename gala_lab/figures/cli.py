"""The command lines of `gala plot` and `gala report`."""

import argparse
from pathlib import Path
from typing import Any

from gala_rl.cli.console import say
from gala_rl.cli.parser import add_command
from gala_rl.cli.plots import check_plot, save_plot
from gala_rl.errors import UserError


def add_plot(commands: Any) -> None:
    """Add `plot` to the commands of `gala`."""
    parser = add_command(
        commands,
        "plot",
        "draw runs, comparisons, studies and benchmarks into a file",
        _plot,
        "gala plot runs/pong --out pong.svg",
        "gala plot runs/both --kind profile --out profile.pdf",
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="folders of runs, of a comparison or a study; JSON files of gala bench",
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="a .png, .pdf or .svg file to write"
    )
    parser.add_argument(
        "--kind",
        choices=("curves", "scores", "profile"),
        default="curves",
        help="of runs: learning curves; interquartile means of final scores; share of runs above "
        "each score (default: curves)",
    )


def add_report(commands: Any) -> None:
    """Add `report` to the commands of `gala`."""
    parser = add_command(
        commands,
        "report",
        "write figures, scores and settings of runs into one HTML file",
        _report,
        "gala report runs/pong --out pong.html",
    )
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", help="folders of runs or of a comparison"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="a .html file to write")


def _report(options: argparse.Namespace) -> int:
    check_plot(options.out, (".html",))
    from gala_lab.figures.report import report_of
    from gala_lab.figures.sources import read_sources
    from gala_rl.records.files import replace_text

    sources = read_sources(options.paths)
    if sources.study or sources.benchmarks:
        raise UserError("a report is about runs: draw studies and benchmarks with gala plot")
    replace_text(Path(options.out), report_of(sources.runs))
    say(f"written: {options.out}")
    return 0


def _plot(options: argparse.Namespace) -> int:
    check_plot(options.out)
    from gala_lab.figures.draw import draw
    from gala_lab.figures.sources import read_sources

    save_plot(draw(read_sources(options.paths), options.kind), options.out)
    say(f"drawn: {options.out}")
    return 0
