"""Imports the packages of optional backends; names the extra to install if one is missing."""

import importlib
from typing import Any

from gala_rl.errors import UserError


def backend_package(package: str, extra: str, env: str) -> Any:
    """Import the package of a backend and return it.

    Args:
        package: name of the package.
        extra: the extra of this package that installs it.
        env: name of the environment, for the message.

    Raises:
        UserError: when it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"env {env!r} needs the package {package} ({error}): pip install 'gala-rl[{extra}]'"
        ) from error
