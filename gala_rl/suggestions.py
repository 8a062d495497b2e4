"""What a misspelled name was probably meant to be; nothing where no name is close."""

import difflib
from collections.abc import Iterable

_CLOSE = 0.75
"""Ratio of equal characters below which a guess misleads more often than it helps."""


def closest(word: str, names: Iterable[str]) -> str | None:
    """The name that is most like the word, None if none is much like it.

    Case, dashes and underscores don't count.
    """
    by_plain = {_plain(name): name for name in names}
    close = difflib.get_close_matches(_plain(word), by_plain, n=1, cutoff=_CLOSE)
    return by_plain[close[0]] if close else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").strip("-")
