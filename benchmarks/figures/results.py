"""The folder of a figure: data with its provenance, picture, and the command that made them."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gala_rl.records.files import write_json


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with `--out`, the folder of the figure."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--out", type=Path, required=True, help="folder of the figure")
    return options


def write(
    out: Path, module: str, arguments: Sequence[str], result: dict[str, Any], picture: Figure
) -> None:
    """Write `result.json`, `figure.png` and `command.txt`.

    Args:
        out: the folder; made if it is missing.
        module: of this package, whose command line it was.
        arguments: of the command line.
        result: the data, with its provenance.
        picture: of the data.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "result.json", result)
    picture.savefig(out / "figure.png", dpi=120)
    command = shlex.join(["python", "-m", f"benchmarks.figures.{module}", *arguments])
    (out / "command.txt").write_text(f"{command}\n", encoding="utf-8")
