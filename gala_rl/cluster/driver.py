"""The driver of a run on a cluster: supervises nodes, and collects their files in the run folder.

Learners never wait for the driver, and gossip does not pass through it.
"""

import time

import ray

from gala_rl.agent import InitialParameters
from gala_rl.cluster.connection import Connection
from gala_rl.cluster.consensus import ConsensusSampler
from gala_rl.cluster.faults import NodeFaults
from gala_rl.cluster.node import DRIVER_SILENT_S
from gala_rl.cluster.node_handle import NodeHandle, NodeState
from gala_rl.cluster.node_run_folder import (
    append_files,
    checkpoint_files,
    fetch_part,
    fetch_written_parts,
)
from gala_rl.cluster.probe import RestartedNodes
from gala_rl.cluster.protocol import HeartbeatRequest, NodeSpec, NodeStatus
from gala_rl.cluster.scaling import ClusterMembers
from gala_rl.errors import LearnerFailure, StorageError, UserError, counted
from gala_rl.methods import find
from gala_rl.methods.resolving import capacity
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.checkpointer import Checkpointer
from gala_rl.run.learner_spec import FINAL
from gala_rl.run.run_state import progress_at
from gala_rl.run.scaling import Scaling
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters
from gala_rl.run.status import Observer, RunFailure, RunOutcome, RunStatus
from gala_rl.run.supervision import RunSupervisor

_ALL_LOST_S = 60.0
"""A run has failed when no node has answered for this long."""
_OTHERS_S = 15.0
"""Within this time, all nodes that ended their learners without a driver have reported it."""
_END_S = 10.0
_PROGRESS_UPDATES = 100
"""Deaths of a node no longer count once its learners have made this many updates."""


