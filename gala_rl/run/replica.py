"""Training loop of a replica: updates in lockstep, and forms a new group when one breaks."""

import time

from gala_rl.coupling import GradientAverage, PeerLost
from gala_rl.coupling.gradients import ReplicaVotes
from gala_rl.processes.heartbeat import beat
from gala_rl.run.learner_worker import LearnerWorker
from gala_rl.run.shared_counters import SharedCounters

_TRIES = 5
"""Give up after this many groups in a row that broke before any update."""
_POLL_EVERY_S = 0.005


def train_in_lockstep(worker: LearnerWorker, average: GradientAverage) -> bool:
    """Train as a replica until the budget is spent or a stop is requested.

    Returns:
        Whether the replica's state belongs in the final checkpoint.

    Raises:
        PeerLost: when groups keep breaking although no replica is dead.
    """
    run, counters = worker.run, worker.spec.counters
    tries, updates = 0, run.agent.updates
    while True:
        if not _wait_for_all(counters, average):
            return counters.stop or _is_complete(worker)
        try:
            average.connect()
            _synchronize(worker, average)
            _step_in_lockstep(worker, average)
            average.leave()
            return True
        except PeerLost:
            tries = tries + 1 if run.agent.updates <= updates else 0
            updates = run.agent.updates
            if tries == _TRIES:
                raise


def _wait_for_all(counters: SharedCounters, average: GradientAverage) -> bool:
    """Wait until all replicas need a group; return False if there will be no further group.

    This ends even if a replica is dead: the supervisor restarts it, or stops the run.
    """
    average.request_group()
    while not average.can_connect():
        if counters.stop or average.has_ended():
            return False
        beat()
        time.sleep(_POLL_EVERY_S)
    return True


def _synchronize(worker: LearnerWorker, average: GradientAverage) -> None:
    """Copy the state of the replica with the most updates to all others."""
    run = worker.run
    updates = average.synchronize(run.agent.learner.state, run.agent.updates)
    run.set_updates(updates)
    average.agreed = ReplicaVotes()
    worker.publish_counters()


def _step_in_lockstep(worker: LearnerWorker, average: GradientAverage) -> None:
    """Make updates until done; replicas decide alike, since they decide by the same values."""
    counters = worker.spec.counters

    def vote() -> bool:
        average.votes = ReplicaVotes(counters.stop, counters.requested_checkpoint)
        return average.agreed.stop

    # If one replica alone dropped a rollout, the others would wait for its gradient.
    worker.run.set_stop_checks(None, vote)
    while not _is_complete(worker) and not average.agreed.stop:
        worker.advance(worker.total_agent_steps)
        worker.save_if_requested(average.agreed.checkpoint)


def _is_complete(worker: LearnerWorker) -> bool:
    return worker.total_agent_steps >= worker.spec.config.steps
