"""Pictures of the figures' data: the same colours and markers for a method everywhere."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.summary import bootstrap
from benchmarks.figures.tables import label

# Blue and vermillion of Okabe and Ito, which the colour-blind can tell apart; shapes differ too.
STYLES: dict[str, dict[str, Any]] = {
    "a2c": {"color": "#0072B2", "marker": "o", "linestyle": "--"},
    "gala-a2c": {"color": "#D55E00", "marker": "s", "linestyle": "-"},
}
_BESIDE = {"a2c": 0.97, "gala-a2c": 1.03}
"""Points at the same number of simulators stand next to each other."""

_Triple = tuple[float, float, float]


def _panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.6 * count, 3.4), layout="constrained")
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    figure.suptitle(title, fontsize="medium")
    for axes in panels:
        axes.grid(alpha=0.3)
    return figure, panels


def _by_simulators(axes: Axes, groups: Sequence[dict[str, Any]]) -> None:
    sizes = sorted({group["simulators"] for group in groups})
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.8 * sizes[0], 1.25 * sizes[-1])  # even where no point is
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("simulators in all")
    axes.legend(fontsize="small")


def _points(axes: Axes, groups: Sequence[dict[str, Any]], triples: Sequence[_Triple]) -> None:
    """Low, middle and high of each group against its simulators."""
    for method, style in STYLES.items():
        own = [
            (group["simulators"] * _BESIDE[method], *triple)
            for group, triple in zip(groups, triples, strict=True)
            if group["method"] == method
        ]
        x, low, middle, high = np.array(own, dtype=float).reshape(-1, 4).T
        errors = [middle - low, high - middle]
        axes.errorbar(x, middle, yerr=errors, label=method, capsize=3, **style)


def _quartiles(group: dict[str, Any], name: str, scale: float) -> _Triple:
    """No point where less than half of the runs arrived, no upper bar where less than 3/4 did."""
    low, middle, high = group[f"{name}_quartiles"]
    if middle is None:
        return (np.nan, np.nan, np.nan)
    return low * scale, middle * scale, scale * (middle if high is None else high)


def convergence(result: dict[str, Any]) -> Figure:
    """Share of converging runs, and agent steps that they needed, against simulators."""
    figure, (shares, steps) = _panels(2, _task(result))
    groups = result["groups"]
    _points(shares, groups, [(g["interval"][0], g["share"], g["interval"][1]) for g in groups])
    shares.set_ylim(-0.03, 1.03)
    shares.set_ylabel("share of converging runs")
    _points(steps, groups, [_quartiles(g, "reached_agent_steps", 1e-3) for g in groups])
    steps.set_ylabel("thousand agent steps to the score")
    steps.set_ylim(0, result["steps"] / 1e3)
    for axes in (shares, steps):
        _by_simulators(axes, groups)
    return figure


def time_to_score(result: dict[str, Any]) -> Figure:
    """Agent steps and seconds to the score, against simulators."""
    figure, (steps, seconds) = _panels(2, _task(result))
    groups = result["groups"]
    _points(steps, groups, [_quartiles(g, "reached_agent_steps", 1e-3) for g in groups])
    steps.set_ylabel("thousand agent steps to the score")
    _points(seconds, groups, [_quartiles(g, "reached_s", 1.0) for g in groups])
    seconds.set_ylabel("seconds to the score")
    for axes in (steps, seconds):
        axes.set_ylim(bottom=0)
        _by_simulators(axes, groups)
    return figure


def _task(result: dict[str, Any]) -> str:
    rule = {
        "sqrt": "√ simulators",
        "linear": "learners x √ simulators of one",
        "constant": "1",
    }[result["learning_rate_rule"]]
    return (
        f"{result['env']}: mean return {result['threshold']:g} of the last 100 games within "
        f"{result['steps']:,} agent steps, learning rate ∝ {rule}"
    )


def agreement(result: dict[str, Any]) -> Figure:
    """Mean cosine of gradients over training, with its interval over seeds."""
    title = f"{result['env']}, {result['simulators']} simulators, groups of {result['group']}"
    figure, (axes,) = _panels(1, title)
    steps = np.array(result["agent_steps"]) / 1e3
    for name, rows in result["cosines"].items():
        method = name.partition(",")[0]
        style = STYLES[method] | ({"color": "#009E73"} if name == "gala-a2c, within" else {})
        cosines = np.array(rows)
        low, high = np.array([bootstrap(column.tolist()) for column in cosines.T]).T
        axes.fill_between(steps, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(steps, cosines.mean(axis=0), label=label(name), markersize=3, **style)
    axes.set_xlabel("thousand agent steps, all learners")
    axes.set_ylabel("mean cosine of two gradients")
    axes.legend(fontsize="small")
    return figure


CONSENSUS = {
    "consensus_rms_nominal_bound": ("the theorem's bound, all mixing in step", "#000000", ":"),
    "consensus_span_bound": ("bound of the span, from the mixes that happened", "#CC79A7", "-."),
    "consensus_span": ("span, measured", "#D55E00", "-"),
    "consensus_rms_independent": ("root mean square if updates were independent", "#009E73", "--"),
    "consensus_rms": ("root mean square, measured", "#0072B2", "-"),
}
"""Curves, from the loosest bound downwards: label, colour, line."""


def consensus(rows: Sequence[dict[str, Any]], title: str) -> Figure:
    """Distance between learners over training, between its prediction and its bounds."""
    figure, (axes,) = _panels(1, title)
    figure.set_size_inches(7.0, 4.2)
    for name, (text, color, line) in CONSENSUS.items():
        known = [row for row in rows if row.get(name) is not None]
        steps = [row["total_agent_steps"] / 1e6 for row in known]
        axes.plot(steps, [row[name] for row in known], line, color=color, label=text)
    axes.set_yscale("log")
    axes.set_xlabel("million agent steps, all learners")
    axes.set_ylabel("distance between parameters")
    axes.legend(fontsize="x-small")
    return figure
