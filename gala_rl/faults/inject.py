"""What a plan does to one learner, in its own process, exact to the update."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import torch
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

_NO_ROOM = "/dev/full"
"""Whatever is written here meets a full disk."""


class LearnerFaults:
    """Has faults happen to one learner; every one is written down before it does.

    Args:
        folder: of the run, with its plan.
        rank: of the learner.
        clock: of the run.
    """

    def __init__(self, folder: RunFolder, rank: int, clock: FaultClock) -> None:
        clock.clear(rank)
        self._rank, self._clock = rank, clock
        self._log = FaultLog(folder.faults_file, rank)
        plan = read_plan(folder.fault_plan_file)
        mine = [f for f in plan if rank in f.learners and f.index not in self._log.ended]
        self._lasting = [f for f in mine if f.is_lasting]
        self._sudden = [f for f in mine if not f.is_lasting and f.index not in self._log.begun]
        self._transport: FaultyTransport | None = None
        self._resumed_at: float | None = None

    def inject(self, gossip: Gossip) -> None:
        """Put what is to happen to messages, if anything is, between the network and gossip."""
        heard = gossip.node.topology.all_in_neighbours(self._rank)
        heard_on = {(sender, self._rank) for sender in heard}
        self._lasting = [f for f in self._lasting if not f.edges or f.edges & heard_on]
        if faults := [fault for fault in self._lasting if fault.edges]:
            inner = gossip.transport
            self._transport = FaultyTransport(inner, self._rank, faults, self._clock)
            gossip.transport = self._transport

    def before_update(self, agent: Agent) -> None:
        """Do what is due; called before each of the learner's updates.

        Raises:
            StorageError: when it cannot be written down.
        """
        counters = {"updates": agent.updates, "agent_steps": agent.agent_steps}
        now_s = self._clock.elapsed_s()
        if self._transport is not None:
            self._transport.updates = agent.updates
        self._follow_lasting(counters, now_s)
        for fault in self._due(agent.updates, now_s):
            if fault.kind != "disk-full":
                self._sudden.remove(fault)
                self._log.begin(fault, counters)
                self._clock.wait_until_kept(self._log.size)
                self._happen(fault, agent)
                # That was no time of an update's, to be multiplied.
                self._resumed_at = None
                if fault.kind == "stop":
                    self._log.end(fault, counters)
        self._slow_down(agent.updates, now_s)

    @contextmanager
    def before_saving(self, agent: Agent, folder: Path) -> Iterator[None]:
        """Let the disk be full for the learner's part of a checkpoint, if that is due.

        Args:
            agent: the learner's.
            folder: of the checkpoint in the making.
        """
        full = [
            fault
            for fault in self._due(agent.updates, self._clock.elapsed_s())
            if fault.kind == "disk-full"
        ]
        if not full:
            yield
            return
        for fault in full:
            self._sudden.remove(fault)
            self._log.begin(fault, {"updates": agent.updates, "agent_steps": agent.agent_steps})
            self._clock.wait_until_kept(self._log.size)
        folder.mkdir(exist_ok=True)
        counters = checkpoint.counters_in_the_making(folder, self._rank)
        counters.symlink_to(_NO_ROOM)
        try:
            yield
        finally:
            counters.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _due(self, updates: int, now_s: float) -> list[Fault]:
        return [fault for fault in self._sudden if fault.has_come(updates, now_s)]

    def _follow_lasting(self, counters: dict[str, int], now_s: float) -> None:
        for fault in list(self._lasting):
            if fault.is_on(counters["updates"], now_s):
                if fault.index not in self._log.begun:
                    self._log.begin(fault, counters)
            elif fault.index in self._log.begun:
                self._lasting.remove(fault)
                self._log.end(fault, counters | self._seen(fault))

    def _seen(self, fault: Fault) -> dict[str, int]:
        if self._transport is None or not fault.edges or fault.kind == "cut":
            return {}
        return {"messages": self._transport.messages[fault.index]}

    def _happen(self, fault: Fault, agent: Agent) -> None:
        match fault.kind:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                assert fault.seconds is not None
                self._clock.stop(self._rank, fault.seconds)
                os.kill(os.getpid(), signal.SIGSTOP)
                self._clock.clear(self._rank)
            case "nan":
                agent.learner = PoisonedLearner(agent.learner)
            case "simulator-crash":
                simulators = agent.actor.simulators
                assert isinstance(simulators, GymnasiumSimulators)
                guard = simulators.environments[fault.simulator]
                guard.env = Crashing(guard.env)

    def _slow_down(self, updates: int, now_s: float) -> None:
        """Sleep so that the last update took a multiple of its time."""
        factor = 1.0
        for fault in self._lasting:
            if fault.kind == "slow" and fault.is_on(updates, now_s):
                factor *= fault.factor
        if factor > 1.0 and self._resumed_at is not None:
            time.sleep((factor - 1.0) * (time.monotonic() - self._resumed_at))
        self._resumed_at = time.monotonic()


class PoisonedLearner:
    """A learner whose trajectories hold a reward that is no number; see `Learner`.

    Args:
        inner: the learner itself.
    """

    def __init__(self, inner: Learner) -> None:
        self.state, self.flat = inner.state, inner.flat
        self.optimizer, self.generator = inner.optimizer, inner.generator
        self.initial_learning_rate = inner.initial_learning_rate
        self.wants_stop = inner.wants_stop
        self._inner = inner

    def update(
        self, trajectory: Trajectory, learning_rate: float, out: Tensor | None = None
    ) -> UpdateMetrics:
        """See `Learner.update`: neither loss nor gradient are numbers then."""
        trajectory.rewards[0, 0] = torch.nan
        return self._inner.update(trajectory, learning_rate, out)


class Crashing(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that raises at its next step."""

    def step(self, action: Any) -> Any:
        """Always raises."""
        raise RuntimeError("the plan of faults has this simulator crash")
