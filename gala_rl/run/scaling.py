"""Another number of learners while a run goes on: the highest ranks leave, or more of them join.

A change in steps, of which no learner waits for another:

1. The board tells the new number. Each member goes by it from its next update on, in a topology of
   that many; whoever has a higher rank ends after the update it is in.
2. Once a member has sent to its new neighbours, those that join start from what it has sent.
3. It is done when all members have made an update by the new number and all others have ended.
"""

from collections.abc import Callable

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.graph import graph_of
from gala_rl.methods import capacity, why_not_scaled
from gala_rl.records import scale_request
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.consensus_monitor import ConsensusMonitor
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_supervisor import LearnerSupervisor
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters


class ScaleRequests:
    """What people ask of a run, held against what it can do.

    Args:
        config: of the run, resolved.
        folder: of the run.
        board: has the number of learners.
    """

    def __init__(self, config: ResolvedConfig, folder: RunFolder, board: SharedCounters) -> None:
        self._config, self._capacity = config, capacity(config)
        self._impossible = why_not_scaled(config)
        self._folder, self._board = folder, board
        self._failure: LearnerFailure | None = None

    def pending(self) -> int | None:
        """The number of learners that is asked for; None if nothing is.

        Raises:
            UserError: when the run cannot have so many.
        """
        learners = scale_request.pending(self._folder)
        if learners is None:
            return None
        if self._impossible is not None:
            raise UserError(self._impossible)
        if not 1 <= learners <= self._capacity or learners == self._board.learners:
            raise UserError(
                f"learners {learners} is impossible: from 1 to {self._capacity}, and not "
                f"the {self._board.learners} that there are"
            )
        graph_of(self._config, learners)
        return learners

    def refuse(self, error: UserError) -> str:
        """The run goes on as it was; returns what to tell."""
        scale_request.refuse(self._folder, error)
        return f"a request to scale was refused: {error}"

    def leave_again(self, before: int, failure: LearnerFailure) -> str:
        """Those that were to join never begin, and so it will end; returns what to tell."""
        self._failure = failure
        return f"learners that cannot join leave again, {before} go on: {failure}"

    def finish(self, before: int) -> str | None:
        """The run goes by the number on the board; returns what to tell if it is a new one.

        Raises:
            StorageError: when the change cannot be recorded.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            scale_request.refuse(self._folder, failure)
            return None
        learners = self._board.learners
        made = self._board.total_agent_steps
        self._folder.note_scale(before, learners, made, self._capacity)
        scale_request.withdraw(self._folder)
        return f"learners: {before} before, {learners} now"


class LocalScaling:
    """Takes up requests for another number of learners, one at a time.

    Args:
        config: of the run, resolved.
        folder: of the run.
        board: where learners see their number.
        crew: who starts them.
        watch: who follows them; None if they don't gossip.
        assign: the assignment of a rank.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        folder: RunFolder,
        board: SharedCounters,
        crew: LearnerSupervisor,
        watch: ConsensusMonitor | None,
        assign: Callable[[int], LearnerSpec],
    ) -> None:
        self._requests = ScaleRequests(config, folder, board)
        self._board = board
        self._crew = crew
        self._watch = watch
        self._assign = assign
        self._before: int | None = None
        self._to_start: range = range(0)

    def poll(self) -> str | None:
        """Go on with the change that is under way, or take one up; called all the while.

        Returns:
            What there is to tell, if anything has happened.

        Raises:
            StorageError: when the change cannot be recorded.
        """
        if self._before is not None:
            return self._go_on(self._before)
        if not self._is_settled():
            return None
        try:
            learners = self._requests.pending()
        except UserError as error:
            return self._requests.refuse(error)
        if learners is not None:
            self._begin(learners)
        return None

    def _begin(self, learners: int) -> None:
        self._before = self._board.learners
        self._to_start = range(self._before, learners)
        if self._watch is not None:
            self._watch.begin_scaling(learners)
        self._board.set_learners(learners)

    def _go_on(self, before: int) -> str | None:
        if self._to_start and self._somebody_has_sent(before):
            for rank in self._to_start:
                self._crew.add(self._assign(rank))
            self._to_start = range(0)
        if (failure := self._crew.take_rejected()) is not None:
            self._board.set_learners(before)
            return self._requests.leave_again(before, failure)
        return self._end(before) if self._is_settled() else None

    def _end(self, before: int) -> str | None:
        if self._watch is not None:
            self._watch.end_scaling(self._board.learners)
        self._before = None
        return self._requests.finish(before)

    def _somebody_has_sent(self, before: int) -> bool:
        """Whether a member has sent to the neighbours that it has by the new number."""
        learners = self._board.learners
        told = self._board.members(LearnerCounter.LEARNERS)[:before]
        return any(
            number == learners and alive
            for number, alive in zip(told, self._crew.alive, strict=False)
        )

    def _is_settled(self) -> bool:
        """Whether all members go by the number on the board, and nobody else is at work."""
        learners = self._board.learners
        told = self._board.members(LearnerCounter.LEARNERS)
        return (
            not self._to_start
            and all(n == learners for n in told)
            and self._crew.all_ended_from(learners)
        )
