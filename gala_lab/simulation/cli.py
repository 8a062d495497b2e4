"""The command line of `gala simulate`: its options, its table, its JSON."""

import argparse
import json
from typing import Any

from gala_lab.simulation.simulation_config import SCHEMES, SimulationConfig
from gala_rl.cli.console import print_table, say
from gala_rl.cli.options import Headings, add_json, add_settings, options_from
from gala_rl.cli.parser import add_command
from gala_rl.cli.plots import PLOT_HELP, check_plot

_HEADINGS: Headings = {
    "run": ("learners", "updates", "duration_s", "seed"),
    "gossip": ("topology", "learners_per_node", "when"),
    "local-sgd": ("average_every",),
    "updates": (
        "compute_s",
        "compute_variation",
        "compute_distribution",
        "stragglers",
        "slowdown",
        "cores",
    ),
    "network": ("latency_s", "bandwidth_bytes_per_s", "parameters"),
    "failures and late joiners": ("failure_every_s", "restart_s", "joiners", "join_at_s"),
    "problem": ("problem", "dimension", "learning_rate", "noise"),
}


def add_simulate(commands: Any) -> None:
    """Add `simulate` to the commands of `gala`."""
    parser = add_command(
        commands,
        "simulate",
        "predict how a cluster of learners would perform, before you rent it",
        _simulate,
        "gala simulate --learners 64 --compute-s 0.5",
        "gala simulate gossip all-reduce --learners 32 --stragglers 4 --plot curves.png",
    )
    parser.usage = "gala simulate [SCHEME …] [options]"
    parser.add_argument(
        "schemes", metavar="SCHEME", nargs="*", help=f"{', '.join(SCHEMES)} (default: all of them)"
    )
    add_settings(parser, SimulationConfig, headings=_HEADINGS)
    add_json(parser)
    parser.add_argument("--plot", metavar="FILE", help=PLOT_HELP)


def _simulate(given: argparse.Namespace) -> int:
    from gala_lab.figures.comparisons import draw_simulations
    from gala_lab.simulation.simulate import simulate
    from gala_lab.simulation.simulation_checks import check

    config = options_from(given, SimulationConfig)
    schemes = list(dict.fromkeys(given.schemes)) or list(SCHEMES)
    for scheme in schemes:
        check(scheme, config)
    if given.plot is not None:
        check_plot(given.plot)
    results = [simulate(scheme, config) for scheme in schemes]
    if given.plot is not None:
        draw_simulations(results, given.plot)
    if given.json:
        given.document = json.dumps({"simulations": results}, indent=2, allow_nan=False)
    else:
        _print(results, config)
    return 0


def _print(results: list[dict[str, Any]], config: SimulationConfig) -> None:
    columns = [_column(result) for result in results]
    rows = [[label, *(column[label] for column in columns)] for label in columns[0]]
    size = f"{config.message_bytes:,} bytes per message"
    title = f"{config.learners:,} learners, {config.problem}, {size}"
    print_table(title, ["", *(result["scheme"] for result in results)], rows)
    for result in results:
        if result["consensus"]["is_growing"]:
            say(f"{result['scheme']}: the distance still grows; simulate longer to see it settle")


def _column(result: dict[str, Any]) -> dict[str, str]:
    """Return the cells of one scheme, by the label of the row."""
    rates, consensus, loss = result["updates_per_s"], result["consensus"], result["loss"]
    age, link = result["staleness_updates"], result["link_bytes_per_s"]
    return {
        "updates per second, all learners": _shown(rates["total"]),
        "  slowest, median, fastest learner": _listed(
            rates["slowest"], rates["median"], rates["fastest"]
        ),
        "updates that mixed": f"{100 * result['mixed_share']:.1f} %",
        "staleness in updates: mean, 95 %, largest": (
            "–" if age is None else _listed(age["mean"], age["p95"], age["max"])
        ),
        "consensus distance: root mean square, span": _listed(consensus["rms"], consensus["span"]),
        "loss: first, last, seconds until halved": _listed(
            loss["first"], loss["last"], loss["halved_after_s"]
        ),
        "MB per second from a port: mean, busiest": _listed(
            link["mean"] / 1e6, link["busiest"] / 1e6
        ),
        "failures, learners present at the end": (
            f"{result['failures']:,}, {result['present_at_end']:,}"
        ),
        "simulated seconds, updates": f"{result['elapsed_s']:,.1f}, {result['updates']:,}",
    }


def _listed(*values: float | None) -> str:
    return ", ".join(map(_shown, values))


def _shown(value: float | None) -> str:
    """Three digits; a dash for what does not exist."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
