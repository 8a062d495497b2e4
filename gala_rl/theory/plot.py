"""Plot the table of `gala theory`; needs matplotlib, of the extra `plots`."""

from pathlib import Path

from gala_rl.errors import UserError
from gala_rl.theory.table import Row


def check_plot(file: str) -> None:
    """Raise a UserError if a plot cannot be drawn or saved; call it before computing anything."""
    path = Path(file)
    if path.suffix not in (".png", ".svg"):
        raise UserError(f"plot {file}: choose a name that ends in .png or .svg")
    if not path.parent.is_dir():
        raise UserError(f"plot {file}: folder {path.parent} does not exist, create it first")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"plot {file} needs matplotlib, which is not installed: pip install matplotlib"
        ) from error


def draw(rows: list[Row], file: str) -> None:
    """Plot worst and typical radius over the number of learners, with a panel per case.

    Raises:
        UserError: when the file cannot be written.
    """
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
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise UserError(f"plot {file} cannot be written ({error}): choose another file") from error
