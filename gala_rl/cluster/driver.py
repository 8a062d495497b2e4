"""A run on a cluster, seen from the driver: asks nodes for reports, and keeps the run's folder.

Nothing that learners do waits for the driver: gossip goes from node to node. What is asked for here
is what people look at, and what is to be kept.
"""

import time

import ray

from gala_rl.agent import InitialParameters
from gala_rl.cluster.connection import Connection
from gala_rl.cluster.distances import ConsensusSampler
from gala_rl.cluster.faults import NodeFaults
from gala_rl.cluster.fetching import append_news, fetch_part, fetch_written
from gala_rl.cluster.node import DRIVER_SILENT_S
from gala_rl.cluster.node_handle import NodeHandle, NodeState
from gala_rl.cluster.node_run_folder import files_of
from gala_rl.cluster.protocol import HeartbeatRequest, NodeSpec, NodeStatus
from gala_rl.cluster.returning import RestartedNodes
from gala_rl.cluster.scaling import ClusterMembers
from gala_rl.errors import LearnerFailure, StorageError, UserError, counted
from gala_rl.methods import capacity, find
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
"""A run of which no node has been heard for so long has failed."""
_OTHERS_S = 15.0
"""By then it is known of all nodes whether they too were left alone."""
_END_S = 10.0
_PROGRESS_UPDATES = 100
"""A node whose learners make this many updates has its earlier deaths forgiven."""


