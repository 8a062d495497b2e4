"""Prints lines and tables of the command line; imports rich only for a table."""

import atexit
import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path

from gala_rl.errors import printable

_STDOUT, _STDERR = 1, 2
_FILE_WIDTH = 240
"""Maximum width of a table in characters if the output is not a terminal."""


def say(line: str) -> None:
    """Print a line."""
    print(printable(line))  # noqa: T201


@contextmanager
def foreign_output_on_stderr() -> Iterator[None]:
    """Redirect standard output to standard error in a block, also of C code and child processes.

    This includes what libraries print when Python exits.
    """
    if sys.stdout is None or sys.stderr is None:
        yield  # There is no output to redirect.
        return
    sys.stdout.flush()
    document = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        # C has a buffer of its own.
        ctypes.CDLL(None).fflush(None)
        os.dup2(document, _STDOUT)
        os.close(document)
        atexit.register(_redirect_stdout_at_exit)


def _redirect_stdout_at_exit() -> None:
    with ignore_output_errors():
        sys.stdout.flush()
    os.dup2(_STDERR, _STDOUT)


@contextmanager
def ignore_output_errors() -> Iterator[None]:
    """Ignore errors of printing in the block and in Python's last flush, which set an exit code."""
    with suppress(OSError):
        yield
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def print_table(
    title: str, columns: list[str], rows: list[list[str]], file_width: int = _FILE_WIDTH
) -> None:
    """Print a table that fits the terminal, by dropping padding first and then folding cells.

    Args:
        title: printed above the table.
        columns: headings.
        rows: cells per row.
        file_width: maximum width if the output is not a terminal.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=printable(title), title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    # No markup, since file names, for example, may contain brackets.
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = max(console.width, file_width)
    unbounded = console.options.update(max_width=10_000)
    if console.measure(table, options=unbounded).maximum > console.width:
        table.padding = (0, 0)
    console.print(table)
