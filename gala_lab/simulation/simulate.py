"""Run a simulation and return its results as plain JSON values."""

import dataclasses
import math
import statistics
from collections import Counter
from typing import Any

from gala_lab.simulation import schemes
from gala_lab.simulation.consensus_curve import Curve
from gala_lab.simulation.simulation_checks import check
from gala_lab.simulation.simulation_config import SimulationConfig
from gala_lab.simulation.world import World
from gala_rl.errors import UserError

_FAILURES_PER_UPDATE = 100


def simulate(scheme: str, config: SimulationConfig) -> dict[str, Any]:
    """Simulate the learners of a config under a scheme.

    Args:
        scheme: one of `gala_lab.simulation.simulation_config.SCHEMES`.
        config: config of the simulation.

    Returns:
        The figures that docs/simulate.md explains; what does not exist is None.

    Raises:
        UserError: when it cannot be simulated.
    """
    check(scheme, config)
    world = World(config)
    now_s, duration_s = 0.0, config.duration_s or math.inf
    curve = Curve(world)
    for now_s in schemes.BY_NAME[scheme](world, curve.observe):
        _check_that_updates_are_made(world)
        if world.total_updates >= config.update_limit or now_s >= duration_s:
            break
    return {"scheme": scheme, **_figures(world, curve, now_s)}


def _check_that_updates_are_made(world: World) -> None:
    """Raise a UserError in a cluster that only fails: its simulation would never end."""
    config = world.config
    if world.failures > _FAILURES_PER_UPDATE * (world.total_updates + config.learners):
        raise UserError(
            f"failure_every_s {config.failure_every_s:g} is too short for this cluster: learners "
            f"fail before they have made an update; use a longer time"
        )


def _figures(world: World, curve: Curve, elapsed_s: float) -> dict[str, Any]:
    rates = [made / elapsed_s for made in world.updates]
    link_bytes = [world.config.message_bytes * sent / elapsed_s for sent in world.sent_messages]
    settled = curve.settled()
    points = curve.points
    return {
        "elapsed_s": elapsed_s,
        "updates": world.total_updates,
        "updates_per_s": {
            "total": world.total_updates / elapsed_s,
            "slowest": min(rates),
            "median": statistics.median(rates),
            "fastest": max(rates),
        },
        "mixed_share": world.mixes / max(1, world.total_updates),
        "staleness_updates": staleness(world.ages),
        "link_bytes_per_s": {"mean": statistics.fmean(link_bytes), "busiest": max(link_bytes)},
        "consensus": {
            "rms": _finite(settled.rms),
            "span": _finite(settled.span),
            "is_growing": settled.is_growing,
        },
        "loss": {
            "first": _finite(points[0].loss),
            "last": _finite(points[-1].loss),
            "halved_after_s": next(
                (p.time_s for p in points if p.loss <= points[0].loss / 2), None
            ),
        },
        "failures": world.failures,
        "present_at_end": sum(world.is_present),
        "curve": {
            "time_s": [point.time_s for point in points],
            "rms": [_finite(point.rms) for point in points],
            "span": [_finite(point.span) for point in points],
            "loss": [_finite(point.loss) for point in points],
        },
        "config": dataclasses.asdict(world.config),
    }


def staleness(ages: Counter[int]) -> dict[str, float] | None:
    """Return mean, 95th percentile and maximum of the counted ages; None if there are none."""
    count = ages.total()
    if not count:
        return None
    seen = 0
    for age in sorted(ages):
        seen += ages[age]
        if seen >= 0.95 * count:
            break
    mean = sum(age * times for age, times in ages.items()) / count
    return {"mean": mean, "p95": age, "max": max(ages)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
