"""The methods by name, and the algorithms that they combine.

Imports neither torch nor Gymnasium, so that the command line lists methods at once.
"""

from collections.abc import Mapping
from typing import Any

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.errors import UserError
from gala_rl.methods import (
    a2c,
    dqn,
    impala,
    ppo,
    r2d2,
    reinforce,
)
from gala_rl.methods.method import Method as Method
from gala_rl.methods.own import is_own as is_own
from gala_rl.methods.own import own_method
from gala_rl.suggestions import closest

METHODS = (
    a2c.GALA_METHOD,
    a2c.METHOD,
    a2c.ALLREDUCE_METHOD,
    a2c.ASYNC_METHOD,
    a2c.A3C_METHOD,
    ppo.GALA_METHOD,
    ppo.METHOD,
    ppo.ALLREDUCE_METHOD,
    ppo.ASYNC_METHOD,
    impala.GALA_METHOD,
    impala.METHOD,
    dqn.GALA_METHOD,
    dqn.METHOD,
    r2d2.GALA_METHOD,
    r2d2.METHOD,
    reinforce.GALA_METHOD,
    reinforce.METHOD,
)

ALGORITHMS: Mapping[str, type[AlgorithmSettings]] = {
    settings.name: type(settings)
    for settings in (method.settings("discrete") for method in METHODS)
}
"""Settings of each algorithm by its name, as in `config.json`."""


def algorithms_of(values: Any) -> Mapping[str, type[AlgorithmSettings]]:
    """Return `ALGORITHMS`, with that of the user's own method if a config names one.

    Args:
        values: JSON values of a config, unchecked.

    Raises:
        UserError: when its method cannot be used.
    """
    name = values.get("method") if isinstance(values, Mapping) else None
    if not isinstance(name, str) or not is_own(name):
        return ALGORITHMS
    settings = own_method(name).settings("discrete")
    return {**ALGORITHMS, settings.name: type(settings)}


_OFF_POLICY = (
    "c51",
    "ddpg",
    "ddqn",
    "qr-dqn",
    "qrdqn",
    "rainbow",
    "sac",
    "td3",
    "tqc",
)
"""Methods of other packages that have no counterpart here."""


def find(name: str) -> Method:
    """Return the method of that name, or of the name module:METHOD.

    Raises:
        UserError: when there is none, or it cannot be used.
    """
    if is_own(name):
        return own_method(name)
    names = [method.name for method in METHODS]
    if name in names:
        return METHODS[names.index(name)]
    if name.lower() in _OFF_POLICY:
        guess = f"methods here learn on-policy or Q(x, a); choose one of {', '.join(names)}"
    elif (close := closest(name, names)) is not None:
        guess = f"did you mean {close}?"
    else:
        guess = f"choose one of {', '.join(names)}, or give module:METHOD"
    raise UserError(f"method {name!r} is unknown: {guess}")


def gossiping() -> str:
    """Return the names of the methods whose learners gossip, for a message."""
    return ", ".join(method.name for method in METHODS if method.gossips)
