"""Exceptions of a run, and text that is safe to print."""

import io
import sys

_MAX_LENGTH = 2_000


def printable(text: str) -> str:
    """Return the text with control and invisible characters escaped, except newlines."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def counted(number: int, noun: str) -> str:
    """Return the number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def escape_unencodable_output() -> None:
    """Make both standard streams print escapes for characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        # A closed stream is None, and a notebook's has no encoding.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _one_line(text: str) -> str:
    line = printable(" ".join(text.split()))
    return (
        line
        if len(line) <= _MAX_LENGTH
        else f"{line[: _MAX_LENGTH // 2]} … {line[-_MAX_LENGTH // 2 :]}"
    )


class UserError(Exception):
    """A mistake that the user can correct: one line that names the value and the remedy.

    The command line prints the line and exits with code 2; nothing has been started or written.
    The line is printable, whatever it quotes from files.
    """

    def __init__(self, line: str) -> None:
        super().__init__(_one_line(line))


class LearnerFailure(Exception):
    """A learner failed repeatedly: names its rank, with the traceback of its process."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class ActorFailure(Exception):
    """An actor failed repeatedly: names the actor and its learner, which ends."""


class SimulatorFailure(Exception):
    """A simulator failed repeatedly: names it, its environment, and its last error or output."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class StorageError(Exception):
    """A run's folder cannot be written: one line; what was saved before is untouched."""

    def __init__(self, line: str) -> None:
        super().__init__(_one_line(line))


class SupervisorFailure(Exception):
    """The operating system denies a resource that supervision needs, such as a file: one line.

    The learners have been stopped, and a checkpoint has been saved if possible.
    """

    def __init__(self, line: str) -> None:
        super().__init__(_one_line(line))
