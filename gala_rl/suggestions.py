"""Suggests a name for a misspelled one."""

import difflib
from collections.abc import Iterable

_CUTOFF = 0.75
"""Similarity below which a suggestion misleads more often than it helps."""


def closest(word: str, names: Iterable[str]) -> str | None:
    """Return the name most similar to a word, None if none is similar enough.

    Case, dashes and underscores are ignored.
    """
    by_plain = {_plain(name): name for name in names}
    close = difflib.get_close_matches(_plain(word), by_plain, n=1, cutoff=_CUTOFF)
    return by_plain[close[0]] if close else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").strip("-")
