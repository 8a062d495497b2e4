"""Actors in separate processes, whose rollouts reach the learner through a bounded queue."""

from gala_rl.actors.actors import ActorProcesses as ActorProcesses
from gala_rl.actors.remote import RemoteActors as RemoteActors
