"""The curves of comparisons and simulations as figures."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gala_rl.cli.plots import save_plot
from gala_rl.errors import StorageError

# The colours of Okabe and Ito, which the colour-blind can tell apart; line styles differ too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")


def draw_comparison(result: dict[str, Any], file: Path) -> None:
    """Draw interquartile means with their intervals, by agent steps and by seconds.

    Raises:
        StorageError: when the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, curves) in zip(panels, result["curves"].items(), strict=True):
        for number, (method, curve) in enumerate(curves["methods"].items()):
            colour = _COLOURS[number % len(_COLOURS)]
            low, middle, high = (_numbers(curve[key]) for key in ("low", "iqm", "high"))
            line = _LINES[number % len(_LINES)]
            axes.plot(curves["grid"], middle, line, label=method, color=colour)
            axes.fill_between(curves["grid"], low, high, color=colour, alpha=0.2)
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


def draw_simulations(results: Sequence[dict[str, Any]], file: str) -> None:
    """Draw consensus distance and loss over simulated time, a line for each scheme.

    Raises:
        UserError: when the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    labels = {"rms": "consensus distance", "loss": "loss"}
    for axes, (name, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        for result in results:
            curve = result["curve"]
            axes.plot(curve["time_s"], _numbers(curve[name]), label=result["scheme"])
        axes.set(xlabel="simulated seconds", ylabel=label)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(results))
    save_plot(figure, file)


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
