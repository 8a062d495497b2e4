"""Nodes that a test plays: what the driver calls of a node's actor, without Ray."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray

from gala_rl.cluster.probe import probe
from gala_rl.cluster.protocol import HeartbeatRequest, NodeSpec, NodeStatus
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve

CONFIG = resolve(
    TrainConfig(env="CartPole-v1", learners=2, learners_per_node=1, cluster="auto", max_restarts=1)
)


class Answer:
    """What Ray gives for a call: a future with its result."""

    def __init__(self, result: Any) -> None:
        self._future: Future[Any] = Future()
        if isinstance(result, Exception):
            self._future.set_exception(result)
        else:
            self._future.set_result(result)

    def future(self) -> "Future[Any]":
        return self._future


class Method:
    """A method of a fake node's actor."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def options(self, **options: Any) -> "Method":
        return self

    def remote(self, *arguments: Any) -> Answer:
        try:
            return Answer(self._call(*arguments))
        except ray.exceptions.RayError as error:
            return Answer(error)


class FakeNode:
    """A node of one learner, which makes ten updates a report until it is asked to stop."""

    def __init__(self, rank: int) -> None:
        self.rank, self.updates = rank, 0
        self.spec: list[NodeSpec] = []
        self.is_set_up = self.is_dead = self.is_driver_lost = False
        self.crash = Method(self._crash)
        self.set_up = Method(self._set_up)
        self.heartbeat = Method(self._heartbeat)
        self.snapshots = Method(lambda size: [])
        self.checkpoint_part = Method(self._part)
        self.parts: list[str] = []
        self.host: dict[str, Any] = {}
        self.probe = Method(
            lambda values, has_learners: probe(values, has_learners=has_learners) | self.host
        )

    def _crash(self) -> None:
        self.is_set_up = self.is_driver_lost = False

    def _set_up(self, spec: NodeSpec, actors: list[Any]) -> None:
        self.spec.append(spec)
        self.is_set_up = True

    def _part(self, request: str, rank: int) -> dict[str, bytes] | None:
        self._check_there()
        self.parts.append(request)
        stem = f"learner_{rank:02d}"
        counters = b'{"agent_steps": 0, "version": 0, "mixed_versions": {}}'
        return {f"{stem}.safetensors": b"tensors", f"{stem}.json": counters}

    def _check_there(self) -> None:
        if self.is_dead:
            raise ray.exceptions.RayActorError

    def _heartbeat(self, request: HeartbeatRequest) -> NodeStatus | None:
        self._check_there()
        if not self.is_set_up:
            return None
        self.updates += 0 if self.is_driver_lost else 10
        line = f"{self.updates}\n".encode()
        news = (
            {}
            if request.stop or self.is_driver_lost
            else {f"logs/learner_{self.rank:02d}.log": line}
        )
        return NodeStatus(
            agent_steps=[50 * self.updates],
            updates=[self.updates],
            alive=[True],
            restarts=[0],
            written=[request.checkpoint],
            notices=[],
            appended=news,
            done=request.stop or self.is_driver_lost,
            failure=None,
            driver_lost=self.is_driver_lost,
        )
