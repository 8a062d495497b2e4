"""The curves of a comparison as a picture."""

import importlib.util
from pathlib import Path

from gala_lab.compare.report import Result
from gala_rl.errors import StorageError

MISSING = "curves.png needs matplotlib: pip install matplotlib, then call again"

# The colours of Okabe and Ito, which the colour-blind can tell apart; line styles differ too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")


def can_plot() -> bool:
    """Whether there is a matplotlib."""
    return importlib.util.find_spec("matplotlib") is not None


def plot(result: Result, file: Path) -> None:
    """Draw interquartile means with their intervals, by agent steps and by seconds.

    Raises:
        StorageError: when it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, curves) in zip(panels, result["curves"].items(), strict=True):
        for number, (method, curve) in enumerate(curves["methods"].items()):
            style = {
                "color": _COLOURS[number % len(_COLOURS)],
                "linestyle": _LINES[number % len(_LINES)],
            }
            low, middle, high = (
                [float("nan") if value is None else value for value in curve[key]]
                for key in ("low", "iqm", "high")
            )
            axes.plot(curves["grid"], middle, label=method, **style)
            axes.fill_between(curves["grid"], low, high, color=style["color"], alpha=0.2)
        axes.set_xlabel({"agent_steps": "agent steps", "seconds": "seconds of training"}[name])
        if result["threshold"] is not None:
            axes.axhline(result["threshold"], color="grey", linewidth=0.8)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("raw return, last 100 games")
    figure.suptitle(
        f"{result['env']}: interquartile mean of {len(result['seeds'])} seeds, 95 % interval",
        fontsize="medium",
    )
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        panels[0].legend(handles, labels, fontsize="small")
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise StorageError(f"{file} cannot be written ({error.strerror})") from error
