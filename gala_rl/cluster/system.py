"""A run on a cluster, seen from the driver: asks nodes for reports, and keeps the run's folder.

Nothing that learners do waits for the driver: gossip goes from node to node. What is asked for here
is what people look at, and what is to be kept.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray

from gala_rl import errors
from gala_rl.cluster.connection import Connection
from gala_rl.cluster.wire import Orders, Report, Wishes
from gala_rl.errors import StorageError
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.assignment import FINAL
from gala_rl.systems.board import Board, Cell
from gala_rl.systems.interrupts import Interrupts
from gala_rl.systems.saving import Saving
from gala_rl.systems.status import Failure, Observer, Outcome, Status

_GROUP = "reports"
_LOOK_EVERY_S = 0.2
_STOP_S = 60.0
"""After a request to stop, nodes whose learners are not done by then are ended."""
_LOST_S = 30.0
"""When all others are done, a node that is gone is not waited for any longer."""
_PATIENCE_S = 30.0
"""For an answer that takes no work."""


@dataclass
class _Post:
    """The driver's view of one node."""

    index: int
    actor: Any
    ranks: range
    call: Any = None
    starting: Any = None
    latest: Report | None = None
    alive: list[bool] = field(default_factory=list)
    restarts: list[int] = field(default_factory=list)
    lost_restarts: list[int] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    is_down: bool = False
    heard_at: float = 0.0
    starts: int = 0

    @property
    def done(self) -> bool:
        return self.latest is not None and self.latest.done


