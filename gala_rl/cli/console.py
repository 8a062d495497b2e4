"""Output of the command line: lines and tables; rich is imported only for a table."""

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
"""Columns that a table may take if it does not go to a terminal."""


def say(line: str) -> None:
    """Print a line."""
    print(printable(line))  # noqa: T201


@contextmanager
def foreign_output_on_stderr() -> Iterator[None]:
    """Send all that is printed in the block to standard error, by C code and other processes too.

    What libraries print when Python unloads them at its end goes there as well.
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
        atexit.register(_leave_stdout)


def _leave_stdout() -> None:
    with unheard_is_no_error():
        sys.stdout.flush()
    os.dup2(_STDERR, _STDOUT)


@contextmanager
def unheard_is_no_error() -> Iterator[None]:
    """Ignore failures to print in the block, and in Python's last flush: they set no exit code."""
    with suppress(OSError):
        yield
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table, no wider than the terminal: first padding goes, then cells are folded."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=printable(title), title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    # Brackets, in the name of a file for example, are no markup.
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = max(console.width, _FILE_WIDTH)
    unbounded = console.options.update(max_width=10_000)
    if console.measure(table, options=unbounded).maximum > console.width:
        table.padding = (0, 0)
    console.print(table)
