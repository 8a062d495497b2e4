"""Checks that shared memory has room for a run; that of a container is often small."""

import os
from pathlib import Path

from gala_rl.agent import message_size
from gala_rl.checks.machine import FLOAT_BYTES, slot_bytes
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError
from gala_rl.gossip.journal import RING_BYTES
from gala_rl.gossip.transports.shared import SLOTS
from gala_rl.learners.optimizers import state_size
from gala_rl.methods import find
from gala_rl.methods.resolving import capacity

_SMALL_BYTES = 1 << 20
"""Upper bound for all counters together, of which each takes a page."""
_MEMORY = Path("/dev/shm")
"""Shared memory on Linux. Docker gives a container 64 MiB by default."""


def check_shared_memory(config: ResolvedConfig, size: int) -> None:
    """Raise a UserError if too little shared memory is free: learners would crash.

    Args:
        config: resolved config of the run.
        size: P, length of its parameter vector.
    """
    if config.serial or config.cluster is not None or not _MEMORY.is_dir():
        return
    needed, at = shared_bytes(config, size), os.statvfs(_MEMORY)
    if needed > (free := at.f_bavail * at.f_frsize):
        needed_mib = -(-needed // 2**20)
        raise UserError(
            f"room for {capacity(config)} learners x {size:,} parameters takes {needed_mib:,} MiB "
            f"of shared memory, and {_MEMORY} has {free // 2**20:,} free: use fewer by --learners "
            f"or --max-learners, or in a container: docker run --shm-size {needed_mib}m"
        )


def shared_bytes(config: ResolvedConfig, size: int) -> int:
    """Return the bytes of shared memory that a run allocates at its start, up to its capacity.

    Args:
        config: resolved config of the run.
        size: P, length of its parameter vector.
    """
    algorithm, sharing = config.algorithm, find(config.method).sharing
    own = size + state_size(algorithm, size)
    per_learner = FLOAT_BYTES * (SLOTS * message_size(config, size) + own)
    if sharing == "gossip":
        per_learner += RING_BYTES
    needed = capacity(config) * per_learner + _SMALL_BYTES
    if sharing in ("parameters", "locked-parameters"):
        needed += FLOAT_BYTES * own
    if algorithm.acts_in_processes:
        rollouts = config.learners * config.simulators * algorithm.slots_per_actor
        steps = rollouts * (algorithm.rollout_steps + 1)
        needed += steps * slot_bytes(config)
    return needed
