"""A node: the learners of one machine of a cluster, supervised there, as a Ray actor."""

import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import ray
import torch

from gala_rl.actors import RemoteActors
from gala_rl.actors.remote import RolloutBatch, RolloutRequest
from gala_rl.agent import initial_parameters_of
from gala_rl.cluster.catching_up import catch_up
from gala_rl.cluster.gossip_relay import GossipRelay, RayRemoteCall, RemoteCall
from gala_rl.cluster.joining import JoiningLearners
from gala_rl.cluster.node_run_folder import NodeRunFolder
from gala_rl.cluster.probe import device_of, probe
from gala_rl.cluster.protocol import (
    HeartbeatRequest,
    MessageBatch,
    MessagePrecision,
    NodeSpec,
    NodeStatus,
    ParameterSnapshot,
    ProgressSamples,
    ScaleChange,
)
from gala_rl.cluster.rendezvous import ClusterRendezvous
from gala_rl.cluster.rollouts import (
    ROLLOUTS,
    RolloutServer,
    make_remote_actors,
)
from gala_rl.coupling.gradients import LOOPBACK, Rendezvous
from gala_rl.faults.sampler import ProgressSampler
from gala_rl.gossip.topology import isolated
from gala_rl.graph import graph_of
from gala_rl.methods import resolve
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_supervisor import LearnerSupervisor, donors_of
from gala_rl.run.run_state import make_run_state
from gala_rl.run.shared_counters import LearnerCounter

GOSSIP, REPORTS = "gossip", "reports"
CONCURRENCY_GROUPS = {GOSSIP: 1, REPORTS: 1, ROLLOUTS: 1}
"""Neither waits for the other, nor for a node that starts or ends its learners."""

_Value = TypeVar("_Value")

_LOOK_EVERY_S = 0.1
_IDLE_S = 0.002
DRIVER_SILENT_S = 60.0
"""Learners end when the driver has not asked for anything for so long."""


