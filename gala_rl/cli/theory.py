"""The command line of `gala theory`: how far apart learners can be, on which topology."""

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from gala_rl.cli.console import print_table, say
from gala_rl.cli.options import count, counts
from gala_rl.cli.parser import add_command

if TYPE_CHECKING:
    from gala_rl.theory.table import Row

_NOTE = (
    "worst case and typical: distance of learners from their mean (root mean square), in units of "
    "the size of their updates; typical: for independent updates. Halved after: rounds that leave "
    "at most half of a disagreement. See docs/theory.md."
)


def add_theory(commands: Any) -> None:
    """Add `theory` to the commands of `gala`."""
    parser = add_command(
        commands,
        "theory",
        "show how fast learners agree and how far apart they can be, on each topology",
        _theory,
        "gala theory --learners 8",
        "gala theory --topology exponential --learners 4,16,64 --plot theory.png",
    )
    parser.add_argument(
        "--topology", metavar="NAME|FILE", help="as in train (default: all that have a name)"
    )
    parser.add_argument(
        "--learners",
        type=counts,
        metavar="N,…",
        help="numbers of learners (default: 2,4,8,16,64,256,1024,4096, or as the file has)",
    )
    parser.add_argument(
        "--learners-per-node",
        type=count,
        metavar="G",
        help="show the hierarchical topology too, with so many learners per node",
    )
    parser.add_argument(
        "--delay", type=count, default=1, metavar="N", help="age of messages in rounds (default: 1)"
    )
    parser.add_argument(
        "--miss",
        type=float,
        default=0.1,
        metavar="P",
        help="probability that a learner misses a mix (default: 0.1)",
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the figures into a .png or .svg file")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _theory(options: argparse.Namespace) -> int:
    from gala_rl.theory import plot, table

    if options.plot is not None:
        plot.check_plot(options.plot)
    cases = table.cases(options.delay, options.miss)
    rows = table.rows(options.topology, options.learners, cases, options.learners_per_node)
    if options.plot is not None:
        plot.draw(rows, options.plot)
    if options.json:
        content = {"about": table.ABOUT, "rows": [row.as_json() for row in rows]}
        options.document = json.dumps(content, indent=2, allow_nan=False)
        return 0
    for case in cases:
        print_table(
            str(case),
            ["topology", "learners", "β", "1 - β", "halved after", "worst case", "typical"],
            [_cells(row) for row in rows if row.case == case],
        )
    say(_NOTE)
    if options.plot is not None:
        say(f"drawn: {options.plot}")
    return 0


def _cells(row: "Row") -> list[str]:
    ball = row.ball
    return [
        row.topology
        if row.learners_per_node is None
        else f"{row.topology}, {row.learners_per_node} a node",
        f"{row.learners:,}",
        f"{ball.beta:.4f}",
        _figure(ball.spectral_gap),
        _figure(ball.half_life_rounds),
        _figure(ball.epsilon_factor),
        _figure(ball.typical_factor),
    ]


def _figure(value: float) -> str:
    """Four digits, with no power of ten where a number is large."""
    if value == math.inf:
        return "no bound"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
