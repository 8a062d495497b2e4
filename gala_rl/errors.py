"""The failures that are told apart, and how text is made fit to be printed."""

import io
import sys

_LONGEST = 2_000


def printable(text: str) -> str:
    """The text with what could steer a terminal, or hide there, as escapes; lines stay lines."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def counted(number: int, noun: str) -> str:
    """The number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def escape_unencodable_output() -> None:
    """Make both standard streams print characters that their encoding lacks as escapes."""
    for stream in (sys.stdout, sys.stderr):
        # A stream that was closed is None, and a notebook's encodes nothing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _one_line(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"


class UserError(Exception):
    """A mistake the user can mend: one line that names the value and the remedy.

    The command line prints the line and exits with code 2; nothing has been started or written.
    Whatever the line quotes, from files and names that others made, it is one line and printable.
    """

    def __init__(self, line: str) -> None:
        super().__init__(_one_line(line))


class LearnerFailure(Exception):
    """A learner that could not be kept alive: names its rank and carries its own traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class ActorFailure(Exception):
    """An actor that its learner could not keep alive: names both; ends the learner."""


class SimulatorFailure(Exception):
    """A simulator that kept failing: names it, its environment, and what it last raised or gave."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class StorageError(Exception):
    """A run's folder cannot be written any more: one line; what was saved before is untouched."""

    def __init__(self, line: str) -> None:
        super().__init__(_one_line(line))


class SupervisorFailure(Exception):
    """The system refused what looking after learners takes, an open file say: one line.

    The learners were asked to stop, and what they left was saved where that was possible.
    """

    def __init__(self, line: str) -> None:
        super().__init__(_one_line(line))
