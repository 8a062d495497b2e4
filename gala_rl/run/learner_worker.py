"""A learner within its process: builds it, advances it, and publishes its state."""

import time

import torch

from gala_rl.coupling import Rendezvous, SharedParameters
from gala_rl.envs import seed_generators
from gala_rl.errors import StorageError
from gala_rl.gossip import Message
from gala_rl.learners.learner import Coupling
from gala_rl.methods import find
from gala_rl.processes.heartbeat import beat
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader, learner_rows
from gala_rl.run.learner_run import LearnerRun
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.shared_counters import LearnerCounter

_TRIES = 10
"""Attempts per donor: it may overwrite its message while the message is copied."""


class LearnerWorker:
    """Advances a learner and publishes its progress, its state and its parts of checkpoints.

    Args:
        spec: arguments of the process.
        run: the learner.
    """

    def __init__(self, spec: LearnerSpec, run: LearnerRun) -> None:
        self.spec, self.run = spec, run

    @property
    def total_agent_steps(self) -> int:
        """Agent steps of all learners together."""
        if isinstance(self.spec.shared_coupling, Rendezvous):
            # Replicas have made equally many updates, even if some have not published them yet.
            return self.run.agent.agent_steps * self.spec.config.learners
        return self.spec.counters.total_agent_steps

    def advance(self, total_agent_steps: int) -> None:
        """Make one update, publish the counters, and write a metrics row if one is due."""
        self.run.advance(total_agent_steps)
        self.publish_counters()
        if self.run.write_row_if_due(self.total_agent_steps):
            self._publish_state()

    def publish_counters(self) -> None:
        """Publish updates and agent steps to the supervisor, and beat."""
        counters, rank, agent = self.spec.counters, self.spec.rank, self.run.agent
        counters.set(rank, LearnerCounter.UPDATES, agent.updates)
        counters.set(rank, LearnerCounter.AGENT_STEPS, agent.agent_steps)
        beat()

    def publish_optimizer(self) -> None:
        """Copy the optimiser state to shared memory, for a learner that is restarted from it."""
        if not isinstance(self.spec.shared_coupling, SharedParameters):
            states = self.spec.counters.optimizer_states
            states[self.spec.rank].copy_(self.run.agent.learner.optimizer.state)

    def _publish_state(self) -> None:
        """Copy to shared memory what restarted learners and the consensus monitor read."""
        if isinstance(self.spec.shared_coupling, SharedParameters):
            return
        self.publish_optimizer()
        rank, agent = self.spec.rank, self.run.agent
        self.spec.counters.gradients[rank].copy_(agent.learner.flat.grads)
        if not agent.gossip.has_neighbours:
            # Its parameters are sent to no other learner; this copy lets a restart continue.
            self.spec.mailboxes.write(Message(rank, agent.updates, agent.gossip.parameters))

    def save_if_requested(self, number: int) -> None:
        """Write the part of checkpoint `number` once, unless that checkpoint was abandoned."""
        counters, rank = self.spec.counters, self.spec.rank
        written = counters.get(rank, LearnerCounter.CHECKPOINT_WRITTEN)
        if number <= written or not counters.awaits_checkpoint(number):
            return
        try:
            self.write_part(str(number))
        except StorageError:
            # The folder of an abandoned checkpoint is deleted while learners still write to it.
            if counters.awaits_checkpoint(number):
                raise
        else:
            counters.set(rank, LearnerCounter.CHECKPOINT_WRITTEN, number)

    def write_part(self, request: str) -> None:
        """Write this learner's part of a checkpoint in progress."""
        partial = checkpoint.partial_folder(self.spec.folder.checkpoints, request)
        self.run.save(partial, self.spec.mailboxes.latest(self.spec.rank))


def make_worker(spec: LearnerSpec, coupling: Coupling | None) -> LearnerWorker:
    """Build a learner and restore it: from its checkpoint, a donor, or its own latest message."""
    counters, rank, mailboxes = spec.counters, spec.rank, spec.mailboxes
    # Versions of messages only grow: those after a restart must be newer than any sent before.
    updates = max(counters.get(rank, LearnerCounter.UPDATES), mailboxes.version(rank))
    seed_generators(spec.config.seed, rank, updates)
    run = LearnerRun(
        spec.config,
        rank,
        mailboxes.transport(rank),
        torch.device(spec.device),
        spec.folder,
        updates,
        None if spec.journal is None else spec.journal.writer(rank),
        coupling or spec.remote_actors,
    )
    if spec.faults is not None:
        run.inject_faults(spec.folder, spec.faults)
    if spec.checkpoint is not None:
        _restore_from_checkpoint(spec, run, checkpoint.open_checkpoint(spec.checkpoint))
    elif updates or spec.donors or spec.is_joining:
        _restore_from_message(spec, run, updates)
    worker = LearnerWorker(spec, run)
    # A learner that starts from this one's first message needs optimiser state with it.
    worker.publish_optimizer()
    return worker


def _restore_from_checkpoint(
    spec: LearnerSpec, run: LearnerRun, saved: checkpoint.Checkpoint
) -> None:
    rank, counters = spec.rank, spec.counters
    updates = counters.get(rank, LearnerCounter.UPDATES)
    saved_agent_steps = saved.manifest["learner_agent_steps"][rank]
    is_ahead = counters.get(rank, LearnerCounter.AGENT_STEPS) > saved_agent_steps
    if rank in saved.learners():
        run.restore(saved)
        # If its node died since the checkpoint, its neighbours have newer messages from it.
        if is_ahead and find(spec.config.method).gossips:
            run.set_updates(updates)
            _restore_metrics(spec, run)
        return
    donor = saved.load(saved.learners()[0])
    run.load(donor.tensors["parameters"], donor.tensors["optimizer"])
    run.set_updates(updates)


def _restore_from_message(spec: LearnerSpec, run: LearnerRun, updates: int) -> None:
    origin, at_s = _load_message(spec, run)
    if run.agent.journal is not None:
        run.agent.journal.adopt(updates, origin, at_s)
    if isinstance(spec.shared_coupling, Rendezvous):
        # A replica counts the updates that its parameters have had, not those that it computed.
        updates = 0 if origin is None else origin[1]
    run.set_updates(updates)
    _restore_metrics(spec, run)


def _restore_metrics(spec: LearnerSpec, run: LearnerRun) -> None:
    reader = MetricsReader(spec.folder.metrics_file(spec.rank))
    run.restore_metrics(learner_rows(reader.new_rows()))


def _load_message(spec: LearnerSpec, run: LearnerRun) -> tuple[tuple[int, int] | None, float]:
    """Adopt the parameters of the latest message of a donor, or of the learner itself.

    Returns:
        (sender, version) of the message, None if none has been sent yet, and a time on the
        monotonic clock at which it was among the sender's newest messages.

    Raises:
        RuntimeError: if no message can be taken over and the learner must not start without one.
    """
    sources = spec.donors if spec.is_joining else (*spec.donors, spec.rank)
    for source in sources * _TRIES:
        if (message := spec.mailboxes.lend(source)) is None:
            continue
        parameters = message.parameters[: run.agent.learner.flat.values.numel()]
        run.load(parameters, spec.counters.optimizer_states[source])
        at_s = time.monotonic()
        if message.is_whole():
            return (source, message.version), at_s
    if spec.donors or spec.is_joining:
        raise RuntimeError(f"no message of learners {spec.donors} could be taken over")
    return None, time.monotonic()
