"""What the command line prints: lines and tables; loads rich only when it draws one."""

_FILE_WIDTH = 240
"""Columns that a table may take where it does not go to a terminal."""


def say(line: str) -> None:
    """Print a line."""
    print(line)  # noqa: T201


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table, no wider than the terminal; no digit is cut off."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _FILE_WIDTH)
    console.print(table)
