"""Gossip for learners of Stable-Baselines3, as a callback; needs the extra `sb3`.

This module alone imports Stable-Baselines3, and nothing here imports this module.
"""

from typing import Literal

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from gala_rl.errors import UserError
from gala_rl.flat import FlatParameters, flat_size
from gala_rl.gossip import Gossip, SharedMailboxes, Topology, directed_ring


def make_mailboxes(model: BaseAlgorithm, learners: int) -> SharedMailboxes:
    """Return mailboxes for learners whose policies are like that of a model.

    Args:
        model: such as `PPO("MlpPolicy", "CartPole-v1")`.
        learners: number of learners.
    """
    return SharedMailboxes(learners, flat_size(model.policy))


class GossipCallback(BaseCallback):
    """Averages a model's policy with those of its neighbours after each update of the model.

    With it, `model.learn(steps, callback=GossipCallback(mailboxes, rank))` in a process per learner
    is GALA. A learner that is started again continues from its last message.

    Args:
        mailboxes: of all learners, from `make_mailboxes`.
        rank: rank of this learner.
        topology: default: a directed ring.
        when: see `Gossip`.
        max_staleness: see `Gossip`.

    Attributes:
        gossip: gossip of this learner, once training has begun.
    """

    gossip: Gossip

    def __init__(
        self,
        mailboxes: SharedMailboxes,
        rank: int,
        topology: Topology | None = None,
        *,
        when: Literal["all", "any"] = "all",
        max_staleness: int | None = None,
    ) -> None:
        super().__init__()
        self._mailboxes, self._rank = mailboxes, rank
        self._topology = topology or directed_ring(mailboxes.learners)
        self._when, self._max_staleness = when, max_staleness
        self._updates = 0

    def _init_callback(self) -> None:
        """Move the policy's parameters into one vector; continue from the last message, if any."""
        size = flat_size(self.model.policy)
        if size != self._mailboxes.size:
            raise UserError(
                f"mailboxes have room for {self._mailboxes.size:,} parameters, and the policy has "
                f"{size:,}: make them with make_mailboxes(model, learners)"
            )
        self.gossip = Gossip(
            FlatParameters(self.model.policy).values,
            self._mailboxes.transport(self._rank),
            self._rank,
            self._topology,
            when=self._when,
            max_staleness=self._max_staleness,
        )
        self._updates = self._updates_made()
        last = self._mailboxes.latest(self._rank)
        if last is not None:
            self.gossip.resume(last)

    def _on_rollout_start(self) -> None:
        """Gossip between the last update and the first action of the new policy."""
        if self._updates_made() > self._updates:
            self._updates = self._updates_made()
            self.gossip.exchange()

    def _on_step(self) -> bool:
        """Continue; updates are made between rollouts."""
        return True

    def _on_training_end(self) -> None:
        """Gossip after the last update."""
        self._on_rollout_start()

    def _updates_made(self) -> int:
        """Return a number that grows with each update of the model."""
        updates: int = self.model._n_updates
        return updates
