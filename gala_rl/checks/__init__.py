"""Checks before a run starts: rows of a condition and the message for the user if it holds."""

from collections.abc import Iterable

from gala_rl.errors import UserError

Row = tuple[object, str]
"""Condition, true if something is wrong; message that names the mistake and the remedy."""


def check_rows(rows: Iterable[Row]) -> None:
    """Raise a UserError with the message of the first row whose condition holds."""
    for is_wrong, message in rows:
        if is_wrong:
            raise UserError(message)
