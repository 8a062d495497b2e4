"""Actors in processes of their own, whose rollouts wait in a bounded queue for the learner."""

from gala_rl.actors.actors import ActorProcesses as ActorProcesses
from gala_rl.actors.remote import RemoteActors as RemoteActors