class ClusterRun:
    """Supervises the learners of a run on the machines of a cluster.

    Args:
        connection: connection to the cluster.
        folder: folder of the run, already created.
        initial: parameters of all learners at the start.
        start: checkpoint to continue from; None for a new run.
    """

    def __init__(
        self,
        connection: Connection,
        folder: RunFolder,
        initial: InitialParameters,
        start: Checkpoint | None,
    ) -> None:
        config = self._config = connection.config
        self._connection, self._folder, self._start = connection, folder, start
        # Run states are on the nodes; the driver has counters only, so sizes 1 suffice.
        self._counters = SharedCounters(config.learners, 1, 1, capacity(config))
        self._counters.restore(config.learners, *progress_at(start, config))
        self._gossips = find(config.method).gossips
        self._faults = None if config.fault_plan is None else NodeFaults(folder)
        self._notices: list[str] = []
        self._failure: RunFailure | None = None
        self._answered_at = time.monotonic()
        # A run can continue without nodes that have only actors; their shares are empty.
        actors = connection.actors or (range(0),) * len(connection.nodes)
        self._nodes = [
            NodeHandle(index, actor, connection.shares[index], config.learners, actors[index])
            for index, actor in enumerate(connection.nodes)
        ]
        self._restarted = RestartedNodes(config)
        self._members = ClusterMembers(
            connection, folder, self._counters, self._nodes, self._set_up
        )
        self._consensus: ConsensusSampler | None = None
        if capacity(config) > 1 and self._gossips:
            self._consensus = ConsensusSampler(config, folder, initial.learned, self._nodes)
        self._scaling = Scaling(config, folder, self._counters, self._members, self._consensus)
        self._supervisor = RunSupervisor(
            self._counters,
            Checkpointer(config, folder, self._counters, None, start is not None),
            self._scaling,
            self._consensus,
        )
        for node in self._nodes:
            self._set_up(node)

    @property
    def agent_steps(self) -> list[int]:
        """Agent steps so far, per learner."""
        return self._counters.column(LearnerCounter.AGENT_STEPS)

    def stop(self) -> None:
        """Request a stop of all learners after their current update; observers may call this."""
        self._supervisor.stop()

    def run(self, observe: Observer) -> RunOutcome:
        """Supervise until all learners are done; afterwards no process is left."""
        return self._supervisor.run(self, observe)

    @property
    def failure(self) -> RunFailure | None:
        """See `SupervisedRun`."""
        return self._failure

    def is_over(self) -> bool:
        """See `SupervisedRun`: all nodes that answer are done, or none answers any more."""
        present = [node for node in self._nodes if node.ranks and not node.is_lost]
        if present:
            return all(node.is_done for node in present)
        if not self._counters.stop and time.monotonic() - self._answered_at > _ALL_LOST_S:
            self._fail(f"no node has answered for {_ALL_LOST_S:.0f} s")
        return self._failure is not None

    def _set_up(self, node: NodeHandle) -> None:
        """Make a node start its learners, for the first time or after it was lost."""
        is_restarted = node.incarnation > 0
        start = checkpoint.newest(self._folder.checkpoints) if is_restarted else self._start
        # Lost learners that gossip continue from others; all others from a checkpoint, or anew.
        is_anew = is_restarted and start is None and not self._gossips
        zeros = [0] * len(self.agent_steps)
        joining = self._members.joining_ranks(node)
        needs_checkpoint = start is not None and joining != node.ranks
        spec = NodeSpec(
            node=node.index,
            incarnation=node.incarnation + 1,
            ranks=self._connection.shares,
            files=self._files_for(node),
            agent_steps=zeros if is_anew else self.agent_steps,
            updates=zeros if is_anew else self._counters.column(LearnerCounter.UPDATES),
            checkpoint=checkpoint_files(start, node.ranks) if start and needs_checkpoint else {},
            actors=self._connection.actors,
            change=self._members.newest_change(),
            joining=joining,
            elapsed_s=None if self._faults is None else self._faults.clock.elapsed_if_started_s(),
        )
        node.updates_at_start = self._updates_of(node)
        node.set_up(spec, list(self._members.actors.values()))

    def _files_for(self, node: NodeHandle) -> dict[str, bytes]:
        """Return the content of a node's initial files, by path, and set the node's offsets."""
        folder = self._folder
        files = {path.name: path.read_bytes() for path in folder.config_files if path.is_file()}
        written = [] if self._faults is None else [folder.faults_file]
        for rank in node.share:
            if rank in node.ranks:
                folder.log_file(rank).touch()
            written += [folder.metrics_file(rank), folder.log_file(rank)]
        node.offsets = {}
        for path in written:
            name = str(path.relative_to(folder.path))
            files[name] = path.read_bytes() if path.is_file() else b""
            node.offsets[name] = len(files[name])
        return files

    def poll(self) -> None:
        """See `SupervisedRun`."""
        for node in self._nodes:
            result = node.poll(self._heartbeat_request(node))
            if isinstance(result, NodeStatus):
                self._on_status(node, result)
                if self._faults is not None:
                    # At once, since learners wait until the driver has the rows of their faults.
                    node.send_heartbeat(self._heartbeat_request(node))
            elif result is NodeState.LOST and not node.is_lost:
                node.is_lost = True
                others = "wait for it" if self._is_needed(node) else "go on without it"
                self._notice(node, f"is lost; the others {others}")
            elif result is NodeState.EMPTY:
                self._restart(node)
            elif result is NodeState.FAILED:
                self._on_node_failure(node, f"could not start its learners:\n{node.error}")
            timeout_s = self._config.hang_after
            if node.is_lost and self._is_needed(node) and node.silent_s > timeout_s:
                self._fail(
                    f"{node.name} has not answered for {timeout_s:g} s, and the run cannot go on "
                    f"without it"
                )
            if self._faults is not None and not self._counters.stop:
                self._notices += self._faults.poll(node, *self._first_progress(node))
        if not self._counters.stop:
            self._check_driver_lost()
            fetch_written_parts(self._folder, self._counters, self._nodes, self._gossips)

    def _heartbeat_request(self, node: NodeHandle) -> HeartbeatRequest:
        return HeartbeatRequest(
            self._counters.stop,
            self._counters.requested_checkpoint,
            node.offsets,
            self._members.unconfirmed_change(node),
            self._members.former_progress(),
        )

    def _check_driver_lost(self) -> None:
        """Restart nodes that ended their learners because the driver was silent, or fail."""
        present = [node for node in self._nodes if node.ranks and not node.is_lost]
        ended = [node for node in present if node.driver_lost_at is not None]
        if not ended or self._counters.total_agent_steps >= self._config.steps:
            return
        if self._gossips and len(ended) < len(present):
            for node in ended:
                if time.monotonic() - (node.driver_lost_at or 0.0) > _OTHERS_S:
                    self._notice(
                        node, "was cut off and ended its learners: it is being started again"
                    )
                    node.crash()
            return
        self._fail(
            f"learners have ended since their nodes had not heard from this program for "
            f"{DRIVER_SILENT_S:.0f} s: it was stopped, or cut off"
        )

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or LearnerFailure(reason)

    def _on_node_failure(self, node: NodeHandle, reason: str) -> None:
        """Handle a node that cannot continue: reject it if it is joining, else end the run."""
        if node.joining:
            node.is_lost = True
            self._members.reject(f"node {node.index} {reason}")
        elif node.has_work:
            self._fail(f"node {node.index} {reason}")

    def _is_needed(self, node: NodeHandle) -> bool:
        """Return whether training stops without the node: it has replicas, or the only learner."""
        return len(node.ranks) > 0 and not self._gossips

    def _restart(self, node: NodeHandle) -> None:
        """Set up a node whose Ray actor Ray has restarted, once its machine has been probed."""
        node.is_lost = True
        if self._counters.stop or self._failure is not None or not node.has_work:
            return
        if not self._restarted.is_probed(node):
            if not self._may_restart(node):
                return
            self._restarted.begin(node)
        try:
            if self._restarted.is_fit(node):
                self._set_up(node)
        except UserError as error:
            if node.joining or self._is_needed(node):
                self._on_node_failure(node, f"cannot be started again: {error}")
            else:
                self._notice(node, f"stays lost: {error}")

    def _may_restart(self, node: NodeHandle) -> bool:
        """Count a death of a node; return whether it may be started again."""
        if self._updates_of(node) - node.updates_at_start >= _PROGRESS_UPDATES:
            node.deaths_in_a_row = 0
        node.deaths_in_a_row += 1
        if node.deaths_in_a_row <= self._config.max_restarts:
            return True
        self._on_node_failure(
            node,
            f"died {counted(node.deaths_in_a_row, 'time')} without making {_PROGRESS_UPDATES} "
            f"updates: see Ray's logs on its machine for the reason",
        )
        return False

    def _on_status(self, node: NodeHandle, status: NodeStatus) -> None:
        self._answered_at = time.monotonic()
        if node.is_lost:
            node.is_lost = False
            self._notice(node, "is back")
        self._notices += status.notices
        for rank, *progress in zip(node.share, status.agent_steps, status.updates, strict=True):
            self._counters.raise_progress(rank, *progress)
        for rank, (agent_steps, updates, _ready) in status.former.items():
            self._counters.raise_progress(rank, agent_steps, updates)
        append_files(self._folder, node, status)
        if self._faults is not None:
            self._faults.clock.start_at(status.elapsed_s)
        if status.failure is not None:
            name, text = status.failure
            failures = {kind.__name__: kind for kind in (LearnerFailure, StorageError, UserError)}
            self._failure = self._failure or failures[name](text)

    def may_checkpoint(self) -> bool:
        """See `SupervisedRun`: while the number of learners changes, parts are not whole."""
        return not self._scaling.is_under_way

    def on_shutdown(self) -> None:
        """See `SupervisedRun`."""
        for node in self._nodes:
            try:
                for rank in () if node.is_lost else node.ranks:
                    fetch_part(self._folder, FINAL, node, rank)
            except ray.exceptions.RayError:
                self._notice(node, "did not send its part of a checkpoint")

    def close(self) -> None:
        """See `SupervisedRun`."""
        ends = [node.end() for node in self._nodes if not node.is_lost]
        if ends:
            ray.wait(ends, num_returns=len(ends), timeout=_END_S)
        for node in self._nodes:
            node.kill()
        for instrument in (self._consensus, self._faults):
            if instrument is not None:
                instrument.close()

    def status(self, notices: list[str]) -> RunStatus:
        """See `SupervisedRun`."""
        own, self._notices = self._notices, []
        return RunStatus(
            agent_steps=self.agent_steps,
            updates=self._counters.column(LearnerCounter.UPDATES),
            alive=[alive for node in self._nodes for alive in node.alive],
            restarts=self._members.restarts,
            notices=notices + own,
            consensus=None if self._consensus is None else self._consensus.latest,
        )

    def _notice(self, node: NodeHandle, what: str) -> None:
        self._notices.append(f"{node.name} {what}")

    def _first_progress(self, node: NodeHandle) -> tuple[int, int]:
        """Return updates and agent steps of a node's first learner."""
        get, rank = self._counters.get, node.share[0]
        return get(rank, LearnerCounter.UPDATES), get(rank, LearnerCounter.AGENT_STEPS)

    def _updates_of(self, node: NodeHandle) -> int:
        """Return total updates of a node's learners, or of the learner that its actors serve."""
        get = self._counters.get
        return sum(get(rank, LearnerCounter.UPDATES) for rank in node.share or range(1))
