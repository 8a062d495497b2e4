"""Runs actors of one learner on other nodes, and calls them from the learner's process.

The learner's process is itself a Ray driver, so that no other process has to copy rollouts.
"""

import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from functools import partial

import numpy as np
import ray
import torch

from gala_rl.actors import ActorProcesses, RemoteActors
from gala_rl.actors.remote import CallNode, RolloutBatch, RolloutRequest
from gala_rl.agent import build_model
from gala_rl.cluster.protocol import ROLLOUTS, NodeSpec, unpack
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import make_simulators
from gala_rl.errors import ActorFailure, LearnerFailure, SimulatorFailure
from gala_rl.gossip.mixing import defect

_ANSWER_S = 0.2
"""Longest wait for a rollout per call; short, since parameters arrive only with calls."""
_POLL_EVERY_S = 0.1
"""Longest wait for messages of actors, after which `run` checks for dead actors and for its end."""


class RolloutServer:
    """Runs this node's actors for a learner on another node.

    One thread calls `run`, and the actors end with it; other threads may call `take_rollouts`.

    Args:
        config: resolved config of the run.
        spec: spec of this node.
        size: P, length of a parameter vector.

    Attributes:
        failure: error that ends the run; None if there is none.
    """

    def __init__(self, config: ResolvedConfig, spec: NodeSpec, size: int) -> None:
        self.failure: LearnerFailure | None = None
        self._config, self._node, self._indices = config, spec.node, spec.actors[spec.node]
        # With the incarnation, so that a restarted node does not repeat random numbers.
        seeds = [config.seed, spec.node, spec.incarnation, *spec.updates]
        self._seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
        self._values = torch.zeros(size)
        self._actors: ActorProcesses | None = None
        self._version: int | None = None
        self._has_rollouts = threading.Condition()
        self._deaths = self._reported_deaths = 0

    def run(self, is_ending: Callable[[], bool]) -> None:
        """Start the actors and restart those that die, until `is_ending()`."""
        config, make_model = self._config, partial(build_model, self._config)
        try:
            simulators = make_simulators(config.source, 1, 1)
            actors = ActorProcesses(
                config, 0, make_model, self._values, simulators, self._seed, local=self._indices
            )
            with closing(actors):
                self._actors = actors
                while not is_ending():
                    # Without the lock, so that a call can take rollouts meanwhile.
                    actors.wait(_POLL_EVERY_S)
                    with self._has_rollouts:
                        actors.poll()
                        self._deaths = actors.deaths
                        self._has_rollouts.notify()
        except (ActorFailure, SimulatorFailure) as error:
            self.failure = LearnerFailure(f"{error} on {socket.gethostname()}, in Ray's logs there")

    def take_rollouts(self, request: RolloutRequest) -> RolloutBatch | None:
        """Pass the request's parameters to the actors and return finished rollouts; wait briefly.

        Returns:
            The rollouts; None while actors are not ready or lack the parameters of that version.
        """
        if (actors := self._actors) is None:
            return None
        actors.set_progress(request.agent_steps)
        parameters = None if request.parameters is None else unpack(request.parameters)
        if parameters is not None and defect(parameters, self._values.numel()) is None:
            with self._has_rollouts:
                actors.set_parameters(request.version, parameters)
            self._version = request.version
        if self._version != request.version:
            return None  # They were sent to an earlier incarnation of this node.
        with self._has_rollouts:
            take = partial(actors.take_rollouts, request.room)
            rollouts = self._has_rollouts.wait_for(take, _ANSWER_S)
            return RolloutBatch(rollouts, self._deaths)

    def take_notices(self) -> list[str]:
        """Return notices since the last call, one line each."""
        deaths, self._reported_deaths = self._deaths - self._reported_deaths, self._deaths
        if not deaths:
            return []
        actors = f"actors {self._indices[0]} to {self._indices[-1]}"
        restarted = f"{deaths} died and {'were' if deaths > 1 else 'was'} restarted"
        return [f"node {self._node} ({actors}): {restarted}"]


def make_remote_actors(spec: NodeSpec) -> RemoteActors:
    """Return the actors of a learner on other nodes than its own.

    Args:
        spec: spec of the learner's node.
    """
    by_node = {node: actors for node, actors in enumerate(spec.actors) if node != spec.node}
    names = {node: node_name(node) for node in by_node}
    address = ray.get_runtime_context().gcs_address
    return RemoteActors(by_node, partial(_connect, address, names))


def node_name(node: int) -> str:
    """Return the name by which any process of this run can look up a node's Ray actor."""
    return f"node {node} of {ray.get_runtime_context().get_job_id()}"


def _connect(address: str, names: dict[int, str]) -> CallNode:
    """Join the cluster as a driver; return the function that calls a node."""
    ray.init(address=address, namespace="gala", log_to_driver=False, logging_level=logging.CRITICAL)
    nodes = {node: ray.get_actor(name) for node, name in names.items()}

    def call(node: int, request: RolloutRequest) -> "Future[RolloutBatch | None]":
        take_rollouts = nodes[node].take_rollouts.options(concurrency_group=ROLLOUTS)
        future: Future[RolloutBatch | None] = take_rollouts.remote(request).future()
        return future

    return call
