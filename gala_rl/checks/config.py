"""Checks a whole config: each setting alone, all together, and against this machine.

Imports no torch, unless the user's code does, so that mistakes are reported at once.
"""

from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any

from gala_rl.checks import check_rows
from gala_rl.checks.cluster import cluster_rows, no_cluster_rows
from gala_rl.checks.environment import environment_rows
from gala_rl.checks.fault_plan import check_fault_plan
from gala_rl.checks.learners import learners_rows
from gala_rl.checks.machine import device_rows, memory_rows
from gala_rl.checks.network import check_own_network, network_rows
from gala_rl.checks.replay import learning_rows
from gala_rl.checks.unused import unused_rows
from gala_rl.config.fields import check
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.graph import graph_of
from gala_rl.methods.own import check_learner_module
from gala_rl.methods.resolving import resolve
from gala_rl.sinks.named import logger_rows

_NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


def check_new_config(
    config: TrainConfig, settings: Mapping[str, Any] = _NO_SETTINGS
) -> ResolvedConfig:
    """Check as `check_config` does, and reject what an older run may have.

    That is options without effect, and a number of steps that is too small to learn from any.

    Raises:
        UserError: as `check_config`.
    """
    resolved = _resolve(config, settings)
    check_rows(chain(unused_rows(resolved), learning_rows(resolved)))
    check_resolved(resolved)
    return resolved


def check_config(config: TrainConfig, settings: Mapping[str, Any] = _NO_SETTINGS) -> ResolvedConfig:
    """Check a config; return it resolved, if this machine can run it.

    Args:
        config: config of the run.
        settings: algorithm settings by name; the others are the config's, or the method's own.

    Raises:
        UserError: naming the first thing that is wrong and its remedy.
    """
    resolved = _resolve(config, settings)
    check_resolved(resolved)
    return resolved


def _resolve(config: TrainConfig, settings: Mapping[str, Any]) -> ResolvedConfig:
    """Check each setting alone; return the config, resolved."""
    check(config)
    check_rows(logger_rows(config))
    if config.cluster is not None:
        check_rows(cluster_rows(config, settings))
    return resolve(config, settings)


def check_resolved(config: ResolvedConfig) -> None:
    """Raise a UserError if this machine cannot run a config whose single settings are valid."""
    rows = chain(
        device_rows(config), learners_rows(config), environment_rows(config), network_rows(config)
    )
    if config.cluster is None:
        rows = chain(rows, memory_rows(config), no_cluster_rows(config))
    check_rows(rows)
    if config.cluster is None or config.learners_per_node is not None:
        # Otherwise learners per node follow from the cluster, which checks the graph on connecting.
        graph_of(config, config.learners)
    check_fault_plan(config)
    check_learner_module(config.method)
    check_own_network(config)
