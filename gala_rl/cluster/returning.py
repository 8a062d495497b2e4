"""Nodes that Ray has started again, perhaps on another machine: whether learners can run there."""

import time
from concurrent.futures import Future
from functools import cached_property
from typing import Any

import ray

from gala_rl.cluster.connection import PROBED_S, compare, probe_here, values_to_probe
from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError

_ASK_AGAIN_S = 30.0
"""Ray may have moved a node whose machine could not run learners."""


class RestartedNodes:
    """Holds the machine of a node that is back against this one, as those at a run's start are.

    Args:
        config: of the run, resolved.
    """

    def __init__(self, config: ResolvedConfig) -> None:
        self._values = values_to_probe(config)
        self._probes: dict[int, tuple[Future[dict[str, Any]], float]] = {}
        self._told: dict[int, str] = {}

    def has_asked(self, post: NodeHandle) -> bool:
        """Whether it is asked in this life of it, or has answered that it cannot run learners."""
        return post.index in self._probes

    def ask(self, post: NodeHandle) -> None:
        """Ask it what its machine is like."""
        probe = post.probe(self._values, has_learners=bool(post.share))
        self._probes[post.index] = probe, time.monotonic()

    def may_begin(self, post: NodeHandle) -> bool:
        """Whether it has answered, and can run learners; then it is asked no more.

        Raises:
            UserError: when it cannot, once for each reason.
        """
        probe, asked_at = self._probes[post.index]
        waited_s = time.monotonic() - asked_at
        if not probe.done():
            if waited_s > PROBED_S:
                del self._probes[post.index]
            return False
        if isinstance(probe.exception(), ray.exceptions.RayError):
            # It has died once more.
            del self._probes[post.index]
            return False
        try:
            compare([self._here, probe.result()])
        except UserError as error:
            if waited_s > _ASK_AGAIN_S:
                self.ask(post)
            if self._told.get(post.index) == str(error):
                return False
            self._told[post.index] = str(error)
            raise
        del self._probes[post.index]
        self._told.pop(post.index, None)
        return True

    @cached_property
    def _here(self) -> dict[str, Any]:
        return probe_here(self._values)
