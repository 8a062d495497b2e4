"""Names of functions by which other processes import them, module:function."""

import importlib
from collections.abc import Callable
from reprlib import repr as short
from typing import Any

from gala_rl.errors import UserError


def function_name(function: Callable[..., Any], setting: str, remedy: str = "") -> str:
    """Return the name "module:function" of a function that is the value of a setting.

    Args:
        function: the function.
        setting: name of the setting, for messages.
        remedy: what else the user may do than to define it at the top of a module, for messages.

    Raises:
        UserError: when other processes cannot import the function by that name.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    remedy = f"define it at the top of a module{remedy}"
    if not isinstance(module, str) or not isinstance(name, str):
        raise UserError(
            f"{setting} {short(function)} has no name by which other processes could import it: "
            f"{remedy}"
        )
    if module == "__main__":
        raise UserError(f"{setting} {name} is defined in the main program: {remedy}")
    try:
        found = attribute(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        found = None
    if found is not function:
        raise UserError(f"{setting} {module}.{name} cannot be imported by that name: {remedy}")
    return f"{module}:{name}"


def attribute(owner: Any, name: str) -> Any:
    """Return an attribute by its name with dots, such as "Class.method".

    Raises:
        AttributeError: when there is none.
    """
    for part in name.split("."):
        owner = getattr(owner, part)
    return owner
