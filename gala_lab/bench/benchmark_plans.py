"""Plans of benchmarks, made and checked before any work starts; imports no torch."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from gala_rl.checks.config import check_config
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.errors import UserError
from gala_rl.methods import METHODS, find

SLOWDOWNS = (2.0, 4.0)
"""Factors by which stragglers are slowed."""

_FAULTS_METHODS = ("gala-a2c", "a2c-allreduce", "impala")
_FLOAT_BYTES = 4
_SLOTS = 3
"""Messages per learner in shared memory (`gala_rl.gossip.transports.shared.SLOTS`)."""
_PRIVATE_VECTORS = 4
"""Parameters of the learner and of its in-neighbour; source and target of the plain copy."""
_USABLE_SHARE = 0.8
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class PlannedCase:
    """One case of the scaling benchmark.

    Attributes:
        learners: number of learners.
        simulators: per learner.
        share: what is equal in all cases of the series: simulators in "total" or per "learner".
        config: what is trained; None if the case is skipped.
        skipped: why it is not measured; None if it is.
    """

    learners: int
    simulators: int
    share: str
    config: ResolvedConfig | None
    skipped: str | None = None


def powers_of_two(largest: int) -> list[int]:
    """Return 1, 2, 4, … up to `largest`."""
    return [2**k for k in range(largest.bit_length())]


def scaling(config: TrainConfig) -> list[PlannedCase]:
    """Plan 1, 2, 4, … learners, first with equal simulators in total, then equal per learner.

    Args:
        config: its `learners` is the largest number, default twice the cores; its `simulators` is
            that of a learner, and times the cores the total.

    Raises:
        UserError: when a case cannot be trained.
    """
    simulators = config.simulators
    assert simulators is not None
    total, cases = simulators * usable_cores(), []
    counts = powers_of_two(config.learners or 2 * usable_cores())
    series = [("total", n, max(1, total // n)) for n in counts]
    for share, learners, each in [*series, *(("learner", n, simulators) for n in counts)]:
        if share == "total" and total % learners:
            reason = f"{total} simulators cannot be shared equally"
            cases.append(PlannedCase(learners, each, share, None, reason))
            continue
        resolved = check_config(replace(config, learners=learners, simulators=each))
        cases.append(PlannedCase(learners, each, share, resolved))
    return cases


def stragglers(
    config: TrainConfig, methods: Sequence[str], slowed: Sequence[int] | None
) -> tuple[dict[str, ResolvedConfig], list[int]]:
    """Plan the training that is disturbed, and how many of its learners to slow down in turn.

    Args:
        config: its `learners` default to the cores, 2 at least.
        methods: names.
        slowed: numbers of slowed learners; default: 0 … all but one.

    Returns:
        The config of each method, and the numbers of slowed learners.

    Raises:
        UserError: when that cannot be trained.
    """
    config = _with_several_learners(config)
    learners = config.learners
    assert learners is not None
    for number in slowed or ():
        if not 0 <= number < learners:
            raise UserError(
                f"slowed {number} is impossible: of learners {learners} choose 0 to {learners - 1}"
            )
    configs = {method: check_config(replace(config, method=method)) for method in methods}
    return configs, list(range(learners)) if slowed is None else sorted(set(slowed))


def faults(config: TrainConfig, methods: Sequence[str] | None) -> dict[str, ResolvedConfig]:
    """Plan the training of each method that the config's plan of faults disturbs.

    Args:
        config: config of the training; methods with one learner ignore its `learners`.
        methods: names; default: gossip, and without a cluster all-reduce and IMPALA beside it.

    Raises:
        UserError: when that cannot be trained, or disturbed on a cluster.
    """
    if config.cluster is None or config.learners is not None:
        config = _with_several_learners(config)
    names = methods or (_FAULTS_METHODS if config.cluster is None else _FAULTS_METHODS[:1])
    return {name: check_config(_disturbed(config, name)) for name in names}


def _with_several_learners(config: TrainConfig) -> TrainConfig:
    learners = max(2, usable_cores()) if config.learners is None else config.learners
    if learners < 2:
        raise UserError(
            f"learners {learners} is too small: a straggler needs another: use 2 at least"
        )
    return replace(config, learners=learners)


def _disturbed(config: TrainConfig, name: str) -> TrainConfig:
    method = find(name)
    if config.cluster is not None and not method.gossips:
        able = ", ".join(m.name for m in METHODS if m.gossips)
        raise UserError(f"method {name} has no faults on a cluster: only {able} have")
    learners = 1 if method.sharing == "nothing" else config.learners
    return replace(config, method=name, learners=learners)


def gossip_bytes(learners: int, parameters: int) -> int:
    """Return the memory that measuring gossip among that many learners takes."""
    return _FLOAT_BYTES * parameters * (learners * _SLOTS + _PRIVATE_VECTORS)


def memory_lacking(learners: int, parameters: int) -> str | None:
    """Return why gossip among that many learners cannot be measured here; None if it can."""
    needed, free = gossip_bytes(learners, parameters), _free_bytes()
    if needed <= free:
        return None
    return f"needs {needed / 2**30:,.1f} GiB of memory, {free / 2**30:,.1f} are free"


def check_gossip(learners: int, parameters: Sequence[int]) -> None:
    """Raise a UserError if gossip cannot be measured for any number of learners."""
    if not 1 <= learners <= 1024:
        raise UserError(f"learners {learners} is impossible: it must be from 1 to 1024")
    for count in parameters:
        if (lacking := memory_lacking(1, count)) is not None:
            raise UserError(f"parameters {count:,}: {lacking}; use fewer")


def _free_bytes() -> int:
    """Memory that can be taken without swapping; shared memory is a part of it."""
    free = psutil.virtual_memory().available
    if _SHARED_MEMORY.is_dir():
        free = min(free, shutil.disk_usage(_SHARED_MEMORY).free)
    return int(_USABLE_SHARE * free)