class Node:
    """Owns what the learners of a machine share, their crew, and the courier to other nodes."""

    def __init__(self) -> None:
        self._crew: LearnerSupervisor | None = None
        self._courier: GossipRelay | None = None
        self._introductions: ClusterRendezvous | None = None
        self._elsewhere: RemoteActors | None = None
        self._host: RolloutServer | None = None
        self._sampler: ProgressSampler | None = None
        self._ending = self._has_begun = self._left_alone = False
        self._threads: list[threading.Thread] = []
        # The cores are the learners'; more threads here would spin on them.
        torch.set_num_threads(1)
        # Learners are told to import the main module again: here it is Ray's, of no use to them.
        vars(sys.modules["__main__"]).pop("__file__", None)

    def probe(self, values: dict[str, Any], has_learners: bool) -> dict[str, Any]:
        """See the function; asked for before anything is started."""
        return probe(values, has_learners=has_learners)

    def set_up(self, orders: NodeSpec, others: list[Any]) -> None:
        """Start the learners.

        Args:
            orders: what to do.
            others: the actors of all nodes, by index.
        """
        if self._has_begun:
            # The driver missed the end of the first call: what lives here would be in the way.
            os._exit(1)
        self._has_begun = True
        self._place = NodeRunFolder(orders)
        config = self._config = resolve(self._place.folder.read_config())
        self._ranks = orders.ranks[orders.node]
        initial, change = initial_parameters_of(config), orders.change
        size = initial.parameters.numel()
        count = config.learners if change is None else change.learners
        address = ray.util.get_node_ip_address() if len(others) > 1 else LOOPBACK
        self._state = make_run_state(
            config, self._place.folder, initial, faults=self._place.faults, address=address
        )
        self._state.restore_progress(count, orders.agent_steps, orders.updates)
        self._mailboxes, self._board = self._state.mailboxes, self._state.counters
        self._faults = self._state.faults
        self._driver_asked_at = time.monotonic()
        coupling = self._state.coupling
        if isinstance(coupling, Rendezvous):
            self._introductions = ClusterRendezvous(coupling, orders.node, orders.ranks)
        self._actors = dict(enumerate(others)) if change is None else change.actors
        self._courier = GossipRelay(
            orders,
            graph_of(config, count) if coupling is None else isolated(count),
            mailboxes=self._mailboxes,
            board=self._board,
            packing=MessagePrecision(config.message_precision, slice(initial.learned, size)),
            silence_s=config.gossip.deadline,
            dispatch=self._dispatch,
            introductions=self._introductions,
        )
        self._start_thread(self._carry, self._courier)
        if len(orders.actors) > 1:
            self._share_actors(orders, others, size)
        is_back = orders.incarnation > 1
        if is_back and not orders.actors:
            told = self._courier, self._introductions
            catch_up(*told, self._mailboxes, self._board, self._ranks, config)
        self._joining = JoiningLearners(
            self._ranks,
            self._mailboxes,
            self._board,
            config.steps,
            lambda rank: self._assignment(rank, is_back=False),
            0 if change is None else change.number,
            orders.joins,
        )
        started: Future[LearnerSupervisor] = Future()
        first = [rank for rank in self._ranks if rank < count and rank not in orders.joins]
        self._start_thread(self._keep, started, first, is_back)
        self._crew = started.result()

    def deliver(self, parcel: MessageBatch) -> bool:
        """Take in what another node has sent; returns whether that was possible already."""
        if self._courier is None:
            return False
        self._courier.take(parcel)
        return True

    def take_rollouts(self, request: RolloutRequest) -> RolloutBatch | None:
        """See `RolloutServer.take_rollouts`."""
        return None if self._host is None else self._host.take_rollouts(request)

    def report(self, wishes: HeartbeatRequest) -> NodeStatus | None:
        """What has happened since the last one; None if this node was not set up, or not again."""
        if self._crew is None or self._courier is None:
            return None
        crew, host = self._crew, self._host
        failure = crew.failure or (None if host is None else host.failure)
        self._driver_asked_at = time.monotonic()
        for rank, counters in wishes.left.items():
            self._courier.count(rank, counters)
        if wishes.change is not None and wishes.change.number > self._joining.number:
            self._follow(wishes.change, crew, self._courier)
        if wishes.stop:
            self._board.ask_to_stop()
        if wishes.checkpoint > self._board.checkpoint_wanted:
            # Whoever still writes a part of one before has to see that nobody waits for it.
            self._board.ask_for_checkpoint(wishes.checkpoint)
            self._place.forget_parts(but=wishes.checkpoint)
        done = crew.done and not self._joining.is_waiting
        written = self._column(LearnerCounter.CHECKPOINT_WRITTEN)
        return NodeStatus(
            agent_steps=self._column(LearnerCounter.AGENT_STEPS),
            updates=self._column(LearnerCounter.UPDATES),
            alive=self._of_all(crew.alive, False),
            restarts=self._of_all(crew.restarts, 0),
            written=written,
            notices=[
                notice
                for teller in (crew, self._courier, self._faults, host)
                for notice in (teller.take_notices() if teller else ())
            ],
            news=self._place.news(wishes.read),
            done=done,
            failure=None if failure is None else (type(failure).__name__, str(failure)),
            change=self._joining.number,
            told=self._column(LearnerCounter.LEARNERS),
            has_let_go=crew.all_ended_from(self._board.learners),
            rejected=self._joining.rejected,
            left={
                rank: self._courier.counters(rank)
                for rank in range(self._board.learners, self._board.learners_ever)
            },
            elapsed_s=None if self._faults is None else self._faults.clock.elapsed_if_begun_s(),
            left_alone=self._left_alone,
        )

    def _follow(self, change: ScaleChange, crew: LearnerSupervisor, courier: GossipRelay) -> None:
        """Go by another number of learners, and to other nodes."""
        self._actors = {**self._actors, **change.actors}
        courier.go_by(graph_of(self._config, change.learners))
        self._joining.go_by(change, crew)

    def looks(self, life_ns: int, seen: int) -> ProgressSamples | None:
        """How far the learners here were when, from the first call on; None before their start.

        Args:
            life_ns: `ProgressSamples.life_ns` of the last answer, 0 before the first.
            seen: looks that have been told in that life.
        """
        if self._crew is None:
            return None
        if self._sampler is None:
            self._sampler = ProgressSampler(
                lambda: self._column(LearnerCounter.AGENT_STEPS)[: self._members]
            )
        life = self._sampler.began_ns
        samples = self._sampler.samples(seen if life == life_ns else 0)
        return ProgressSamples(life, time.time(), samples)

    def die(self) -> None:
        """End as a node whose machine is switched off does, since a plan of faults says so."""
        os.kill(os.getpid(), signal.SIGKILL)

    def part(self, request: str, rank: int) -> dict[str, bytes] | None:
        """See `NodeRunFolder.part`."""
        self._driver_asked_at = time.monotonic()
        return self._place.part(request, rank)

    def sights(self, size: int) -> list[ParameterSnapshot]:
        """What the learners here have last sent, of those that have.

        Args:
            size: P of the parameters that learn, which come first in a message.
        """
        seen = []
        for rank in self._ranks[: self._members] if self._crew is not None else ():
            if (message := self._mailboxes.latest(rank)) is not None:
                gradient = np.array(self._board.gradients[rank][:size].numpy())
                parameters = np.asarray(message.parameters[:size].numpy())
                seen.append(ParameterSnapshot(rank, message.version, parameters, gradient))
        return seen

    def end(self) -> None:
        """Kill who still lives and remove this node's files."""
        self._ending = True
        for thread in self._threads:
            thread.join()
        if self._crew is not None:
            self._place.remove()

    def _dispatch(self, other: int, parcel: MessageBatch) -> RemoteCall:
        deliver = self._actors[other].deliver.options(concurrency_group=GOSSIP)
        return RayRemoteCall(deliver.remote(parcel))

    def _share_actors(self, orders: NodeSpec, others: list[Any], size: int) -> None:
        """One node has the learner, and some of its actors; the others have the rest."""
        if not self._ranks:
            self._host = RolloutServer(self._config, orders, size)
            self._start_thread(self._host.run, lambda: self._ending)
            return
        self._elsewhere = make_remote_actors(orders, others)

    def _start_thread(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=_or_die, args=(work, *arguments), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _keep(self, started: "Future[LearnerSupervisor]", ranks: list[int], is_back: bool) -> None:
        """Start learners, and look after them until the end, in a thread of their own."""
        try:
            crew = LearnerSupervisor(self._assignment(rank, is_back) for rank in ranks)
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(crew)
        try:
            while not self._ending:
                time.sleep(_LOOK_EVERY_S)
                crew.poll()
                self._joining.look(crew)
                if self._faults is not None:
                    self._faults.wake(zip(self._ranks, crew.process_ids, strict=False))
                is_silent = time.monotonic() - self._driver_asked_at > DRIVER_SILENT_S
                if is_silent and not (self._board.stop or crew.done):
                    self._left_alone = True
                    self._board.ask_to_stop()
        finally:
            crew.kill_all()

    def _assignment(self, rank: int, is_back: bool) -> LearnerSpec:
        device = device_of(self._config)
        assignment = self._state.learner_spec(rank, device, self._place.start, self._elsewhere)
        if is_back and (donors := donors_of(assignment)):
            return replace(assignment, donors=donors, checkpoint=None)
        return assignment

    def _carry(self, courier: GossipRelay) -> None:
        while not self._ending:
            if not courier.carry():
                time.sleep(_IDLE_S)
            courier.mind_silence()

    @property
    def _members(self) -> int:
        """Number of this node's learners that are members."""
        return min(max(0, self._board.learners - self._ranks.start), len(self._ranks))

    def _column(self, cell: LearnerCounter) -> list[int]:
        return [self._board.get(rank, cell) for rank in self._ranks]

    def _of_all(self, values: list[_Value], missing: _Value) -> list[_Value]:
        """One of each learner that there can be here, of which the last may never have joined."""
        return values + [missing] * (len(self._ranks) - len(values))


def _or_die(work: Any, *arguments: Any) -> None:
    """A node without one of its threads is no node: Ray logs why, and starts it again."""
    try:
        work(*arguments)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
