"""All learners in one process, taking turns: deterministic, reproducible, easy to debug."""

import time
from dataclasses import replace

import torch

from gala_rl.agent import InitialParameters
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.coupling import SharedParameters
from gala_rl.envs import seeded_generators
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.monitor import FaultMonitor
from gala_rl.gossip import MemoryNetwork, Message
from gala_rl.gossip.journal import Journal
from gala_rl.graph import graph_of
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.consensus_monitor import ConsensusMonitor, make_consensus_monitor
from gala_rl.run.coupling import SharedCoupling, couple, make_shared_coupling
from gala_rl.run.interrupts import Interrupts
from gala_rl.run.learner_run import LearnerRun
from gala_rl.run.status import Observer, RunOutcome, RunStatus

_OBSERVE_EVERY_S = 0.5


def run_serial(
    config: ResolvedConfig,
    folder: RunFolder,
    device: torch.device,
    beginning: InitialParameters,
    start: Checkpoint | None,
    observe: Observer,
) -> RunOutcome:
    """Train until the budget is spent or the user interrupts; always ends with a checkpoint.

    Args:
        config: of the run, resolved.
        folder: of the run, created.
        device: where all learners learn.
        beginning: what all of them begin with.
        start: what to continue from.
        observe: told how it goes.
    """
    done = 0 if start is None else start.agent_steps
    with seeded_generators(config.seed, done):
        return _run(config, folder, device, beginning, start, observe)


def _run(
    config: ResolvedConfig,
    folder: RunFolder,
    device: torch.device,
    beginning: InitialParameters,
    start: Checkpoint | None,
    observe: Observer,
) -> RunOutcome:
    torch.set_num_threads(config.threads_per_learner())
    keep_freed_memory()
    network = MemoryNetwork(config.learners)
    common = make_shared_coupling(config, folder, beginning, start)
    journal = _make_journal(config) if common is None else None
    learners = [
        _make_learner(config, rank, network, device, folder, start, journal, common)
        for rank in range(config.learners)
    ]
    faults = _make_faults(folder, learners) if config.fault_plan is not None else None
    watch = _make_watch(config, folder, learners, beginning.learned, network, journal, start)
    if start is not None:
        _send_again(network, learners, start)

    def tell(status: RunStatus) -> None:
        observe(_told(status, watch, faults))

    try:
        with Interrupts() as interrupts:
            _take_turns(config, folder, learners, network, common, watch, tell, interrupts)
            interrupted = interrupts.count > 0
            for learner in learners:
                learner.write_row(_status(learners).total_agent_steps)
            if watch is not None:
                watch.look(_status(learners).total_agent_steps)
            _save(config, folder, learners, network, common)
        return RunOutcome(_told(_status(learners), watch, faults), interrupted)
    finally:
        for learner in learners:
            learner.close()
        if watch is not None:
            watch.close()


def _make_faults(folder: RunFolder, learners: list[LearnerRun]) -> FaultMonitor:
    """Have the faults of the run's plan happen to the learners."""
    clock = FaultClock(len(learners))
    watch = FaultMonitor(clock, folder.faults_file)
    for learner in learners:
        learner.suffer(folder, clock)
    return watch


def _make_journal(config: ResolvedConfig) -> Journal | None:
    """None for one learner alone."""
    count = config.learners
    return Journal(count, graph_of(config, count).largest_in_degree) if count > 1 else None


def _make_watch(
    config: ResolvedConfig,
    folder: RunFolder,
    learners: list[LearnerRun],
    learned: int,
    network: MemoryNetwork,
    journal: Journal | None,
    start: Checkpoint | None,
) -> ConsensusMonitor | None:
    if journal is None:
        return None
    flats = [learner.agent.learner.flat for learner in learners]
    watch = make_consensus_monitor(
        config,
        folder,
        learned,
        journal.reader(),
        network.latest,
        [flat.grads for flat in flats],
    )
    if start is not None:
        watch.begin_apart(start)
    return watch


def _make_learner(
    config: ResolvedConfig,
    rank: int,
    network: MemoryNetwork,
    device: torch.device,
    folder: RunFolder,
    start: Checkpoint | None,
    journal: Journal | None,
    common: SharedCoupling | None,
) -> LearnerRun:
    transport = network.transport(rank)
    coupling = couple(common, rank)
    writer = None if journal is None else journal.writer(rank)
    if start is None:
        return LearnerRun(config, rank, transport, device, folder, 0, writer, coupling)
    updates = start.counters(rank)["updates"]
    learner = LearnerRun(config, rank, transport, device, folder, updates, writer, coupling)
    learner.restore(start)
    return learner


def _send_again(network: MemoryNetwork, learners: list[LearnerRun], start: Checkpoint) -> None:
    """Put the messages that were under way at the checkpoint under way again."""
    for learner in learners:
        state = start.load(learner.rank)
        if "sent" in state.tensors:
            message = Message(learner.rank, state.counters["sent_version"], state.tensors["sent"])
            network.put(message)


def _take_turns(
    config: ResolvedConfig,
    folder: RunFolder,
    learners: list[LearnerRun],
    network: MemoryNetwork,
    common: SharedCoupling | None,
    watch: ConsensusMonitor | None,
    observe: Observer,
    interrupts: Interrupts,
) -> None:
    observed = saved = time.monotonic()
    status = _status(learners)
    if not status.total_agent_steps:
        saved = float("-inf")  # The first checkpoint is made after the first round.
    while status.total_agent_steps < config.steps and not interrupts.count:
        for learner in learners:
            # A round goes by one learning rate, as learners do that run at the same time.
            learner.advance(status.total_agent_steps)
            learner.write_row_if_due(_status(learners).total_agent_steps)
        status = _status(learners)
        now = time.monotonic()
        if now - observed > _OBSERVE_EVERY_S:
            if watch is not None:
                watch.follow(status.total_agent_steps)
            observe(status)
            observed = now
        if now - saved > config.checkpoint_every:
            _save(config, folder, learners, network, common)
            saved = time.monotonic()


def _save(
    config: ResolvedConfig,
    folder: RunFolder,
    learners: list[LearnerRun],
    network: MemoryNetwork,
    common: SharedCoupling | None,
) -> None:
    status = _status(learners)
    partial = checkpoint.partial_folder(folder.checkpoints, "serial")
    checkpoint.discard(partial)
    for learner in learners:
        learner.save(partial, network.latest(learner.rank))
    if isinstance(common, SharedParameters):
        checkpoint.write_shared(partial, common.tensors())
    checkpoint.complete(
        partial, status.total_agent_steps, status.agent_steps, config.checkpoints_kept
    )


def _told(
    status: RunStatus, watch: ConsensusMonitor | None, faults: FaultMonitor | None
) -> RunStatus:
    """The status with what the watches have to tell."""
    notices = [] if faults is None else faults.take_notices()
    if watch is None:
        return replace(status, notices=notices)
    return replace(status, notices=notices + watch.take_notices(), consensus=watch.latest)


def _status(learners: list[LearnerRun]) -> RunStatus:
    count = len(learners)
    return RunStatus(
        agent_steps=[learner.agent.agent_steps for learner in learners],
        updates=[learner.agent.updates for learner in learners],
        alive=[True] * count,
        restarts=[0] * count,
    )
