"""The curves of simulations as a picture."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gala_rl.errors import UserError

_SUFFIXES = (".png", ".pdf", ".svg")


def check_plot(file: str) -> None:
    """Raise a UserError if a picture cannot be drawn, or not there."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("--plot needs matplotlib: pip install matplotlib, or leave it out")
    path = Path(file)
    if path.suffix not in _SUFFIXES:
        raise UserError(f"--plot {file} is no picture: end it in one of {', '.join(_SUFFIXES)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UserError(f"--plot {file} cannot be written: choose a file in a folder that exists")


def plot(results: Sequence[dict[str, Any]], file: str) -> None:
    """Draw consensus distance and loss over simulated time, a line a scheme.

    Args:
        results: of `simulate`.
        file: to write; its suffix tells the format.

    Raises:
        UserError: when it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = zip(
        figure.subplots(1, 2), (("rms", "consensus distance"), ("loss", "loss")), strict=True
    )
    for axes, (name, label) in panels:
        for result in results:
            curve = result["curve"]
            values = [float("nan") if value is None else value for value in curve[name]]
            axes.plot(curve["time_s"], values, label=result["scheme"])
        axes.set_xlabel("simulated seconds")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(results))
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise UserError(
            f"--plot {file} cannot be written ({error.strerror}): choose another file"
        ) from error
