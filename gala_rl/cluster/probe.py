"""Probes machines: whether learners can run there, with the same software as everywhere else."""

import platform
import time
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property
from importlib import metadata
from typing import Any

import ray
import torch

from gala_rl.agent import initial_parameters_of
from gala_rl.checks import check_rows
from gala_rl.checks.machine import replay_row
from gala_rl.checks.shared_memory import check_shared_memory
from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.config import train as configs
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError
from gala_rl.gossip.own_graph import is_function
from gala_rl.gossip.topology import is_path
from gala_rl.graph import graph_of
from gala_rl.methods import algorithms_of
from gala_rl.methods.resolving import resolve

PACKAGES = ("gala-rl", "torch", "gymnasium", "ale-py")
PROBE_S = 120.0
"""A machine that has not answered a probe within this time cannot run learners."""
_RETRY_S = 30.0
"""Pause before another probe: Ray may have moved the node to a machine that is fit."""


def probe(values: dict[str, Any], *, has_learners: bool) -> dict[str, Any]:
    """Return versions and sizes that all machines must share, or why learners cannot run here.

    Args:
        values: see `config_to_probe`.
        has_learners: whether it will run learners; the driver's machine, and one with actors only,
            need neither GPU nor shared memory for them.
    """
    try:
        config = resolve(configs.from_dict(values, algorithms_of(values)))
    except UserError as error:
        return {"host": platform.node(), "error": str(error)}
    return probe_config(config, has_learners=has_learners)


def probe_config(config: ResolvedConfig, *, has_learners: bool) -> dict[str, Any]:
    """Return the result of `probe` for a resolved config."""
    host = platform.node()
    try:
        parameters = initial_parameters_of(config).parameters.numel()
        if is_function(config.gossip.topology_name):
            graph_of(config, config.learners)
        if has_learners:
            device_of(config)
        versions = {name: metadata.version(name) for name in PACKAGES}
        if has_learners:
            check_shared_memory(config, parameters)
            check_rows([replay_row(config, config.learners_per_node or config.learners)])
    except (UserError, metadata.PackageNotFoundError) as error:
        return {"host": host, "error": str(error)}
    python = ".".join(platform.python_version_tuple()[:2])
    return {"host": host, "python": python, **versions, "parameters": parameters}


def device_of(config: ResolvedConfig) -> str:
    """Return the device of this machine's learners.

    Raises:
        UserError: when the machine does not have it.
    """
    if config.device == "cpu" or not torch.cuda.is_available():
        if config.device == "cuda":
            raise UserError("there is no GPU that PyTorch can use: choose --device cpu")
        return "cpu"
    return "cuda"


def config_to_probe(config: ResolvedConfig) -> dict[str, Any]:
    """Return the values of a config with which nodes are probed."""
    # A file of edges and the run folder are paths on this machine; nodes get their content later.
    gossip = config.gossip
    if is_path(gossip.topology_name):
        gossip = replace(gossip, topology="directed-ring")
    return configs.to_dict(replace(config, gossip=gossip, cluster=None, out=None))


def compare(probes: list[dict[str, Any]]) -> None:
    """Reject machines that cannot run learners, or differ from the first one.

    Raises:
        UserError: naming the machine and what is wrong there.
    """
    first = probes[0]
    for result in probes:
        if "error" in result:
            raise UserError(f"machine {result['host']} cannot run learners: {result['error']}")
        for name in (*PACKAGES, "python", "parameters"):
            if result[name] != first[name]:
                raise UserError(
                    f"machine {result['host']} has {name} {result[name]}, {first['host']} has "
                    f"{first[name]}: install the same on all"
                )


def cannot_run(config: ResolvedConfig, error: Exception) -> UserError:
    """Return the error for a node that could not be probed."""
    reason = str(error).strip().splitlines()[-1]
    return UserError(
        f"cluster {config.cluster!r} cannot run learners: {reason}; install gala-rl on every "
        f"machine, in the Python that Ray runs there"
    )


class RestartedNodes:
    """Probes nodes that Ray has restarted, perhaps on other machines, before they are set up.

    Args:
        config: resolved config of the run.
    """

    def __init__(self, config: ResolvedConfig) -> None:
        self._config, self._values = config, config_to_probe(config)
        self._probes: dict[int, tuple[Future[dict[str, Any]], float]] = {}
        self._errors: dict[int, str] = {}

    def is_probed(self, node: NodeHandle) -> bool:
        """Return whether this incarnation is being probed, or has answered that it cannot run."""
        return node.index in self._probes

    def begin(self, node: NodeHandle) -> None:
        """Probe the node's machine."""
        call = node.probe(self._values, has_learners=bool(node.share))
        self._probes[node.index] = call, time.monotonic()

    def is_fit(self, node: NodeHandle) -> bool:
        """Return whether the node has answered that it can run learners.

        Raises:
            UserError: when it cannot, once per reason.
        """
        call, begun_at = self._probes[node.index]
        waited_s = time.monotonic() - begun_at
        is_dead = call.done() and isinstance(call.exception(), ray.exceptions.RayError)
        if is_dead or not call.done():
            if is_dead or waited_s > PROBE_S:
                del self._probes[node.index]
            return False
        try:
            compare([self._here, call.result()])
        except UserError as error:
            if waited_s > _RETRY_S:
                self.begin(node)
            if self._errors.get(node.index) == str(error):
                return False
            self._errors[node.index] = str(error)
            raise
        del self._probes[node.index]
        self._errors.pop(node.index, None)
        return True

    @cached_property
    def _here(self) -> dict[str, Any]:
        return probe_config(self._config, has_learners=False)
