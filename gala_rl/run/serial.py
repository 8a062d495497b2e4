"""Runs all learners in turn in one process: deterministic, reproducible, easy to debug."""

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from gala_rl.agent import InitialParameters
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.coupling import SharedParameters
from gala_rl.envs import seeded_generators
from gala_rl.gossip import MemoryNetwork, Message
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.records import checkpoint as checkpoints
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.consensus_monitor import ConsensusMonitor
from gala_rl.run.coupling import couple, make_shared_coupling
from gala_rl.run.interrupts import Interrupts
from gala_rl.run.learner_run import LearnerRun
from gala_rl.run.run_state import make_fault_monitor, make_journal
from gala_rl.run.status import Observer, RunOutcome, RunStatus

_OBSERVE_EVERY_S = 0.5


def run_serial(
    config: ResolvedConfig,
    folder: RunFolder,
    device: torch.device,
    initial: InitialParameters,
    checkpoint: Checkpoint | None,
    observe: Observer,
) -> RunOutcome:
    """Train until the budget is spent or the user interrupts; always ends with a checkpoint.

    Args:
        config: resolved config of the run.
        folder: folder of the run, already created.
        device: torch device of all learners.
        initial: parameters of all learners at the start.
        checkpoint: checkpoint to continue from; None for a new run.
        observe: called with the status about twice a second; see `Observer`.
    """
    done = 0 if checkpoint is None else checkpoint.agent_steps
    with seeded_generators(config.seed, done):
        torch.set_num_threads(config.threads_per_learner())
        keep_freed_memory()
        with closing(_SerialRun(config, folder, device, initial, checkpoint)) as run:
            return run.run(observe)


class _SerialRun:
    """Learners of a serial run; takes the arguments of `run_serial`."""

    def __init__(
        self,
        config: ResolvedConfig,
        folder: RunFolder,
        device: torch.device,
        initial: InitialParameters,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._config, self._folder, self._device = config, folder, device
        self._network = MemoryNetwork(config.learners)
        self._coupling = make_shared_coupling(config, folder, initial, checkpoint)
        self._journal = make_journal(config, self._coupling)
        self._completed: list[Path] = []
        self._learners = [self._make_learner(r, checkpoint) for r in range(config.learners)]
        self._faults = make_fault_monitor(config, folder)
        if self._faults is not None:
            for learner in self._learners:
                learner.inject_faults(folder, self._faults.clock)
        self._monitor: ConsensusMonitor | None = None
        if self._journal is not None:
            self._monitor = ConsensusMonitor(
                config,
                folder,
                initial.learned,
                read=self._network.latest,
                gradients=[learner.agent.learner.flat.grads for learner in self._learners],
                journal=self._journal.reader(),
                checkpoint=checkpoint,
            )
        if checkpoint is not None:
            self._send_again(checkpoint)

    def run(self, observe: Observer) -> RunOutcome:
        """See `run_serial`."""
        with Interrupts() as interrupts:
            self._take_turns(observe, interrupts)
            interrupted = interrupts.count > 0
            total = self._status().total_agent_steps
            for learner in self._learners:
                learner.write_row(total)
            if self._monitor is not None:
                self._monitor.sample(total)
            self._save()
        return RunOutcome(self._with_notices(self._status()), interrupted)

    def close(self) -> None:
        """Close the simulators and files of all learners."""
        for learner in self._learners:
            learner.close()
        if self._monitor is not None:
            self._monitor.close()

    def _make_learner(self, rank: int, checkpoint: Checkpoint | None) -> LearnerRun:
        learner = LearnerRun(
            self._config,
            rank,
            self._network.transport(rank),
            self._device,
            self._folder,
            0 if checkpoint is None else checkpoint.counters(rank)["updates"],
            None if self._journal is None else self._journal.writer(rank),
            couple(self._coupling, rank),
        )
        if checkpoint is not None:
            learner.restore(checkpoint)
        return learner

    def _send_again(self, checkpoint: Checkpoint) -> None:
        """Send again the messages that no neighbour had mixed when the checkpoint was written."""
        for learner in self._learners:
            state = checkpoint.load(learner.rank)
            if "sent" in state.tensors:
                version = state.counters["sent_version"]
                self._network.put(Message(learner.rank, version, state.tensors["sent"]))

    def _take_turns(self, observe: Observer, interrupts: Interrupts) -> None:
        observed = saved = time.monotonic()
        status = self._status()
        if not status.total_agent_steps:
            saved = float("-inf")  # The first checkpoint is made after the first round.
        while status.total_agent_steps < self._config.steps and not interrupts.count:
            for learner in self._learners:
                # One learning rate per round, as if all learners ran at the same time.
                learner.advance(status.total_agent_steps)
                learner.write_row_if_due(self._status().total_agent_steps)
            status = self._status()
            now = time.monotonic()
            if self._completed or now - observed > _OBSERVE_EVERY_S:
                if self._monitor is not None:
                    self._monitor.poll(status.total_agent_steps)
                request, observed = observe(self._with_notices(status)), now
                if request == "stop":
                    break
                saved = float("-inf") if request == "checkpoint" else saved
            if now - saved > self._config.checkpoint_every:
                self._save()
                saved = time.monotonic()

    def _save(self) -> None:
        status = self._status()
        partial = checkpoints.partial_folder(self._folder.checkpoints, "serial")
        checkpoints.discard(partial)
        for learner in self._learners:
            learner.save(partial, self._network.latest(learner.rank))
        if isinstance(self._coupling, SharedParameters):
            checkpoints.write_shared(partial, self._coupling.tensors())
        steps, kept = status.agent_steps, self._config.checkpoints_kept
        self._completed.append(checkpoints.complete(partial, sum(steps), steps, kept))

    def _with_notices(self, status: RunStatus) -> RunStatus:
        """Add the monitors' notices and checkpoints since the last call, and the consensus row."""
        notices = [] if self._faults is None else self._faults.take_notices()
        status, self._completed = replace(status, checkpoints=self._completed), []
        if self._monitor is None:
            return replace(status, notices=notices)
        notices += self._monitor.take_notices()
        return replace(status, notices=notices, consensus=self._monitor.latest)

    def _status(self) -> RunStatus:
        count = len(self._learners)
        return RunStatus(
            agent_steps=[learner.agent.agent_steps for learner in self._learners],
            updates=[learner.agent.updates for learner in self._learners],
            alive=[True] * count,
            restarts=[0] * count,
        )
