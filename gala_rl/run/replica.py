"""The life of a replica: it steps with all others, and meets them anew when one of them is lost."""

import time

from gala_rl.coupling import GradientAverage, PeerLost
from gala_rl.coupling.gradients import ReplicaVotes
from gala_rl.processes.heartbeat import beat
from gala_rl.run.learner_worker import LearnerWorker
from gala_rl.run.shared_counters import SharedCounters

_TRIES = 5
"""Groups in a row that may break without an update in any of them."""
_LOOK_EVERY_S = 0.005


def train_in_step(worker: LearnerWorker, average: GradientAverage) -> bool:
    """Be a replica until the budget is spent or a stop is asked for.

    Returns:
        Whether its state belongs in the final checkpoint.

    Raises:
        PeerLost: when there is no working together, though no replica is dead.
    """
    run, counters = worker.run, worker.spec.counters
    tries, updates = 0, run.agent.updates
    while True:
        if not _meet(counters, average):
            return counters.stop or _is_complete(worker)
        try:
            average.connect()
            _level(worker, average)
            _step_together(worker, average)
            average.part()
            return True
        except PeerLost:
            tries = tries + 1 if run.agent.updates <= updates else 0
            updates = run.agent.updates
            if tries == _TRIES:
                raise


def _meet(counters: SharedCounters, average: GradientAverage) -> bool:
    """Wait until all replicas are there; False if there is nothing left to do together.

    Nobody waits for a dead replica in vain: the supervisor starts it again, or stops the run.
    """
    average.come()
    while not average.all_here():
        if counters.stop or average.somebody_ended():
            return False
        beat()
        time.sleep(_LOOK_EVERY_S)
    return True


def _level(worker: LearnerWorker, average: GradientAverage) -> None:
    """Have all replicas go on from the state that is furthest."""
    run = worker.run
    updates = average.level(run.agent.learner.state, run.agent.updates)
    run.continue_at(updates)
    average.agreed = ReplicaVotes()
    worker.publish_counters()


def _step_together(worker: LearnerWorker, average: GradientAverage) -> None:
    """What all replicas decide here follows from what is the same for all of them."""
    counters = worker.spec.counters

    def tell_wishes() -> bool:
        average.wishes = ReplicaVotes(counters.stop, counters.checkpoint_wanted)
        return average.agreed.stop

    # A rollout that one replica alone drops would leave the others waiting for its gradient.
    worker.run.set_stop_checks(None, tell_wishes)
    while not _is_complete(worker) and not average.agreed.stop:
        worker.advance(worker.total_agent_steps)
        worker.save_if_requested(average.agreed.checkpoint)


def _is_complete(worker: LearnerWorker) -> bool:
    return worker.total_agent_steps >= worker.spec.config.steps
