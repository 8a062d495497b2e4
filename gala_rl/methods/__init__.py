"""Methods: named combinations of algorithm, system and gossip, each with its paper's settings.

Imports no torch: the command line lists and resolves methods before any work starts.
"""

import dataclasses
import difflib

from gala_rl.config import TrainConfig, usable_cores
from gala_rl.errors import UserError
from gala_rl.methods import a2c, gala_a2c
from gala_rl.methods.method import Method as Method

METHODS = (gala_a2c.METHOD, a2c.METHOD)


def find(name: str) -> Method:
    """The method of that name.

    Raises:
        UserError: when there is none.
    """
    names = [method.name for method in METHODS]
    if name in names:
        return METHODS[names.index(name)]
    close = difflib.get_close_matches(name, names, n=1)
    guess = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(names)}"
    raise UserError(f"method {name!r} is unknown: {guess}")


def resolve(config: TrainConfig) -> TrainConfig:
    """Fill in what depends on the method and on this machine.

    Raises:
        UserError: when the method is unknown or cannot run with these settings.
    """
    method = find(config.method)
    learners = config.learners or method.default_learners(usable_cores())
    if learners > 1 and not method.gossips:
        raise UserError(
            f"learners {learners} is too many: {method.name} has one learner; "
            f"gala-{method.name} trains several"
        )
    return dataclasses.replace(config, learners=learners)
