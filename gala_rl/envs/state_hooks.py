"""Saves and restores an environment's state through two hooks that its author may provide.

`gala_get_state()` returns everything that changes, including random state and time limit, as a
dict of arrays by name; `gala_set_state(state)` continues from such a dict. The names have a prefix
because many environments have a `get_state` that means something else.
"""

import inspect
import logging
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

GET, SET = "gala_get_state", "gala_set_state"

_log = logging.getLogger(__name__)


def get_state(env: gymnasium.Env[Any, Any]) -> dict[str, NDArray[Any]] | None:
    """Return an environment's state from its hook; None if it has no usable hooks."""
    inner = env.unwrapped
    if not hasattr(inner, GET) and not hasattr(inner, SET):
        return None
    try:
        return _validated_state(inner)
    except Exception as error:
        _log.warning("%s cannot be saved in checkpoints: %r", type(inner).__name__, error)
        return None


def set_state(env: gymnasium.Env[Any, Any], state: dict[str, NDArray[Any]]) -> None:
    """Continue an environment from a state that `get_state` returned."""
    env.reset()
    getattr(env.unwrapped, SET)(state)


def _validated_state(inner: Any) -> dict[str, NDArray[Any]]:
    get, restore = getattr(inner, GET), getattr(inner, SET)
    inspect.signature(get).bind()
    inspect.signature(restore).bind({})
    state = get()
    if not isinstance(state, dict):
        raise TypeError(f"{GET}() returned {type(state).__name__}, not a dict of arrays")
    arrays = {name: np.array(value) for name, value in state.items()}
    for name, array in arrays.items():
        if not isinstance(name, str) or array.dtype.kind not in "biuf":
            raise TypeError(f"{GET}() returned no array of numbers as {name!r}")
    return arrays
