"""Settings of algorithms whose learners have actor processes."""

from dataclasses import dataclass, replace
from typing import Self

from gala_rl.config.settings import AlgorithmSettings, setting
from gala_rl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ActorProcessSettings(AlgorithmSettings):
    """Settings of actor processes that share a learner's simulators equally."""

    acts_in_processes = True
    actors: int | None = setting(
        None,
        "actor processes per learner, each with its share of the learner's simulators",
        unset="one per core, minus one for learning",
        minimum=1,
        maximum=1000,
    )
    actor_slots: int = setting(
        2,
        "rollouts per actor that may be queued or in use before the actor waits",
        minimum=1,
        maximum=100,
    )
    batch_rollouts: int | None = setting(
        None,
        "rollouts of actors per update",
        unset="as many as there are actors",
        minimum=1,
    )

    @property
    def actor_count(self) -> int:
        """See `AlgorithmSettings.actor_count`."""
        return self.actors or 1

    @property
    def slots_per_actor(self) -> int:
        """See `AlgorithmSettings.slots_per_actor`."""
        return self.actor_slots

    def simulators(self, published: int) -> int:
        """Return the next number of simulators that the actors can share equally."""
        actors = self.actors or 1
        return -(-published // actors) * actors

    def resolved(self, shared: int, cores: int) -> Self:
        """Return settings with an actor per core, except the learner's, that share equally."""
        most = max(1, min(cores - 1, shared))
        divisor = next(n for n in range(most, 0, -1) if shared % n == 0)
        actors = self.actors or divisor
        return replace(self, actors=actors, batch_rollouts=self.batch_rollouts or actors)

    def batch_simulators(self, simulators: int) -> int:
        """See `AlgorithmSettings`."""
        assert self.actors is not None
        assert self.batch_rollouts is not None
        return simulators // self.actors * self.batch_rollouts

    def check(self, simulators: int, *, is_recurrent: bool, is_serial: bool) -> None:
        """See `AlgorithmSettings.check`."""
        if self.actors is not None and simulators % self.actors:
            raise UserError(
                f"simulators {simulators} cannot be shared equally by {self.actors} actors: "
                f"use a multiple of {self.actors}"
            )
        if is_serial and (self.actors, self.batch_rollouts) != (1, 1):
            raise UserError(
                f"actors {self.actors} and batch_rollouts {self.batch_rollouts} need "
                f"processes: with --serial the learner acts itself; leave them out"
            )