class ClusterRun:
    """Watches the learners of a run on the machines of a cluster.

    Args:
        connection: to the cluster.
        folder: of the run, created.
        beginning: what all learners begin with.
        start: what to continue from.
    """

    def __init__(
        self,
        connection: Connection,
        folder: RunFolder,
        beginning: InitialParameters,
        start: Checkpoint | None,
    ) -> None:
        config = self._config = connection.config
        self._connection, self._folder, self._start = connection, folder, start
        # Of what learners share with their supervisor the driver has the counters alone.
        self._board = SharedCounters(config.learners, 1, 1, capacity(config))
        self._board.restore(config.learners, *progress_at(start, config))
        saving = Checkpointer(config, folder, self._board, None, start is not None)
        self._supervision = RunSupervisor(self._board, saving)
        self._distances: ConsensusSampler | None = None
        self._gossips = find(config.method).gossips
        if capacity(config) > 1 and self._gossips:
            self._distances = ConsensusSampler(config, folder, beginning.learned)
        self._faults: NodeFaults | None = None
        if config.fault_plan is not None:
            self._faults = NodeFaults(folder)
        self._notices: list[str] = []
        self._failure: RunFailure | None = None
        self._heard_at = time.monotonic()
        self._shares = connection.shares
        # With actors on all nodes, those without a learner can be done without.
        actors = connection.actors or (range(0),) * len(connection.nodes)
        self._posts = [
            NodeHandle(index, actor, self._shares[index], config.learners, actors[index])
            for index, actor in enumerate(connection.nodes)
        ]
        self._returning = RestartedNodes(config)
        self._members = ClusterMembers(connection, folder, self._board, self._posts, self._set_up)
        self._scaling = Scaling(config, folder, self._board, self._members, self._distances)
        for post in self._posts:
            self._set_up(post)

    @property
    def agent_steps(self) -> list[int]:
        """Made by each learner so far, as far as is known."""
        return self._board.column(LearnerCounter.AGENT_STEPS)

    def stop(self) -> None:
        """Ask all learners to end after the update they are in; may be called by the observer."""
        self._supervision.stop()

    def run(self, observe: Observer) -> RunOutcome:
        """Watch until all learners are done; always ends with no learner left."""
        return self._supervision.run(self, observe)

    @property
    def failure(self) -> RunFailure | None:
        """See `SupervisedRun`."""
        return self._failure

    def is_over(self) -> bool:
        """See `SupervisedRun`: all nodes that answer are done, or none has answered for long."""
        there = [post for post in self._posts if post.ranks and not post.is_lost]
        if there:
            return all(post.is_done for post in there)
        if not self._board.stop and time.monotonic() - self._heard_at > _ALL_LOST_S:
            self._failure = self._failure or LearnerFailure(
                f"no node has answered for {_ALL_LOST_S:.0f} s"
            )
        return self._failure is not None

    def _set_up(self, post: NodeHandle) -> None:
        """Have a node start its learners, whether for the first time or after it was lost."""
        folder, faults = self._folder, self._faults
        files = {
            path.name: path.read_bytes()
            for path in (folder.config_file, folder.topology_file, folder.fault_plan_file)
            if path.is_file()
        }
        written = [folder.faults_file] if faults is not None else []
        for rank in post.share:
            if rank in post.ranks:
                folder.log_file(rank).touch()
            written += [folder.metrics_file(rank), folder.log_file(rank)]
        post.read = {}
        for path in written:
            name = str(path.relative_to(folder.path))
            files[name] = path.read_bytes() if path.is_file() else b""
            post.read[name] = len(files[name])
        again = post.incarnation > 0
        start = checkpoint.newest(self._folder.checkpoints) if again else self._start
        # What gossips goes on from others; what does not, from a checkpoint or from nothing.
        is_new = again and start is None and not self._gossips
        nothing = [0] * len(self.agent_steps)
        joins = self._members.joins(post)
        needs_none = start is None or joins == post.ranks
        orders = NodeSpec(
            node=post.index,
            incarnation=post.incarnation + 1,
            ranks=self._shares,
            files=files,
            agent_steps=nothing if is_new else self.agent_steps,
            updates=nothing if is_new else self._board.column(LearnerCounter.UPDATES),
            parts={} if start is None or needs_none else files_of(start, post.ranks),
            actors=self._connection.actors,
            change=self._members.change(),
            joins=joins,
            elapsed_s=None if faults is None else faults.clock.elapsed_if_begun_s(),
        )
        post.updates_at_start = self._updates_of(post)
        post.set_up(orders, list(self._members.actors.values()))

    def poll(self) -> None:
        """See `SupervisedRun`."""
        for post in self._posts:
            seen = post.look(self._wishes(post))
            if isinstance(seen, NodeStatus):
                self._take(post, seen)
                if self._faults is not None:
                    # Learners wait to be told that what is to happen is written down.
                    post.ask(self._wishes(post))
            elif seen is NodeState.LOST and not post.is_lost:
                post.is_lost = True
                others = "wait for it" if self._is_needed(post) else "go on without it"
                self._tell(post, f"is lost; the others {others}")
            elif seen is NodeState.EMPTY:
                self._start_again(post)
            elif seen is NodeState.FAILED:
                self._give_up(post, f"could not start its learners:\n{post.error}")
            patience_s = self._config.hang_after
            if post.is_lost and self._is_needed(post) and post.silent_s > patience_s:
                self._failure = self._failure or LearnerFailure(
                    f"{post.name} has not answered for {patience_s:g} s, and nobody can go on "
                    f"without it"
                )
            if self._faults is not None and not self._board.stop:
                self._notices += self._faults.look(post, *self._first_of(post))
        if not self._board.stop:
            self._mind_left_alone()
            fetch_written(self._folder, self._board, self._posts, self._gossips)

    def _wishes(self, post: NodeHandle) -> HeartbeatRequest:
        return HeartbeatRequest(
            self._board.stop,
            self._board.checkpoint_wanted,
            post.read,
            self._members.change_for(post),
            self._members.left(),
        )

    def _mind_left_alone(self) -> None:
        """Go on where nodes have ended their learners, since nobody had asked for a minute."""
        there = [post for post in self._posts if post.ranks and not post.is_lost]
        alone = [post for post in there if post.left_alone_at is not None]
        if not alone or self._board.total_agent_steps >= self._config.steps:
            return
        if self._gossips and len(alone) < len(there):
            for post in alone:
                if time.monotonic() - (post.left_alone_at or 0.0) > _OTHERS_S:
                    self._tell(post, "was left alone and ended its learners: it is started again")
                    post.strike()
            return
        self._failure = self._failure or LearnerFailure(
            f"learners have ended since nobody had asked for them for {DRIVER_SILENT_S:.0f} s: "
            f"this program was stopped, or cut off"
        )

    def _give_up(self, post: NodeHandle, why: str) -> None:
        """A node cannot go on: the run ends, unless it does without that node."""
        if post.joins:
            post.is_lost = True
            self._members.reject(f"node {post.index} {why}")
        elif post.is_wanted:
            self._failure = self._failure or LearnerFailure(f"node {post.index} {why}")

    def _is_needed(self, post: NodeHandle) -> bool:
        """Whether a node has replicas, or the one learner: nothing is learned without it."""
        return len(post.ranks) > 0 and not self._gossips

    def _start_again(self, post: NodeHandle) -> None:
        """Ray has started a dead node's actor again; of what was there nothing is left."""
        post.is_lost = True
        if self._board.stop or self._failure is not None or not post.is_wanted:
            return
        if not self._returning.has_asked(post) and self._has_patience(post):
            self._returning.ask(post)
        if not self._returning.has_asked(post):
            return
        try:
            if self._returning.may_begin(post):
                self._set_up(post)
        except UserError as error:
            if post.joins or self._is_needed(post):
                self._give_up(post, f"cannot be started again: {error}")
            else:
                self._tell(post, f"stays lost: {error}")

    def _has_patience(self, post: NodeHandle) -> bool:
        """Whether a node that has died is to be started again."""
        if self._updates_of(post) - post.updates_at_start >= _PROGRESS_UPDATES:
            post.deaths_in_a_row = 0
        post.deaths_in_a_row += 1
        if post.deaths_in_a_row <= self._config.max_restarts:
            return True
        self._give_up(
            post,
            f"died {counted(post.deaths_in_a_row, 'time')} without making {_PROGRESS_UPDATES} "
            f"updates: what its machine's Ray has logged may tell why",
        )
        return False

    def _take(self, post: NodeHandle, report: NodeStatus) -> None:
        self._heard_at = time.monotonic()
        if post.is_lost:
            post.is_lost = False
            self._tell(post, "is back")
        self._notices += report.notices
        own = zip(post.share, report.agent_steps, report.updates, strict=True)
        left = ((rank, *counters[:2]) for rank, counters in report.left.items())
        for rank, *counters in (*own, *left):
            for cell, value in zip(
                (LearnerCounter.AGENT_STEPS, LearnerCounter.UPDATES), counters, strict=True
            ):
                self._board.set(rank, cell, max(value, self._board.get(rank, cell)))
        append_news(self._folder, post, report)
        if self._faults is not None:
            self._faults.clock.begin_at(report.elapsed_s)
        if report.failure is not None:
            kind, text = report.failure
            failures = {kind.__name__: kind for kind in (LearnerFailure, StorageError, UserError)}
            self._failure = self._failure or failures[kind](text)

    def scale(self) -> str | None:
        """See `SupervisedRun`: learners may join or leave, and nodes with them."""
        return self._scaling.poll()

    def may_checkpoint(self) -> bool:
        """See `SupervisedRun`: while the number of learners changes, parts are not whole."""
        return not self._scaling.is_under_way

    def sample_consensus(self) -> None:
        """See `SupervisedRun`."""
        if self._distances is not None:
            self._distances.poll(self._posts, self._board.total_agent_steps)

    def on_shutdown(self) -> None:
        """See `SupervisedRun`."""
        for post in self._posts:
            try:
                for rank in () if post.is_lost else post.ranks:
                    fetch_part(self._folder, FINAL, post, rank)
            except ray.exceptions.RayError:
                self._tell(post, "could not be asked for its part of a checkpoint")
        if self._distances is not None:
            self._distances.sample(self._posts, self._board.total_agent_steps)

    def close(self) -> None:
        """See `SupervisedRun`."""
        ends = [post.end() for post in self._posts if not post.is_lost]
        if ends:
            ray.wait(ends, num_returns=len(ends), timeout=_END_S)
        for post in self._posts:
            post.kill()
        for instrument in (self._distances, self._faults):
            if instrument is not None:
                instrument.close()

    def status(self, notices: list[str]) -> RunStatus:
        """See `SupervisedRun`."""
        news, self._notices = self._notices, []
        return RunStatus(
            agent_steps=self.agent_steps,
            updates=self._board.column(LearnerCounter.UPDATES),
            alive=[alive for post in self._posts for alive in post.alive],
            restarts=self._members.restarts,
            notices=notices + news,
            consensus=None if self._distances is None else self._distances.latest,
        )

    def _tell(self, post: NodeHandle, what: str) -> None:
        self._notices.append(f"{post.name} {what}")

    def _first_of(self, post: NodeHandle) -> tuple[int, int]:
        """Updates and agent steps of a node's first learner."""
        cells = LearnerCounter.UPDATES, LearnerCounter.AGENT_STEPS
        updates, agent_steps = (self._board.get(post.share[0], cell) for cell in cells)
        return updates, agent_steps

    def _updates_of(self, post: NodeHandle) -> int:
        # Actors are judged by what is learned meanwhile.
        return sum(self._board.get(rank, LearnerCounter.UPDATES) for rank in post.share or range(1))
