"""The `gala` command: the commands of gala_rl, and those of the laboratory."""

import sys
from collections.abc import Sequence

from gala_lab.bench.cli import add_bench
from gala_lab.compare.cli import add_compare
from gala_lab.figures.cli import add_plot, add_report
from gala_lab.simulation.cli import add_simulate
from gala_lab.study.cli import add_study
from gala_rl.cli import main as command_line

LABORATORY = (add_compare, add_study, add_plot, add_report, add_bench, add_simulate)
"""Functions that add its commands to a parser's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see `gala_rl.cli.main.main` for exit codes."""
    return command_line.main(arguments, LABORATORY)


if __name__ == "__main__":
    sys.exit(main())
