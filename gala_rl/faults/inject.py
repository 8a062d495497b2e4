"""Injects the faults of a plan into one learner, from its own process, exact to the update."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.agent import Agent
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.log import FaultLog
from gala_rl.faults.plan import Fault, read_plan
from gala_rl.faults.transport import FaultyTransport
from gala_rl.gossip import Gossip
from gala_rl.learners.learner import Learner, UpdateMetrics
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.trajectory import Trajectory

_FULL_DISK = "/dev/full"
"""All writes to this device fail as on a full disk."""


class LearnerFaults:
    """Injects faults into one learner; writes a row to the fault log before each of them.

    Args:
        folder: folder of the run, with its plan.
        rank: rank of the learner.
        clock: clock of the run.
    """

    def __init__(self, folder: RunFolder, rank: int, clock: FaultClock) -> None:
        clock.record_running(rank)
        self._rank, self._clock = rank, clock
        self._log = FaultLog(folder.faults_file, rank)
        plan = read_plan(folder.fault_plan_file)
        own = [f for f in plan if rank in f.learners and f.index not in self._log.ended]
        self._lasting = [f for f in own if f.is_lasting]
        self._sudden = [f for f in own if not f.is_lasting and f.index not in self._log.begun]
        self._transport: FaultyTransport | None = None
        self._slow_since: float | None = None

    def wrap_transport(self, gossip: Gossip) -> None:
        """Wrap the transport of gossip in a faulty one, if the plan has faults of messages."""
        senders = gossip.node.topology.all_in_neighbours(self._rank)
        edges = {(sender, self._rank) for sender in senders}
        self._lasting = [f for f in self._lasting if not f.edges or f.edges & edges]
        if faults := [fault for fault in self._lasting if fault.edges]:
            inner = gossip.transport
            self._transport = FaultyTransport(inner, self._rank, faults, self._clock)
            gossip.transport = self._transport

    def before_update(self, agent: Agent) -> None:
        """Inject what is due before the learner's next update.

        Raises:
            StorageError: when a row cannot be written.
        """
        now_s = self._clock.elapsed_s()
        if self._transport is not None:
            self._transport.updates = agent.updates
        self._record_lasting(agent, now_s)
        for fault in self._due(agent, now_s):
            if fault.kind != "disk-full":
                self._begin(fault, agent)
                self._inject(fault, agent)
                # "slow" multiplies the time of updates, which must not include this fault.
                self._slow_since = None
                if fault.kind == "stop":
                    self._log.record_end(fault, _counters(agent))
        self._slow_down(agent.updates, now_s)

    @contextmanager
    def before_saving(self, agent: Agent, folder: Path) -> Iterator[None]:
        """Make the disk seem full for the learner's part of a checkpoint, if that is due.

        Args:
            agent: agent of the learner.
            folder: folder of the checkpoint's parts, before it is complete.
        """
        due = self._due(agent, self._clock.elapsed_s())
        full = [fault for fault in due if fault.kind == "disk-full"]
        if not full:
            yield
            return
        for fault in full:
            self._begin(fault, agent)
        folder.mkdir(exist_ok=True)
        counters = checkpoint.partial_counters(folder, self._rank)
        counters.symlink_to(_FULL_DISK)
        try:
            yield
        finally:
            counters.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the fault log."""
        self._log.close()

    def _due(self, agent: Agent, now_s: float) -> list[Fault]:
        return [fault for fault in self._sudden if fault.has_begun(agent.updates, now_s)]

    def _begin(self, fault: Fault, agent: Agent) -> None:
        """Log that a sudden fault begins; wait until the row is safe if this machine is lost."""
        self._sudden.remove(fault)
        self._log.record_begin(fault, _counters(agent))
        self._clock.wait_until_copied(self._log.size)

    def _record_lasting(self, agent: Agent, now_s: float) -> None:
        """Log which lasting faults have begun and ended."""
        for fault in list(self._lasting):
            if fault.is_active(agent.updates, now_s):
                if fault.index not in self._log.begun:
                    self._log.record_begin(fault, _counters(agent))
            elif fault.index in self._log.begun:
                self._lasting.remove(fault)
                self._log.record_end(fault, _counters(agent) | self._messages(fault))

    def _messages(self, fault: Fault) -> dict[str, int]:
        if self._transport is None or not fault.edges or fault.kind == "cut":
            return {}
        return {"messages": self._transport.messages[fault.index]}

    def _inject(self, fault: Fault, agent: Agent) -> None:
        match fault.kind:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                assert fault.seconds is not None
                self._clock.record_stop(self._rank, fault.seconds)
                os.kill(os.getpid(), signal.SIGSTOP)
                self._clock.record_running(self._rank)
            case "nan":
                agent.learner = PoisonedLearner(agent.learner)
            case "simulator-crash":
                simulators = agent.actor.simulators
                assert isinstance(simulators, GymnasiumSimulators)
                guard = simulators.environments[fault.simulator]
                guard.env = Crashing(guard.env)

    def _slow_down(self, updates: int, now_s: float) -> None:
        """Sleep so that the last update takes `factor` times as long."""
        factor = 1.0
        for fault in self._lasting:
            if fault.kind == "slow" and fault.is_active(updates, now_s):
                factor *= fault.factor
        if factor > 1.0 and self._slow_since is not None:
            time.sleep((factor - 1.0) * (time.monotonic() - self._slow_since))
        self._slow_since = time.monotonic()


def _counters(agent: Agent) -> dict[str, int]:
    return {"updates": agent.updates, "agent_steps": agent.agent_steps}


class PoisonedLearner:
    """A learner whose trajectories contain a NaN reward; see `Learner`.

    Args:
        inner: the learner that it wraps.
    """

    def __init__(self, inner: Learner) -> None:
        self.state, self.flat = inner.state, inner.flat
        self.optimizer, self.generator = inner.optimizer, inner.generator
        self.initial_learning_rate = inner.initial_learning_rate
        self.should_stop = inner.should_stop
        self._inner = inner

    def update(
        self, trajectory: Trajectory, learning_rate: float, out: Tensor | None = None
    ) -> UpdateMetrics:
        """See `Learner.update`; loss and gradient become NaN."""
        trajectory.rewards[0, 0] = torch.nan
        metrics = self._inner.update(trajectory, learning_rate, out)
        # With a replay, the gradient would be that of some later update.
        return metrics._replace(grad_norm=torch.full_like(metrics.grad_norm, torch.nan))

    def tensors(self) -> dict[str, Tensor]:
        """See `Learner.tensors`."""
        return self._inner.tensors()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Learner.restore`."""
        self._inner.restore(tensors)

    def replay_arrays(self) -> dict[str, NDArray[Any]]:
        """See `Learner.replay_arrays`."""
        return self._inner.replay_arrays()

    def restore_replay(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """See `Learner.restore_replay`."""
        self._inner.restore_replay(arrays)


class Crashing(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that raises at its next step."""

    def step(self, action: Any) -> Any:
        """Raise a RuntimeError."""
        raise RuntimeError("the fault plan makes this simulator crash")
