"""A node: a Ray actor that supervises the learners of one machine, as a local run does."""

import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import torch

from gala_rl.actors import RemoteActors
from gala_rl.actors.remote import RolloutBatch, RolloutRequest
from gala_rl.agent import initial_parameters_of
from gala_rl.cluster.gossip_relay import GossipRelay
from gala_rl.cluster.joining import JoiningLearners, catch_up
from gala_rl.cluster.node_run_folder import NodeRunFolder
from gala_rl.cluster.probe import device_of, probe
from gala_rl.cluster.protocol import (
    GOSSIP,
    HeartbeatRequest,
    MessageBatch,
    MessagePrecision,
    NodeSpec,
    NodeStatus,
    ParameterSnapshot,
    ScaleChange,
)
from gala_rl.cluster.rendezvous import ClusterRendezvous
from gala_rl.cluster.rollouts import RolloutServer, make_remote_actors
from gala_rl.coupling.gradients import LOOPBACK, Rendezvous
from gala_rl.gossip.topology import isolated
from gala_rl.graph import graph_of
from gala_rl.methods.resolving import resolve
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_supervisor import LearnerSupervisor, donors_of
from gala_rl.run.run_state import RunState
from gala_rl.run.shared_counters import LearnerCounter

_POLL_EVERY_S = 0.1
_IDLE_S = 0.002
DRIVER_SILENT_S = 60.0
"""A node ends its learners after this long without a call from the driver."""


