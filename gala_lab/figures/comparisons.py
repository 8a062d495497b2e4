"""The curves of comparisons and simulations as figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gala_lab.figures.style import count_steps, draw_band, new_figure, numbers, style_of
from gala_rl.cli.plots import save_plot
from gala_rl.errors import StorageError


def draw_comparison(result: dict[str, Any], file: Path) -> None:
    """Draw interquartile means with their intervals, by agent steps and by seconds.

    Raises:
        StorageError: when the file cannot be written.
    """
    figure, panels = new_figure(2)
    for axes, (name, curves) in zip(panels, result["curves"].items(), strict=True):
        for number, (method, curve) in enumerate(curves["methods"].items()):
            band = {"low": curve["low"], "middle": curve["iqm"], "high": curve["high"]}
            draw_band(axes, curves["grid"], band, style_of(number), method)
        axes.set_xlabel({"agent_steps": "agent steps", "seconds": "seconds of training"}[name])
        if name == "agent_steps":
            count_steps(axes)
        if result["threshold"] is not None:
            axes.axhline(result["threshold"], color="grey", linewidth=0.8)
        axes.sharey(panels[0])
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
    figure, panels = new_figure(2)
    labels = {"rms": "consensus distance", "loss": "loss"}
    for axes, (name, label) in zip(panels, labels.items(), strict=True):
        for number, result in enumerate(results):
            curve, style = result["curve"], style_of(number)
            line, color = style.line, style.color
            axes.plot(
                *(curve["time_s"], numbers(curve[name]), line),
                color=color,
                label=result["scheme"],
            )
        axes.set(xlabel="simulated seconds", ylabel=label)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(results))
    save_plot(figure, file)
