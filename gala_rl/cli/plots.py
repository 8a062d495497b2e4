"""Saves figures of commands; imports matplotlib, of the extra `plots`, only when drawing."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gala_rl.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SUFFIXES = (".png", ".pdf", ".svg")

PLOT_HELP = "draw the figures into a .png, .pdf or .svg file"


def can_plot() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def check_plot(file: str, suffixes: Sequence[str] = _SUFFIXES) -> None:
    """Raise a UserError if the file cannot be drawn, before anything is computed."""
    path = Path(file)
    if path.suffix not in suffixes:
        *others, last = suffixes
        names = f"{', '.join(others)} or {last}" if others else last
        raise UserError(f"plot {file}: choose a name that ends in {names}")
    if not path.parent.is_dir():
        raise UserError(f"plot {file}: folder {path.parent} does not exist, create it first")
    if not can_plot():
        raise UserError(
            f"plot {file} needs matplotlib, which is not installed: pip install matplotlib"
        )


def save_plot(figure: "Figure", file: str) -> None:
    """Write a figure in the format of the file's suffix.

    Raises:
        UserError: when the file cannot be written.
    """
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise UserError(
            f"plot {file} cannot be written ({error.strerror}): choose another file"
        ) from error