class ClusterSystem:
    """Watches the learners of a run on the machines of a cluster.

    Args:
        connection: to the cluster.
        folder: of the run, created.
        start: what to continue from.
    """

    def __init__(self, connection: Connection, folder: RunFolder, start: Checkpoint | None) -> None:
        config = self._config = connection.config
        self._folder, self._start, self._connection = folder, start, connection
        # Of what learners share with their supervisor the driver has the counters alone.
        self._board = Board(config.resolved_learners, 1, 1)
        if start is not None:
            for rank, agent_steps in enumerate(start.manifest["learner_agent_steps"]):
                self._board.set(rank, Cell.AGENT_STEPS, agent_steps)
                updates = agent_steps // config.update_agent_steps
                self._board.set(rank, Cell.UPDATES, updates)
        self._saving = Saving(config, folder, self._board, None)
        self._notices: list[str] = []
        self._failure: Failure | None = None
        self._stop_wanted = False
        self._posts = [
            _Post(index, actor, ranks)
            for index, (actor, ranks) in enumerate(
                zip(connection.nodes, connection.ranks, strict=True)
            )
        ]
        for post in self._posts:
            self._set_up(post)

    @property
    def agent_steps(self) -> list[int]:
        """Made by each learner so far, as far as is known."""
        return self._board.column(Cell.AGENT_STEPS)

    def stop(self) -> None:
        """Ask all learners to end after the update they are in; may be called by the observer."""
        self._stop_wanted = True

    def run(self, observe: Observer) -> Outcome:
        """Watch until all learners are done; always ends with no process left."""
        stop_asked_at: float | None = None
        try:
            with Interrupts() as interrupts:
                while not self._is_over():
                    time.sleep(_LOOK_EVERY_S)
                    if interrupts.count or self._failure is not None:
                        self.stop()
                    if self._stop_wanted and stop_asked_at is None:
                        self._board.ask_to_stop()
                        stop_asked_at = time.monotonic()
                    with self._ending_on_a_full_disk():
                        self._look_after()
                        if stop_asked_at is None:
                            self._save_regularly()
                        observe(self._status())
                    if stop_asked_at is not None and time.monotonic() - stop_asked_at > _STOP_S:
                        break
            with self._ending_on_a_full_disk():
                self._collect(FINAL, self._posts)
        finally:
            self._end()
        status = self._status()
        with self._ending_on_a_full_disk():
            self._saving.save_final()
            observe(status)
        return Outcome(status, interrupts.count > 0, self._failure)

    @contextmanager
    def _ending_on_a_full_disk(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            self._failure = self._failure or error

    def _is_over(self) -> bool:
        now = time.monotonic()
        return all(
            post.done or (post.is_down and now - post.heard_at > _LOST_S) for post in self._posts
        ) and any(post.done for post in self._posts)

    def _set_up(self, post: _Post) -> None:
        """Have a node start its learners, whether for the first time or after it was lost."""
        files = {
            path.name: path.read_bytes()
            for path in (
                self._folder.config_file,
                self._folder.topology_file,
                self._folder.fault_plan_file,
            )
            if path.is_file()
        }
        post.read = {}
        for rank in post.ranks:
            for path in (self._folder.metrics_file(rank), self._folder.log_file(rank)):
                name = str(path.relative_to(self._folder.path))
                files[name] = path.read_bytes() if path.is_file() else b""
                post.read[name] = len(files[name])
        orders = Orders(
            node=post.index,
            ranks=self._connection.ranks,
            files=files,
            agent_steps=self.agent_steps,
            updates=self._board.column(Cell.UPDATES),
            parts=self._parts_for(post) if post.starts == 0 else {},
        )
        post.starts += 1
        post.latest, post.call = None, None
        post.heard_at = time.monotonic()
        post.starting = post.actor.set_up.remote(orders, list(self._connection.nodes))

    def _parts_for(self, post: _Post) -> dict[str, bytes]:
        """Files of the checkpoint to continue from, as far as a node's learners need them."""
        if self._start is None:
            return {}
        saved = self._start.learners()
        wanted = {rank for rank in post.ranks if rank in saved} | {saved[0]}
        stems = [f"learner_{rank:02d}" for rank in wanted]
        return {
            path.name: path.read_bytes()
            for path in self._start.path.iterdir()
            if path.stem in stems
        }

    def _look_after(self) -> None:
        for post in self._posts:
            if post.starting is not None and not self._has_started(post):
                continue
            if post.call is None:
                wishes = Wishes(self._board.stop, self._board.checkpoint_wanted, post.read)
                post.call = post.actor.report.options(concurrency_group=_GROUP).remote(wishes)
            elif _has_ended(post.call):
                call, post.call = post.call, None
                self._take(post, call)

    def _has_started(self, post: _Post) -> bool:
        if not _has_ended(post.starting):
            return False
        starting, post.starting = post.starting, None
        try:
            ray.get(starting)
        except ray.exceptions.RayTaskError as error:
            self._failure = self._failure or errors.LearnerFailure(
                f"node {post.index} could not start its learners:\n{error}"
            )
        except ray.exceptions.RayError:
            self._lose(post)
        return True

    def _take(self, post: _Post, call: Any) -> None:
        try:
            report: Report | None = ray.get(call)
        except ray.exceptions.RayError:
            self._lose(post)
            return
        if post.is_down:
            post.is_down = False
            self._notices.append(f"node {post.index} is back")
        post.heard_at = time.monotonic()
        if report is None:
            if post.starts and post.latest is not None:
                # Ray has started the actor again; of what was there nothing is left.
                post.lost_restarts = [n + 1 for n in post.restarts]
                self._set_up(post)
            return
        post.latest = report
        post.alive = report.alive
        lost = post.lost_restarts or [0] * len(post.ranks)
        post.restarts = [n + more for n, more in zip(lost, report.restarts, strict=True)]
        self._notices += report.notices
        for rank, steps, updates in zip(
            post.ranks, report.agent_steps, report.updates, strict=True
        ):
            self._board.set(rank, Cell.AGENT_STEPS, max(steps, self.agent_steps[rank]))
            self._board.set(rank, Cell.UPDATES, updates)
        self._append(post, report)
        if report.failure is not None:
            kind, text = report.failure
            self._failure = self._failure or getattr(errors, kind)(text)
        wanted = self._board.checkpoint_wanted
        if wanted and min(report.written) >= wanted > self._board.get(
            post.ranks[0], Cell.CHECKPOINT_WRITTEN
        ):
            self._collect(str(wanted), [post])
            for rank in post.ranks:
                self._board.set(rank, Cell.CHECKPOINT_WRITTEN, wanted)

    def _lose(self, post: _Post) -> None:
        if not post.is_down:
            post.is_down = True
            post.heard_at = time.monotonic()
            post.alive = [False] * len(post.ranks)
            self._notices.append(f"node {post.index} is lost; the others go on without it")

    def _append(self, post: _Post, report: Report) -> None:
        for name, content in report.news.items():
            if content:
                try:
                    with (self._folder.path / name).open("ab") as file:
                        file.write(content)
                except OSError as error:
                    raise StorageError(
                        f"{self._folder.path / name} cannot be written ({error.strerror})"
                    ) from error
                post.read[name] = post.read.get(name, 0) + len(content)

    def _collect(self, request: str, posts: list[_Post]) -> None:
        """Fetch parts of a checkpoint in the making into the run's folder."""
        folder = checkpoint.partial_folder(self._folder.checkpoints, request)
        for post in posts:
            for rank in post.ranks:
                try:
                    part = post.actor.part.options(concurrency_group=_GROUP)
                    files = ray.get(part.remote(request, rank), timeout=_PATIENCE_S)
                except ray.exceptions.RayError:
                    self._lose(post)
                    break
                if files is not None:
                    checkpoint.copy_part(folder, files)

    def _save_regularly(self) -> None:
        if (notice := self._saving.save_regularly()) is not None:
            self._notices.append(notice)

    def _status(self) -> Status:
        notices, self._notices = self._notices, []
        return Status(
            agent_steps=self.agent_steps,
            updates=self._board.column(Cell.UPDATES),
            alive=[ok for post in self._posts for ok in post.alive or [True] * len(post.ranks)],
            restarts=[n for post in self._posts for n in post.restarts or [0] * len(post.ranks)],
            notices=notices,
        )

    def _end(self) -> None:
        ends = [post.actor.end.remote() for post in self._posts if not post.is_down]
        ray.wait(ends, num_returns=len(ends), timeout=_PATIENCE_S) if ends else None
        for post in self._posts:
            ray.kill(post.actor)


def _has_ended(reference: Any) -> bool:
    ended, _ = ray.wait([reference], timeout=0)
    return bool(ended)
