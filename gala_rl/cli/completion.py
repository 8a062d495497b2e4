"""Prints the script with which a shell completes commands, options and their values."""

import argparse
import sys
from typing import Any, NoReturn

from gala_rl.methods import METHODS

_SHELLS = ("bash", "zsh")
_FILES, _FOLDERS = {"FILE", "NAME|FILE"}, {"DIR", "FOLDER", "RUN"}
"""Names of values that are files, and of those that are folders."""


class PrintCompletion(argparse.Action):
    """Print the script and exit."""

    def __init__(self, option_strings: Any, dest: str, **arguments: Any) -> None:
        super().__init__(
            option_strings,
            argparse.SUPPRESS,
            choices=_SHELLS,
            help="print a script for this shell that completes gala's options",
            **arguments,
        )

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> NoReturn:
        """Print the script for a shell."""
        import shtab

        _say_what_values_are(parser, shtab.FILE, shtab.DIRECTORY)
        sys.stdout.write(shtab.complete(parser, shell=values))
        parser.exit()
        raise AssertionError


def _say_what_values_are(parser: argparse.ArgumentParser, file: Any, directory: Any) -> None:
    """Mark the options of a parser and of its commands that take files, folders or methods."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _say_what_values_are(command, file, directory)
        elif action.metavar in _FILES:
            action.complete = file  # type: ignore[attr-defined]
        elif action.metavar in _FOLDERS:
            action.complete = directory  # type: ignore[attr-defined]
        elif action.metavar == "METHOD" or action.dest == "method":
            action.choices = [method.name for method in METHODS]
