"""The life of a replica: it steps with all others, and meets them anew when one of them is lost."""

import time

from gala_rl.coupling import GradientAverage, PeerLost
from gala_rl.coupling.gradients import ReplicaVotes
from gala_rl.processes.heartbeat import beat
from gala_rl.run.learner_run import LearnerRun
from gala_rl.run.learner_spec import LearnerSpec

_TRIES = 5
"""Groups in a row that may break without an update in any of them."""
_LOOK_EVERY_S = 0.005


def train_in_step(assignment: LearnerSpec, run: LearnerRun, average: GradientAverage) -> bool:
    """Be a replica until the budget is spent or a stop is asked for.

    Returns:
        Whether its state belongs in the final checkpoint.

    Raises:
        PeerLost: when there is no working together, though no replica is dead.
    """
    tries, updates = 0, run.agent.updates
    while True:
        if not _meet(assignment, average):
            return assignment.board.stop or _is_complete(assignment, run)
        try:
            average.connect()
            _level(assignment, run, average)
            _step_together(assignment, run, average)
            average.part()
            return True
        except PeerLost:
            tries = tries + 1 if run.agent.updates <= updates else 0
            updates = run.agent.updates
            if tries == _TRIES:
                raise


def _meet(assignment: LearnerSpec, average: GradientAverage) -> bool:
    """Wait until all replicas are there; False if there is nothing left to do together.

    Nobody waits for a dead replica in vain: the supervisor starts it again, or stops the run.
    """
    board = assignment.board
    average.come()
    while not average.all_here():
        if board.stop or average.somebody_ended():
            return False
        beat()
        time.sleep(_LOOK_EVERY_S)
    return True


def _level(assignment: LearnerSpec, run: LearnerRun, average: GradientAverage) -> None:
    """Have all replicas go on from the state that is furthest."""
    updates = average.level(run.agent.learner.state, run.agent.updates)
    run.continue_at(updates)
    average.agreed = ReplicaVotes()
    assignment.tell_counters(run)


def _step_together(assignment: LearnerSpec, run: LearnerRun, average: GradientAverage) -> None:
    """What all replicas decide here follows from what is the same for all of them."""
    board = assignment.board

    def tell_wishes() -> bool:
        average.wishes = ReplicaVotes(board.stop, board.checkpoint_wanted)
        return average.agreed.stop

    # A rollout that one replica alone drops would leave the others waiting for its gradient.
    run.heed(None, tell_wishes)
    while not _is_complete(assignment, run) and not average.agreed.stop:
        assignment.advance(run, assignment.total_agent_steps(run))
        assignment.save_if_wanted(run, average.agreed.checkpoint)


def _is_complete(assignment: LearnerSpec, run: LearnerRun) -> bool:
    return assignment.total_agent_steps(run) >= assignment.config.steps
