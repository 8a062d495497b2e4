"""Changes the number of learners during a run: more join it, or the highest ranks leave it.

It takes these steps, in which no learner waits for another:

1. The supervisor publishes the new number of learners. Members adopt it with their next update, in
   a topology of that size; learners of higher ranks end after their current update.
2. Once a member has sent to its new neighbours, the joining learners start from what it has sent.
3. Scaling ends when all members have made an update with the new number and all others have ended.
"""

from collections.abc import Callable
from typing import Protocol

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.graph import graph_of
from gala_rl.methods.resolving import capacity, why_not_scaled
from gala_rl.records import scale_request
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_supervisor import LearnerSupervisor
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters


class Members(Protocol):
    """Changes the learners of a run, on this machine or on a cluster; no method waits for them."""

    def prepare(self, learners: int) -> bool:
        """Reserve resources for more learners; return whether they are ready; called until then.

        Raises:
            UserError: when they cannot be reserved.
        """

    def cancel(self) -> None:
        """Release what has been reserved."""

    def begin(self, before: int) -> None:
        """Make all learners adopt the new number, which is in the counters, instead of `before`."""

    def revert(self) -> None:
        """Make all learners adopt the former number again, since new ones cannot join."""

    def poll(self) -> LearnerFailure | None:
        """Start joining learners that can start; return why one cannot join, None if all can."""

    def is_settled(self) -> bool:
        """Return whether all members have adopted the number, and all others have ended."""

    def finish(self) -> None:
        """Release what former members used."""


class ScaledMonitor(Protocol):
    """A monitor of distances between learners, which handles changes of their number."""

    def begin_scaling(self, learners: int) -> None:
        """Prepare for a new number of learners."""

    def end_scaling(self, learners: int) -> None:
        """Measure the new number of learners."""


class Scaling:
    """Handles requests to scale, one at a time.

    Args:
        config: resolved config of the run.
        folder: folder of the run, to which requests are written.
        counters: counters from which learners read their number.
        members: the learners.
        monitor: monitor of the distances between them; None if they do not gossip.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        folder: RunFolder,
        counters: SharedCounters,
        members: Members,
        monitor: ScaledMonitor | None,
    ) -> None:
        self._config, self._capacity = config, capacity(config)
        self._impossible = why_not_scaled(config)
        self._folder, self._counters = folder, counters
        self._members, self._monitor = members, monitor
        self._requested: int | None = None
        self._before: int | None = None
        self._failure: LearnerFailure | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether learners may be joining or leaving."""
        return self._before is not None

    def poll(self) -> str | None:
        """Continue scaling, or accept a request; to be called a few times per second.

        Returns:
            A notice, if anything has happened.

        Raises:
            StorageError: when the new number cannot be recorded.
        """
        if self._before is not None:
            return self._continue(self._before)
        try:
            if self._requested is None and self._members.is_settled():
                self._requested = self._read_request()
            if self._requested is not None and self._members.prepare(self._requested):
                self._begin(self._requested)
        except UserError as error:
            self._members.cancel()
            self._requested = None
            scale_request.refuse(self._folder, error)
            return f"a request to scale was refused: {error}"
        return None

    def _read_request(self) -> int | None:
        """Return the requested number of learners, None without a request.

        Raises:
            UserError: when the run cannot have this number of learners.
        """
        learners = scale_request.pending(self._folder)
        if learners is None:
            return None
        if self._impossible is not None:
            raise UserError(self._impossible)
        if not 1 <= learners <= self._capacity or learners == self._counters.learners:
            raise UserError(
                f"learners {learners} is impossible: from 1 to {self._capacity}, and not "
                f"the {self._counters.learners} that there are"
            )
        graph_of(self._config, learners)
        return learners

    def _begin(self, learners: int) -> None:
        before = self._before = self._counters.learners
        self._requested = None
        if self._monitor is not None:
            self._monitor.begin_scaling(learners)
        self._counters.set_learners(learners)
        self._members.begin(before)

    def _continue(self, before: int) -> str | None:
        failure = self._members.poll()
        if failure is not None and self._counters.learners != before:
            self._failure = failure
            self._counters.set_learners(before)
            self._members.revert()
            return f"learners that cannot join leave again, {before} go on: {failure}"
        return self._end(before) if self._members.is_settled() else None

    def _end(self, before: int) -> str | None:
        learners = self._counters.learners
        if self._monitor is not None:
            self._monitor.end_scaling(learners)
        self._before = None
        self._members.finish()
        failure, self._failure = self._failure, None
        if failure is not None:
            scale_request.refuse(self._folder, failure)
            return None
        made = self._counters.total_agent_steps
        self._folder.record_scale(before, learners, made, self._capacity)
        scale_request.withdraw(self._folder)
        return f"learners: {before} before, {learners} now"


class LocalMembers:
    """Members of a run on this machine; see `Members`.

    Args:
        counters: counters from which learners read their number.
        supervisor: supervisor of the learners' processes.
        spec: returns the arguments of the process of a rank.
    """

    def __init__(
        self,
        counters: SharedCounters,
        supervisor: LearnerSupervisor,
        spec: Callable[[int], LearnerSpec],
    ) -> None:
        self._counters, self._supervisor, self._spec = counters, supervisor, spec
        self._to_start = range(0)

    def prepare(self, learners: int) -> bool:
        """See `Members`; memory for all possible learners is reserved from the start."""
        return True

    def cancel(self) -> None:
        """See `Members`; nothing is reserved."""

    def begin(self, before: int) -> None:
        """See `Members`."""
        self._to_start = range(before, self._counters.learners)

    def revert(self) -> None:
        """See `Members`."""
        self._to_start = range(0)

    def poll(self) -> LearnerFailure | None:
        """See `Members`."""
        if self._to_start and self._has_donor():
            for rank in self._to_start:
                self._supervisor.add(self._spec(rank))
            self._to_start = range(0)
        return self._supervisor.take_rejected()

    def is_settled(self) -> bool:
        """See `Members`."""
        learners = self._counters.learners
        adopted = self._counters.members(LearnerCounter.LEARNERS)
        return (
            not self._to_start
            and all(number == learners for number in adopted)
            and self._supervisor.all_ended_from(learners)
        )

    def finish(self) -> None:
        """See `Members`; nothing to release, since memory stays reserved."""

    def _has_donor(self) -> bool:
        """Return whether a live member has made an update with the new number of learners."""
        learners = self._counters.learners
        adopted = self._counters.members(LearnerCounter.LEARNERS)[: self._to_start.start]
        return any(
            number == learners and alive
            for number, alive in zip(adopted, self._supervisor.alive(len(adopted)), strict=True)
        )