class Node:
    """Owns the run state of a machine, its learner supervisor, and the relay to other nodes."""

    def __init__(self) -> None:
        self._supervisor: LearnerSupervisor | None = None
        self._relay: GossipRelay | None = None
        self._remote_actors: RemoteActors | None = None
        self._rollout_server: RolloutServer | None = None
        self._ending = self._is_set_up = self._driver_lost = False
        self._threads: list[threading.Thread] = []
        # More threads here would compete with the learners for the cores.
        torch.set_num_threads(1)
        # Spawned learners would import the main module, which here is Ray's worker program.
        vars(sys.modules["__main__"]).pop("__file__", None)

    def probe(self, config: dict[str, Any], has_learners: bool) -> dict[str, Any]:
        """See the function `probe`; called before `set_up`."""
        return probe(config, has_learners=has_learners)

    def set_up(self, spec: NodeSpec, nodes: list[Any]) -> None:
        """Start the learners.

        Args:
            spec: spec of this node.
            nodes: Ray actors of all nodes, by index.
        """
        if self._is_set_up:
            # The driver missed the end of the first call. Ray starts a clean process instead.
            os._exit(1)
        self._is_set_up = True
        self._run_folder = NodeRunFolder(spec)
        config = self._config = resolve(self._run_folder.folder.read_config())
        self._ranks = spec.ranks[spec.node]
        initial, change = initial_parameters_of(config), spec.change
        members = config.learners if change is None else change.learners
        self._state = state = RunState(
            config,
            self._run_folder.folder,
            initial,
            faults=self._run_folder.faults,
            address=ray.util.get_node_ip_address() if len(nodes) > 1 else LOOPBACK,
        )
        state.restore_progress(members, spec.agent_steps, spec.updates)
        self._mailboxes, self._counters = state.mailboxes, state.counters
        self._driver_called_at = time.monotonic()
        self._nodes = dict(enumerate(nodes)) if change is None else change.nodes
        size, rendezvous = initial.parameters.numel(), None
        if isinstance(state.coupling, Rendezvous):
            rendezvous = ClusterRendezvous(state.coupling, spec.node, spec.ranks)
        self._relay = GossipRelay(
            spec,
            graph_of(config, members) if state.coupling is None else isolated(members),
            mailboxes=state.mailboxes,
            counters=state.counters,
            precision=MessagePrecision(config.message_precision, slice(initial.learned, size)),
            silence_s=config.gossip.deadline,
            dispatch=self._dispatch,
            rendezvous=rendezvous,
        )
        self._start_thread(self._run_relay, self._relay)
        if len(spec.actors) > 1 and self._ranks:
            self._remote_actors = make_remote_actors(spec)
        elif len(spec.actors) > 1:
            self._rollout_server = RolloutServer(config, spec, size)
            self._start_thread(self._rollout_server.run, lambda: self._ending)
        is_restarted = spec.incarnation > 1
        if is_restarted and not spec.actors:
            catch_up(self._relay, rendezvous, state, self._ranks)
        self._joining = JoiningLearners(
            state,
            self._ranks,
            lambda rank: self._learner_spec(rank, is_restarted=False),
            0 if change is None else change.number,
            spec.joining,
        )
        first = [rank for rank in self._ranks if rank < members and rank not in spec.joining]
        started: Future[LearnerSupervisor] = Future()
        self._start_thread(self._supervise, started, first, is_restarted)
        self._supervisor = started.result()

    def deliver(self, batch: MessageBatch) -> bool:
        """Receive a batch from another node; return whether this node was ready for it."""
        if self._relay is None:
            return False
        self._relay.receive(batch)
        return True

    def take_rollouts(self, request: RolloutRequest) -> RolloutBatch | None:
        """See `RolloutServer.take_rollouts`."""
        server = self._rollout_server
        return None if server is None else server.take_rollouts(request)

    def heartbeat(self, request: HeartbeatRequest) -> NodeStatus | None:
        """Handle the driver's requests; return the status, None before `set_up`."""
        if self._supervisor is None or self._relay is None:
            return None
        counters = self._counters
        self._driver_called_at = time.monotonic()
        for rank, progress in request.former.items():
            self._relay.record_progress(rank, progress)
        if request.change is not None and request.change.number > self._joining.number:
            self._scale(request.change, self._supervisor, self._relay)
        if request.stop:
            counters.request_stop()
        if request.checkpoint > counters.requested_checkpoint:
            # In this order: a learner that still writes an older part sees that it is obsolete.
            counters.request_checkpoint(request.checkpoint)
            self._run_folder.forget_parts(except_for=request.checkpoint)
        return self._status(request.offsets, self._supervisor, self._relay)

    def _status(
        self, offsets: dict[str, int], supervisor: LearnerSupervisor, relay: GossipRelay
    ) -> NodeStatus:
        server, faults, counters = self._rollout_server, self._state.faults, self._counters
        failure = supervisor.failure or (None if server is None else server.failure)
        # Read before the files: once done, learners append nothing. Counters are read after them:
        # learners of a restarted node continue from counters, which must not lag behind the rows.
        done = supervisor.done and not self._joining.is_waiting
        appended = self._run_folder.appended(offsets)
        written = self._column(LearnerCounter.CHECKPOINT_WRITTEN)
        return NodeStatus(
            agent_steps=self._column(LearnerCounter.AGENT_STEPS),
            updates=self._column(LearnerCounter.UPDATES),
            alive=supervisor.alive(len(self._ranks)),
            restarts=supervisor.restarts(len(self._ranks)),
            written=written,
            notices=[
                notice
                for source in (supervisor, relay, faults, server)
                for notice in (source.take_notices() if source else ())
            ],
            appended=appended,
            done=done,
            failure=None if failure is None else (type(failure).__name__, str(failure)),
            change=self._joining.number,
            learners_seen=self._column(LearnerCounter.LEARNERS),
            former_ended=supervisor.all_ended_from(counters.learners),
            rejected=self._joining.rejected,
            former={
                rank: relay.progress(rank)
                for rank in range(counters.learners, counters.learners_ever)
            },
            elapsed_s=None if faults is None else faults.clock.elapsed_if_started_s(),
            driver_lost=self._driver_lost,
        )

    def _scale(
        self, change: ScaleChange, supervisor: LearnerSupervisor, relay: GossipRelay
    ) -> None:
        self._nodes = {**self._nodes, **change.nodes}
        relay.set_topology(graph_of(self._config, change.learners))
        self._joining.scale(change, supervisor)

    def crash(self) -> None:
        """Kill this process, as if its machine were switched off, for a fault plan."""
        os.kill(os.getpid(), signal.SIGKILL)

    def checkpoint_part(self, request: str, rank: int) -> dict[str, bytes] | None:
        """See `NodeRunFolder.checkpoint_part`."""
        self._driver_called_at = time.monotonic()
        return self._run_folder.checkpoint_part(request, rank)

    def snapshots(self, size: int) -> list[ParameterSnapshot]:
        """Return the latest message of each learner on this node that has sent one.

        Args:
            size: P, number of learned parameters, which come first in a message.
        """
        snapshots = []
        for rank in self._ranks[: self._members] if self._supervisor is not None else ():
            if (message := self._mailboxes.latest(rank)) is not None:
                gradient = np.array(self._counters.gradients[rank][:size].numpy())
                parameters = np.asarray(message.parameters[:size].numpy())
                snapshots.append(ParameterSnapshot(rank, message.version, parameters, gradient))
        return snapshots

    def end(self) -> None:
        """Kill all processes of this node and remove its files."""
        self._ending = True
        for thread in self._threads:
            thread.join()
        if self._supervisor is not None:
            self._run_folder.remove()

    def _dispatch(self, node: int, batch: MessageBatch) -> "Future[bool]":
        deliver = self._nodes[node].deliver.options(concurrency_group=GOSSIP)
        future: Future[bool] = deliver.remote(batch).future()
        return future

    def _start_thread(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=_run_or_exit, args=(work, *arguments), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _supervise(
        self, started: "Future[LearnerSupervisor]", ranks: list[int], is_restarted: bool
    ) -> None:
        """Start and supervise learners, in one thread: the kernel kills them when it ends."""
        try:
            supervisor = LearnerSupervisor(self._learner_spec(rank, is_restarted) for rank in ranks)
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(supervisor)
        try:
            while not self._ending:
                time.sleep(_POLL_EVERY_S)
                supervisor.poll()
                self._joining.poll(supervisor)
                if self._state.faults is not None:
                    ids = zip(self._ranks, supervisor.process_ids, strict=False)
                    self._state.faults.continue_stopped(ids)
                is_silent = time.monotonic() - self._driver_called_at > DRIVER_SILENT_S
                if is_silent and not (self._counters.stop or supervisor.done):
                    self._driver_lost = True
                    self._counters.request_stop()
        finally:
            supervisor.kill_all()

    def _learner_spec(self, rank: int, is_restarted: bool) -> LearnerSpec:
        device, checkpoint = device_of(self._config), self._run_folder.checkpoint
        spec = self._state.learner_spec(rank, device, checkpoint, self._remote_actors)
        if is_restarted and (donors := donors_of(spec)):
            return replace(spec, donors=donors, checkpoint=None)
        return spec

    def _run_relay(self, relay: GossipRelay) -> None:
        while not self._ending:
            if not relay.send_due():
                time.sleep(_IDLE_S)
            relay.check_silence()

    @property
    def _members(self) -> int:
        """Number of members of the run on this node."""
        return min(max(0, self._counters.learners - self._ranks.start), len(self._ranks))

    def _column(self, counter: LearnerCounter) -> list[int]:
        return [self._counters.get(rank, counter) for rank in self._ranks]


def _run_or_exit(work: Any, *arguments: Any) -> None:
    """Call `work`, and exit the process if it fails, so that Ray restarts the node."""
    try:
        work(*arguments)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
