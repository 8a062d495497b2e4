"""Checks settings of several learners that train together: by gossip, by gradients, in turn."""

from gala_rl.checks import Row
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.methods import find, gossiping
from gala_rl.methods.resolving import why_not_scaled


def learners_rows(config: ResolvedConfig) -> list[Row]:
    """Return checks of the number of learners and of how they train together."""
    method, learners, most = find(config.method), config.learners, config.max_learners
    steps_together = method.sharing == "gradients" and learners > 1
    why_not = why_not_scaled(config)
    return [
        (
            most is not None and why_not is not None,
            f"max_learners {most} is of no use: {why_not}; leave it out",
        ),
        (
            most is not None and most < learners,
            f"max_learners {most} is less than learners {learners}: use at least that",
        ),
        (
            steps_together and config.serial,
            f"serial is impossible with {method.name}: its learners make each step together, not "
            f"in turn; leave it out, or choose one whose learners gossip: {gossiping()}",
        ),
        (
            steps_together and config.algorithm.may_stop_early,
            f"target_kl is impossible with {method.name}: its learners make each step together "
            f"and would stop after different ones; leave it out",
        ),
        (
            # Otherwise a learner that waits for its neighbours would count as hung.
            method.gossips and learners > 1 and config.gossip.deadline >= config.hang_after,
            f"deadline {config.gossip.deadline:g} is too long beside hang_after "
            f"{config.hang_after:g}, by which a learner that waits is itself killed: use a shorter "
            f"--deadline, or a longer --hang-after",
        ),
    ]
