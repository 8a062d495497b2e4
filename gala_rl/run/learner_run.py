"""Runs one learner: advances its agent, writes metrics rows and its parts of checkpoints."""

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from gala_rl.actors import RemoteActors
from gala_rl.agent import Agent, Timings, build_agent
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.coupling import SharedParameters
from gala_rl.errors import UserError
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.inject import LearnerFaults
from gala_rl.gossip.journal import JournalWriter
from gala_rl.gossip.message import Message
from gala_rl.gossip.transports import Transport
from gala_rl.graph import graph_of
from gala_rl.learners.learner import Coupling, UpdateMetrics
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint, LearnerState
from gala_rl.records.metrics import RECENT_EPISODES, MetricsWriter, mean
from gala_rl.records.replay_file import CHECKSUM, open_replay, write_replay
from gala_rl.records.run_folder import RunFolder
from gala_rl.threads import learner_threads

_ROW_EVERY_S = 2.0
"""Longest time between two metrics rows, unless the user has set `log_every`."""


class LearnerRun:
    """Advances an agent, and writes its metrics and its parts of checkpoints.

    Args:
        config: resolved config of the run.
        rank: rank of the learner.
        transport: sends and receives the learner's messages.
        device: where it learns.
        folder: folder of the run.
        updates: updates made before; they change the seeds of simulators and actions,
            so that a restarted or resumed learner does not repeat its first games.
        journal: records updates and mixes; None if there is no consensus monitor.
        coupling_or_actors: the coupling of learners that do not gossip, or actors on other
            machines: a learner has at most one of these.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        rank: int,
        transport: Transport,
        device: torch.device,
        folder: RunFolder,
        updates: int = 0,
        journal: JournalWriter | None = None,
        coupling_or_actors: Coupling | RemoteActors | None = None,
    ) -> None:
        self.rank = rank
        coupling, remote_actors = coupling_or_actors, None
        if isinstance(coupling, RemoteActors):
            coupling, remote_actors = None, coupling
        self._owns_parameters = not isinstance(coupling, SharedParameters)
        seed = np.random.SeedSequence([config.seed, rank, updates]).generate_state(1)[0]
        self.agent: Agent = build_agent(
            config, rank, transport, device, int(seed), journal, coupling, remote_actors
        )
        self._config = config
        self._writer = MetricsWriter(folder.metrics_file(rank))
        self._recent: deque[float] = deque(maxlen=RECENT_EPISODES)
        self._episodes = 0
        self._process = psutil.Process()
        self._faults: LearnerFaults | None = None
        self._unwritten: tuple[UpdateMetrics, float] | None = None
        self._begin_interval()

    def inject_faults(self, folder: RunFolder, clock: FaultClock) -> None:
        """Inject the faults of the run's plan from now on."""
        self._faults = LearnerFaults(folder, self.rank, clock)
        self._faults.wrap_transport(self.agent.gossip)

    def set_stop_checks(self, stop: NDArray[np.int64] | None, between: Callable[[], bool]) -> None:
        """Handle the supervisor's requests within updates too.

        Args:
            stop: [1] nonzero: drop the current rollout and stop; None: always finish rollouts.
            between: called between rollout and update, and between epochs; returns whether to stop
                there.
        """
        if stop is not None:
            self.agent.source.should_stop = lambda: bool(stop[0])
        self.agent.should_stop = between
        self.agent.learner.should_stop = between

    def advance(self, total_agent_steps: int) -> None:
        """Make one step of the agent: a rollout, an update, and gossip.

        Args:
            total_agent_steps: steps of all learners before this one; sets the learning rate.

        Raises:
            StopRequested: when a stop was requested before the update.
        """
        if self._faults is not None:
            self._faults.before_update(self.agent)
        learning_rate = self._config.learning_rate_at(total_agent_steps)
        self.agent.source.total_agent_steps = total_agent_steps
        metrics = self.agent.step(learning_rate)
        self._unwritten = (metrics, learning_rate)

    def write_row_if_due(self, total_agent_steps: int) -> bool:
        """Write a metrics row if one is due; return whether it was.

        One is due after `log_every` updates. If the user has not set that, one is also due after
        two seconds, so that slow simulators show scores early.
        """
        is_late = time.perf_counter() - self._interval_start > _ROW_EVERY_S
        if self.agent.updates % self._config.updates_per_row and not (
            is_late and self._config.log_every is None
        ):
            return False
        self.write_row(total_agent_steps)
        return True

    @property
    def learners(self) -> int:
        """Number of learners that this learner uses; it may lag behind the run's."""
        return self._config.learners

    def change_learners(self, learners: int) -> None:
        """Adopt a new number of learners: change neighbours, learning rate and threads to match."""
        self._config = replace(self._config, learners=learners)
        topology = graph_of(self._config, learners)
        self.agent.gossip.change_topology(topology)
        self.agent.learner.initial_learning_rate = self._config.initial_learning_rate
        flop, device = self.agent.threads.forward_flop, self.agent.learner.state.device
        self.agent.threads = learner_threads(self._config, flop, device)

    def _begin_interval(self) -> None:
        self._interval_start = time.perf_counter()
        self._cpu_before = time.process_time()
        self._steps_before = self.agent.agent_steps
        self._wait_before = self.agent.gossip.wait_s
        timings = self.agent.timings
        self._timings_before = Timings(timings.rollout_s, timings.update_s, timings.gossip_s)

    def write_row(self, total_agent_steps: int) -> None:
        """Write a metrics row about the updates since the last one, if there were any.

        Args:
            total_agent_steps: agent steps of all learners, including those that the row is about.
        """
        if self._unwritten is None:
            return
        metrics, learning_rate = self._unwritten
        self._unwritten = None
        agent, node = self.agent, self.agent.gossip.node
        episodes = list(agent.source.episodes)
        agent.source.episodes.clear()
        self._episodes += len(episodes)
        self._recent.extend(episode.score for episode in episodes)
        before, now = self._timings_before, agent.timings
        elapsed = time.perf_counter() - self._interval_start
        self._writer.write(
            {
                "time": round(time.time(), 3),
                "learner": self.rank,
                "agent_steps": agent.agent_steps,
                "env_frames": agent.agent_steps * agent.source.frames_per_step,
                "total_agent_steps": total_agent_steps,
                "updates": agent.updates,
                "agent_steps_per_s": (agent.agent_steps - self._steps_before) / elapsed,
                "mean_return": mean(list(self._recent)),
                "episodes": self._episodes,
                "episode_returns": [episode.score for episode in episodes],
                "episode_agent_steps": [episode.agent_steps for episode in episodes],
                "episode_times": [episode.ended_at for episode in episodes],
                **_numbers(metrics),
                **agent.source.take_metrics(),
                "learning_rate": learning_rate,
                "mixes": node.mixes,
                "staleness_updates": node.staleness_updates,
                "rejected": dict(node.rejected),
                "overdue": node.overdue,
                "rollout_s": now.rollout_s - before.rollout_s,
                "update_s": now.update_s - before.update_s,
                "gossip_s": now.gossip_s - before.gossip_s,
                "wait_s": agent.gossip.wait_s - self._wait_before,
                "simulator_failures": agent.source.failures,
                "cores": (time.process_time() - self._cpu_before) / elapsed,
                "rss_mb": self._process.memory_info().rss / 2**20,
            }
        )
        self._begin_interval()

    def save(self, folder: Path, sent: Message | None) -> None:
        """Write this learner's part of a checkpoint.

        Args:
            folder: from `checkpoint.partial_folder`.
            sent: see `state`.

        Raises:
            StorageError: when it cannot be written.
        """
        with self._faults.before_saving(self.agent, folder) if self._faults else nullcontext():
            state = self.state(sent)
            if self._config.algorithm.saves_replay:
                arrays = self.agent.learner.replay_arrays()
                state.counters[CHECKSUM] = write_replay(folder, self.rank, arrays)
            checkpoint.write_part(folder, self.rank, state)

    def state(self, sent: Message | None) -> LearnerState:
        """Return everything that this learner needs to continue.

        Args:
            sent: its latest message, which neighbours may not have mixed yet.
        """
        agent, node = self.agent, self.agent.gossip.node
        tensors = agent.source.state()
        if self._owns_parameters:
            tensors["parameters"] = agent.learner.flat.values
            tensors["optimizer"] = agent.learner.optimizer.state
        else:
            tensors["copy"] = agent.learner.flat.values
        if agent.learner.generator is not None:
            tensors["learner_generator"] = agent.learner.generator.get_state()
        tensors |= agent.learner.tensors()
        if sent is not None:
            tensors["sent"] = sent.parameters
        if "observations" in tensors:
            tensors["discounted_sums"] = agent.normalizer.discounted_sums
        counters = {
            "updates": agent.updates,
            "agent_steps": agent.agent_steps,
            "episodes": self._episodes,
            "recent_returns": list(self._recent),
            "mixes": node.mixes,
            "overdue": node.overdue,
            "rejected": dict(node.rejected),
            "version": node.version,
            "staleness_updates": node.staleness_updates,
            "mixed_versions": {str(j): v for j, v in node.mixed_versions.items()},
            "sent_version": 0 if sent is None else sent.version,
        }
        return LearnerState(tensors, counters)

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint; simulators without a saved state start new games."""
        state = saved.load(self.rank)
        tensors, counters = state.tensors, state.counters
        agent, node = self.agent, self.agent.gossip.node
        self.load(tensors.get("copy", tensors["parameters"]), tensors["optimizer"])
        self._recent.extend(counters["recent_returns"])
        self._episodes = counters["episodes"]
        node.mixes = counters["mixes"]
        node.overdue = counters["overdue"]
        node.rejected = Counter(counters["rejected"])
        self.set_updates(counters["updates"])
        mixed_versions = saved.mixed_versions(self.rank)
        node.restore(counters["version"], mixed_versions, counters["staleness_updates"])
        agent.source.restore(tensors)
        if "observations" in tensors:
            agent.normalizer.discounted_sums.copy_(tensors["discounted_sums"])
        if agent.learner.generator is not None:
            agent.learner.generator.set_state(tensors["learner_generator"])
        agent.learner.restore(tensors)
        if self._config.algorithm.saves_replay:
            self._restore_replay(saved, counters.get(CHECKSUM))

    def _restore_replay(self, saved: Checkpoint, checksum: object) -> None:
        """Continue with the saved replay; without one, or if it is damaged, it is filled anew."""
        try:
            arrays = open_replay(saved.path, self.rank, checksum)
        except UserError:
            return  # The user has been informed before the learners started.
        try:
            self.agent.learner.restore_replay(arrays)
        except ValueError as error:
            raise UserError(
                f"checkpoint {saved.path} is not one that its run can have saved: {error}"
            ) from error

    def load(self, parameters: torch.Tensor, optimizer_state: torch.Tensor) -> None:
        """Load parameters and optimiser state, of another learner or saved by this one."""
        self.agent.learner.flat.load(parameters)
        if self._owns_parameters:
            self.agent.learner.optimizer.state.copy_(optimizer_state)

    def restore_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Continue counting from the metrics rows that this learner wrote before it died."""
        if not rows:
            return
        node, last = self.agent.gossip.node, rows[-1]
        self._recent.clear()
        for row in rows:
            self._recent.extend(row["episode_returns"])
        self._episodes = last["episodes"]
        node.mixes, node.overdue = last["mixes"], last["overdue"]
        node.rejected = Counter(last["rejected"])

    def set_updates(self, updates: int) -> None:
        """Set the counters of a learner that has made this many updates before."""
        self.agent.updates = updates
        self.agent.agent_steps = updates * self._config.update_agent_steps
        self.agent.gossip.node.restore(updates, {}, 0)
        self._begin_interval()

    def close(self) -> None:
        """Close simulators and files."""
        self._writer.close()
        if self._faults is not None:
            self._faults.close()
        self.agent.source.close()


def _numbers(metrics: UpdateMetrics) -> dict[str, float]:
    values = metrics.losses | {
        "grad_norm": metrics.grad_norm,
        "update_norm": metrics.update_norm,
    }
    return {name: float(value) for name, value in values.items()}
