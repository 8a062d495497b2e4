"""Actors in processes of their own, whose rollouts wait in a bounded queue for the learner."""

from gala_rl.queued.actors import QueuedActors as QueuedActors
from gala_rl.queued.elsewhere import Elsewhere as Elsewhere
