"""What a benchmark will measure, decided before any work starts; imports no torch."""

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from gala_rl.config.run import TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.errors import UserError
from gala_rl.methods import METHODS, find

SLOWDOWNS = (2.0, 4.0)
"""Factors by which stragglers are slowed."""

_FLOAT_BYTES = 4
_SLOTS = 3
"""Messages of a learner that shared memory holds (`gala_rl.gossip.transports.shared.SLOTS`)."""
_PRIVATE_VECTORS = 4
"""Parameters of the learner and of its in-neighbour; source and target of the plain copy."""
_USABLE_SHARE = 0.8
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class PlannedCase:
    """One case of a benchmark of training.

    Attributes:
        learners: of this case.
        simulators: per learner of this case.
        share: what stays equal from case to case: "total" simulators, or those of a "learner".
        config: of the training.
        skipped: why it is not measured; None if it is.
    """

    learners: int
    simulators: int
    share: str
    config: TrainConfig
    skipped: str | None = None


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4, … up to `largest`."""
    return [2**k for k in range(largest.bit_length())]


def scaling(config: TrainConfig) -> list[PlannedCase]:
    """1, 2, 4, … learners, first with equal total simulators and then with equal ones a learner.

    Args:
        config: its `learners` is the largest number, default twice the cores; its `simulators` is
            that of a learner, and times the cores the total.
    """
    largest = config.learners or 2 * usable_cores()
    assert config.simulators is not None
    total = config.simulators * usable_cores()
    cases = []
    for learners in powers_of_two(largest):
        simulators = max(1, total // learners)
        shared = dataclasses.replace(config, learners=learners, simulators=simulators)
        divides = total % learners == 0
        reason = None if divides else f"{total} simulators cannot be shared equally"
        cases.append(PlannedCase(learners, simulators, "total", shared, reason))
    for learners in powers_of_two(largest):
        alike = dataclasses.replace(config, learners=learners)
        cases.append(PlannedCase(learners, config.simulators, "learner", alike))
    return cases


def stragglers(config: TrainConfig, slowed: Sequence[int] | None) -> tuple[TrainConfig, list[int]]:
    """The training to disturb, and how many of its learners to slow down in turn.

    Args:
        config: its `learners` default to the cores, 2 at least.
        slowed: numbers of slowed learners; default: 0 … all but one.

    Raises:
        UserError: when there are too few learners, or not so many.
    """
    learners = max(2, usable_cores()) if config.learners is None else config.learners
    if learners < 2:
        raise UserError(f"learners {learners} is too small: a straggler needs another, 2 at least")
    for number in slowed or ():
        if not 0 <= number < learners:
            raise UserError(
                f"slowed {number} is impossible: of learners {learners} choose 0 to {learners - 1}"
            )
    chosen = range(learners) if slowed is None else sorted(set(slowed))
    return dataclasses.replace(config, learners=learners), list(chosen)


def disturbed(config: TrainConfig, method: str, plan: str | None) -> TrainConfig:
    """The training of a method that a plan of faults disturbs; some methods have one learner.

    Raises:
        UserError: when the method is unknown, or cannot be disturbed on a cluster.
    """
    chosen = find(method)
    if config.cluster is not None and not chosen.gossips:
        able = ", ".join(m.name for m in METHODS if m.gossips)
        raise UserError(f"method {method} knows no faults on a cluster: only {able} do")
    learners = 1 if chosen.sharing == "nothing" else config.learners
    return dataclasses.replace(config, method=method, learners=learners, fault_plan=plan)


def gossip_bytes(learners: int, parameters: int) -> int:
    """Memory that measuring gossip among so many learners takes."""
    return _FLOAT_BYTES * parameters * (learners * _SLOTS + _PRIVATE_VECTORS)


def memory_lacking(learners: int, parameters: int) -> str | None:
    """Why gossip among so many learners cannot be measured here; None if it can."""
    needed, there = gossip_bytes(learners, parameters), _free_bytes()
    if needed <= there:
        return None
    return f"needs {needed / 2**30:,.1f} GiB of memory, {there / 2**30:,.1f} are free"


def check_gossip(learners: int, parameters: Sequence[int]) -> None:
    """Raise a UserError if gossip cannot be measured for any number of learners."""
    if not 1 <= learners <= 1024:
        raise UserError(f"learners {learners} is impossible: it must be from 1 to 1024")
    for count in parameters:
        if count < 1:
            raise UserError(f"parameters {count} is too small: it must be at least 1")
        if (lacking := memory_lacking(1, count)) is not None:
            raise UserError(f"parameters {count:,}: {lacking}; use fewer")


def _free_bytes() -> int:
    """Memory that may be taken without pushing anything else out; shared memory is a part of it."""
    free = psutil.virtual_memory().available
    if _SHARED_MEMORY.is_dir():
        free = min(free, shutil.disk_usage(_SHARED_MEMORY).free)
    return int(_USABLE_SHARE * free)
