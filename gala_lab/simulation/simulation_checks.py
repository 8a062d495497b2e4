"""Checks of a simulation, before it starts."""

import psutil

from gala_lab.simulation.simulation_config import SCHEMES, SimulationConfig
from gala_rl.config import fields
from gala_rl.errors import UserError
from gala_rl.gossip import topology

_VECTOR_BYTES = 8
"""The simulation itself computes in double precision."""
_COPIES = 6
"""Parameter vectors per learner: its own, messages in flight, the matrix that is measured."""
_EDGE_BYTES = 250
"""An edge of the topology, with its inbox."""
_EVENT_BYTES = 100
"""An update that a learner makes alone before all average."""


def check(scheme: str, config: SimulationConfig) -> None:
    """Raise a UserError, naming the first offending value and the remedy, if it cannot be run."""
    fields.check(config)
    if scheme not in SCHEMES:
        raise UserError(f"scheme {scheme!r} is unknown: choose from {', '.join(SCHEMES)}")
    if config.stragglers > config.learners:
        raise UserError(
            f"stragglers {config.stragglers} are more than the {config.learners} learners: "
            f"use at most as many"
        )
    if config.joiners >= config.learners:
        raise UserError(
            f"joiners {config.joiners} are too many for {config.learners} learners: "
            f"at least one must be present at the start"
        )
    slowest_s = config.compute_s * (config.slowdown if config.stragglers else 1)
    if config.cores is not None:
        slowest_s *= max(1, config.learners / config.cores)
    if config.failure_every_s is not None and config.failure_every_s < slowest_s:
        raise UserError(
            f"failure_every_s {config.failure_every_s:g} is shorter than an update of "
            f"{slowest_s:g} s: almost none would ever be completed; use a longer time"
        )
    _check_memory(scheme, config)
    if scheme == "gossip":
        topology.make(config.topology, config.learners, config.learners_per_node)


def _check_memory(scheme: str, config: SimulationConfig) -> None:
    """Refuse what does not fit into memory, before a large complete graph is built."""
    learners, free_bytes = config.learners, psutil.virtual_memory().available
    needs = {f"dimension {config.dimension}": _COPIES * _VECTOR_BYTES * learners * config.dimension}
    if scheme == "gossip" and config.topology == "complete":
        needs["topology complete"] = _EDGE_BYTES * learners**2
    if scheme == "local-sgd":
        needs[f"average_every {config.average_every}"] = (
            _EVENT_BYTES * learners * config.average_every
        )
    for setting, needed_bytes in needs.items():
        if needed_bytes > free_bytes:
            raise UserError(
                f"{setting} with {learners:,} learners needs {needed_bytes / 2**30:,.1f} GiB of "
                f"memory, {free_bytes / 2**30:,.1f} are free: choose less, or fewer learners"
            )
