"""Draws the AUC of each update rule of a study over learning rates, a panel per task."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gala_lab.compare.statistics import bootstrap_interval
from gala_lab.figures.style import draw_band, new_figure, style_of
from gala_lab.study.cell import Cell
from gala_lab.study.summary import Row, by_rate, by_rule, name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(rows: Sequence[Row]) -> "Figure":
    """Return mean AUCs over the learning rate, with bootstrap intervals of 95 %.

    Args:
        rows: rows of a study, at least one.
    """
    tasks = list(dict.fromkeys((row["cell"]["env"], row["cell"]["algorithm"]) for row in rows))
    figure, panels = new_figure(len(tasks), width=5.2, height=3.8)
    for panel, task in zip(panels, tasks, strict=True):
        _panel(panel, [r for r in rows if (r["cell"]["env"], r["cell"]["algorithm"]) == task])
    return figure


def _panel(axes: "Axes", rows: list[Row]) -> None:
    cell = rows[0]["cell"]
    total = cell["learners"] * cell["simulators"]
    axes.set_title(f"{cell['env']}, {cell['algorithm']}, {total} simulators", fontsize="medium")
    for number, rule in enumerate(by_rule(rows)):
        rates, lows, means, highs = _curve(rule)
        style = style_of(number)
        draw_band(
            *(axes, rates, {"low": lows, "middle": means, "high": highs}),
            *(style, _label(rule[0]["cell"])),
            marker=style.marker,
            linestyle="--" if rule[0]["cell"]["learners"] == 1 else "-",
        )
    axes.set_xscale("log", base=2)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(f"AUC, {cell['steps']:,} agent steps")
    axes.legend(fontsize="small")


def _curve(rule: list[Row]) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return learning rates, and the lower end, mean and upper end of the AUC at each."""
    default = Cell(**(rule[0]["cell"] | {"rate": 1.0})).config.initial_learning_rate
    points = []
    for rate, rows in by_rate(rule).items():
        aucs = np.array([[row["auc"]] for row in rows if row["auc"] is not None])
        if len(aucs):
            low, high = bootstrap_interval(np.mean, aucs)
            points.append((default * rate, low, float(aucs.mean()), high))
    rates, lows, means, highs = (list(column) for column in zip(*points, strict=True))
    return rates, lows, means, highs


def _label(cell: dict[str, int | str]) -> str:
    name = name_of(cell)
    return name if cell["learners"] == 1 else f"{cell['learners']} learners, {name}"
