"""The command `gala theory`: tabulates how far apart learners can be, per topology."""

import argparse
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gala_rl.cli.console import print_table, say
from gala_rl.cli.options import add_json, add_settings, options_from
from gala_rl.cli.parser import add_command
from gala_rl.cli.plots import PLOT_HELP, check_plot, save_plot
from gala_rl.config.settings import setting

if TYPE_CHECKING:
    from gala_rl.theory.table import Row

_NOTE = (
    "worst case and typical: distance of learners from their mean (root mean square), in units of "
    "the size of their updates; typical: for independent updates. Halved after: rounds until at "
    "most half of a disagreement remains. β and 1 - β (spectral gap): docs/theory.md."
)


@dataclass(frozen=True, kw_only=True)
class TheoryOptions:
    """Options of `gala theory`."""

    topology: str | None = setting(
        None, "as in gala train", unset="all named topologies", metavar="NAME|FILE"
    )
    learners: tuple[int, ...] | None = setting(
        None, "numbers of learners", unset="2,4,8,16,64,256,1024,4096, or the number in the file"
    )
    learners_per_node: int | None = setting(
        None, "also show the hierarchical topology, with this many learners per node", metavar="G"
    )
    delay: int = setting(1, "age of messages in rounds")
    miss: float = setting(0.1, "probability that a learner misses a mix", metavar="P")
    plot: str | None = setting(None, PLOT_HELP, metavar="FILE")


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
    add_settings(parser, TheoryOptions)
    add_json(parser, "tables")


def _theory(given: argparse.Namespace) -> int:
    from gala_rl.theory import table

    options = options_from(given, TheoryOptions)
    if options.plot is not None:
        check_plot(options.plot)
    cases = table.cases(options.delay, options.miss)
    learners = None if options.learners is None else list(options.learners)
    rows = table.rows(options.topology, learners, cases, options.learners_per_node)
    if options.plot is not None:
        _draw(rows, options.plot)
    if given.json:
        content = {"about": table.ABOUT, "rows": [row.as_json() for row in rows]}
        given.document = json.dumps(content, indent=2, allow_nan=False)
        return 0
    for case in cases:
        print_table(
            str(case),
            ["topology", "learners", "β", "1 - β", "halved\nafter", "worst\ncase", "typical"],
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
        else f"{row.topology}, {row.learners_per_node} per node",
        f"{row.learners:,}",
        f"{ball.beta:.4f}",
        _figure(ball.spectral_gap),
        _figure(ball.half_life_rounds),
        _figure(ball.epsilon_factor),
        _figure(ball.typical_factor),
    ]


def _figure(value: float) -> str:
    """Format four digits, without a power of ten for large numbers."""
    if value == math.inf:
        return "no bound"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _draw(rows: list["Row"], file: str) -> None:
    """Draw worst and typical radius over the number of learners, a panel for each case."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    cases = list(dict.fromkeys(row.case for row in rows))
    names = list(dict.fromkeys(row.topology for row in rows))
    figure = Figure(figsize=(5 * len(cases), 4.5), layout="constrained")
    panels = figure.subplots(1, len(cases), sharex=True, sharey=True, squeeze=False)[0]
    for panel, case in zip(panels, cases, strict=True):
        panel.set(xscale="log", yscale="log", xlabel="learners")
        panel.set_title(str(case).replace(": ", ":\n"), fontsize=10)
        for number, name in enumerate(names):
            shown = [row for row in rows if (row.topology, row.case) == (name, case)]
            learners = [row.learners for row in shown]
            for style, factor in (("-", "epsilon_factor"), (":", "typical_factor")):
                # A logarithmic axis cannot show the 0 of exact agreement.
                radii = [getattr(row.ball, factor) or float("nan") for row in shown]
                panel.plot(learners, radii, style, color=f"C{number}", marker="o", markersize=3)
    panels[0].set_ylabel("distance from the mean / size of an update")
    lines = [Line2D([], [], color=f"C{number}", label=name) for number, name in enumerate(names)]
    lines.append(Line2D([], [], color="black", label="worst case"))
    lines.append(Line2D([], [], color="black", linestyle=":", label="independent updates"))
    panels[0].legend(handles=lines, fontsize=8)
    save_plot(figure, file)
