"""Imports functions and other objects that the user gives by name, module:function."""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gala_rl.config.environment import PREFIXES
from gala_rl.config.names import attribute
from gala_rl.errors import UserError


@contextmanager
def preserve_working_directory() -> Iterator[None]:
    """Restore the working directory after a block, since third-party code may change it."""
    before = None
    with suppress(FileNotFoundError):  # The current folder may have been deleted.
        before = Path.cwd()
    try:
        yield
    finally:
        if before is not None:
            os.chdir(before)


def import_module(module: str, what: str, written: str, prefix: str = "") -> Any:
    """Import a third-party module and return it.

    Args:
        module: name of the module.
        what: what the user gave, for messages, such as "env 'my_module:Name-v0'".
        written: the part of it after the module, for messages.
        prefix: what the user wrote before the module, such as "make:".

    Raises:
        UserError: when it cannot be imported.
    """
    try:
        with preserve_working_directory():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        where = ""
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            where = "; is it installed, or in the current folder?"
            if module.endswith(".py") or "/" in module:
                # A path as the shell completes it.
                path = module.removesuffix(".py")
                folder, path = path.rpartition("/")[::2] if path.startswith("/") else ("", path)
                how = f"run in {folder} and give the module" if folder else "give the module"
                where = f"; {how}: {prefix}{path.replace('/', '.')}:{written}"
        raise UserError(f"{what} cannot be imported: {error}{where}") from error
    except KeyboardInterrupt:
        raise
    # Third-party modules may raise anything, and may even end the program.
    except BaseException as error:
        raise UserError(
            f"{what} cannot be imported: {describe(error)}; for the traceback: "
            f'python -c "import {module}"'
        ) from error


def import_function(name: str, what: str, prefix: str = "") -> Callable[..., Any]:
    """Import a function or class by its name module:function.

    Args:
        name: its name.
        what: what the user gave, for messages, such as "wrap 'my_module:clip'".
        prefix: what the user wrote before the name, such as "make:".

    Raises:
        UserError: when there is no such function.
    """
    function = import_object(name, what, "function", prefix)
    if not callable(function):
        raise UserError(f"{what} is {type(function).__name__}, which cannot be called")
    return function  # type: ignore[no-any-return]


def import_object(name: str, what: str, kind: str, prefix: str = "") -> Any:
    """Import an object by its name module:object.

    Args:
        name: its name.
        what: what the user gave, for messages, such as "method 'my_module:METHOD'".
        kind: what stands behind the colon, for messages, such as "METHOD".
        prefix: what the user wrote before the name, such as "make:".

    Raises:
        UserError: when there is no such object.
    """
    module, colon, attributes = name.rpartition(":")
    if ":" in module and module.partition(":")[0] in PREFIXES:
        raise UserError(
            f"{what} has a prefix too many: did you mean {prefix}{name.partition(':')[2]}?"
        )
    module = module.removeprefix("./")
    if not colon or not module or not attributes or module.startswith("."):
        dotted, _, function = name.rpartition(".")
        is_dotted = not colon and dotted and function and not dotted.startswith(".")
        guess = f"did you mean {prefix}{dotted}:{function}?" if is_dotted else f"give module:{kind}"
        raise UserError(f"{what} has no {kind}: {guess}")
    if module == "__main__":
        raise UserError(
            f"{what} is in the main program, which other processes cannot import: define it at "
            f"the top of a module"
        )
    owner = import_module(module, what, attributes, prefix)
    try:
        return attribute(owner, attributes)
    except AttributeError as error:
        raise UserError(f"{what}: module {module} has no {attributes}") from error
    except KeyboardInterrupt:
        raise
    # A module may import what it offers only when it is asked for it.
    except BaseException as error:
        raise UserError(f"{what} cannot be imported: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Describe an exception in one line by its type and text."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r})"
    try:
        words = str(error)
    except Exception as mistake:
        words = f"its text cannot be shown ({type(mistake).__name__})"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
