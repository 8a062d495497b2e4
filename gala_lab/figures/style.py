"""What all figures share: colours and lines that can be told apart, and curves with intervals."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which the colour-blind can tell apart."""
_LINES = ("-", "--", "-.", ":")
_MARKERS = "os^vDPX*"


class Style(NamedTuple):
    """How one group is drawn; groups differ in more than colour, for print in black and white."""

    color: str
    line: str
    marker: str


def style_of(number: int) -> Style:
    """Return the style of the group of that number."""
    return Style(
        _COLORS[number % len(_COLORS)],
        _LINES[number % len(_LINES)],
        _MARKERS[number % len(_MARKERS)],
    )


def new_figure(panels: int, width: float = 4.6, height: float = 3.5) -> "tuple[Figure, list[Axes]]":
    """Return a figure with panels side by side, at most three a row, and the panels.

    Args:
        panels: number of panels.
        width: inches per panel.
        height: inches per panel.
    """
    from matplotlib.figure import Figure

    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for left_over in grid[panels:]:
        left_over.set_visible(False)
    for axes in grid:
        axes.grid(alpha=0.3)
    return figure, grid[:panels]


def draw_band(
    axes: "Axes", x: Iterable[float], curve: dict[str, Any], style: Style, label: str, **line: Any
) -> None:
    """Draw a curve with its interval.

    Args:
        axes: panel.
        x: where the curve has points.
        curve: `low`, `middle` and `high` at each point; None where there is no value.
        style: colour and line.
        label: for the legend.
        line: more arguments of `Axes.plot`.
    """
    low, middle, high = (numbers(curve[name]) for name in ("low", "middle", "high"))
    options: dict[str, Any] = {"linestyle": style.line, "color": style.color, "label": label}
    axes.plot(list(x), middle, **(options | line))
    axes.fill_between(list(x), low, high, color=style.color, alpha=0.2, linewidth=0)


def count_steps(axes: "Axes") -> None:
    """Show counts on the horizontal axis as 500k or 2M."""
    from matplotlib.ticker import EngFormatter

    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def numbers(values: Iterable[float | None]) -> list[float]:
    """Return values with NaN for None."""
    return [float("nan") if value is None else value for value in values]
