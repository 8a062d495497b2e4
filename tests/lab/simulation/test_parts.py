"""Proves the parts: random numbers, problems, clocks, distances, and what is refused."""

from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import psutil
import pytest

from gala_lab.simulation.clocks import Clocks
from gala_lab.simulation.consensus_curve import Curve, Point, distances
from gala_lab.simulation.problems import make_problem
from gala_lab.simulation.random_streams import generators, positive
from gala_lab.simulation.simulate import staleness
from gala_lab.simulation.simulation_checks import check
from gala_lab.simulation.simulation_config import SimulationConfig
from gala_lab.simulation.world import World
from gala_rl.errors import UserError
from tests.lab.simulation.worlds import cluster


@pytest.mark.parametrize("distribution", ["gamma", "lognormal"])
@pytest.mark.parametrize("variation", [0.0, 0.3, 1.0])
def test_compute_times_have_the_mean_and_variation_asked_for(
    distribution: str, variation: float
) -> None:
    stream = positive(np.random.default_rng(0), distribution, variation)
    numbers = np.array(list(islice(stream, 100_000)))
    assert numbers.min() > 0
    assert numbers.mean() == pytest.approx(1.0, rel=0.02)
    assert numbers.std() == pytest.approx(variation, rel=0.05)


def test_generators_differ_from_each_other_and_repeat_with_their_seed() -> None:
    first, second = (g.random() for g in generators(3, 2))
    assert first != second
    assert first == generators(3, 2)[0].random()


@pytest.mark.parametrize("problem", ["quadratic", "logistic"])
def test_updates_without_noise_are_the_loss_gradient_times_the_learning_rate(problem: str) -> None:
    settings: dict[str, Any] = {"problem": problem, "noise": 0.0, "learning_rate": 0.1}
    config = SimulationConfig(dimension=4, **settings)
    made = make_problem(config, np.random.default_rng(0))
    at = 0.3 * np.arange(4.0)
    mean = np.mean([made.update(at) for _ in range(4000)], axis=0)
    step = 1e-5
    slopes = [
        (made.loss(at + step * axis) - made.loss(at - step * axis)) / (2 * step)
        for axis in np.eye(4)
    ]
    np.testing.assert_allclose(mean, -0.1 * np.array(slopes), atol=1e-3)


def test_a_random_walk_has_updates_of_the_length_asked_for_and_no_loss() -> None:
    config = SimulationConfig(dimension=40, problem="random-walk", learning_rate=0.5, noise=2.0)
    walk = make_problem(config, np.random.default_rng(0))
    squares = [np.sum(np.square(walk.update(walk.start()))) for _ in range(2000)]
    assert np.mean(squares) == pytest.approx(40 * (0.5 * 2.0) ** 2, rel=0.05)
    assert np.isnan(walk.loss(walk.start()))


def test_clocks_slow_stragglers_and_bring_the_failed_back() -> None:
    config = cluster(learners=3, stragglers=1, slowdown=2.5)
    clocks = Clocks(config, *generators(0, 2))
    assert clocks.finish(0, 10.0) == (12.5, False)
    assert clocks.finish(2, 10.0) == (11.0, False)
    mortal = Clocks(cluster(learners=3, failure_every_s=5.0, restart_s=7.0), *generators(0, 2))
    waits = [mortal.finish(1, 1000.0 * times) for times in range(1, 100)]
    # Of failures during a wait, those from which it is not back yet matter.
    late = [(failed_s, 1000.0 * (k + 1)) for k, (failed_s, failed) in enumerate(waits) if failed]
    assert all(start_s - 7.0 < failed_s < start_s + 1.0 for failed_s, start_s in late)
    assert len(late) / 99 == pytest.approx(1 - np.exp(-(7.0 + 1.0) / 5.0), abs=0.1)
    failed_s = late[-1][0]
    assert mortal.recover(1, failed_s) == failed_s + 7.0
    assert mortal.finish(1, failed_s + 7.0)[0] > failed_s + 7.0


def test_distances_are_those_of_the_definition() -> None:
    rows = np.random.default_rng(0).standard_normal((30, 4))
    differences = rows - rows.mean(axis=0)
    rms, span = distances(differences)
    assert rms == pytest.approx(np.sqrt(np.mean(np.sum(differences**2, axis=1))))
    assert span == pytest.approx(max(np.linalg.norm(a - b) for a in rows for b in rows))


def test_the_span_of_many_learners_is_that_of_a_thousand_among_them() -> None:
    line = np.arange(4001.0)[:, None] - 2000
    assert distances(line)[1] == pytest.approx(4000)


def test_staleness_is_the_mean_the_percentile_and_the_largest_of_the_ages() -> None:
    assert staleness(Counter()) is None
    assert staleness(Counter({0: 94, 3: 5, 50: 1})) == {"mean": 0.65, "p95": 3, "max": 50}
    assert staleness(Counter({0: 95, 3: 5}))["p95"] == 0  # type: ignore[index]


def curve_of(distances_seen: list[float]) -> Curve:
    curve = Curve(World(cluster(learners=2)))
    curve.points = [Point(float(t), rms, 2 * rms, 0.0) for t, rms in enumerate(distances_seen)]
    return curve


def test_what_a_distance_settles_at_forgets_the_beginning() -> None:
    settled = curve_of([100.0] * 4 + [3.0, 4.0, 3.0, 4.0]).settled()
    assert settled.rms == pytest.approx(np.sqrt(12.5))
    assert settled.span == 7.0
    assert not settled.is_growing
    assert not curve_of([1.0] * 6 + [1.04] * 2).settled().is_growing
    assert curve_of([float(t) for t in range(8)]).settled().is_growing
    assert curve_of([0.0]).settled().is_growing


def test_the_dead_are_not_looked_at() -> None:
    world = World(cluster(learners=3))
    world.parameters = [np.full(3, 1.0), np.full(3, 100.0), np.full(3, 3.0)]
    world.is_present[1] = False
    (point,) = Curve(world).points
    assert (point.rms, point.span) == pytest.approx((np.sqrt(3), np.sqrt(12)))


def test_a_curve_keeps_its_beginning_and_stays_short() -> None:
    world = World(cluster(learners=2))
    curve = Curve(world)
    for now in range(1, 5000):
        world.total_updates += 1
        curve.observe(float(now))
    times = [point.time_s for point in curve.points]
    assert 100 <= len(times) <= 201
    assert times[0] == 0.0
    assert np.diff(times).max() <= 2 * 64


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("gossip", {"learners": 1}, "learners 1 is too small"),
    ("gossip", {"learners": 10_001}, "learners 10001 is too large"),
    ("gosip", {}, "scheme 'gosip' is unknown: choose from gossip, all-reduce"),
    ("gossip", {"topology": "star"}, "topology 'star' is unknown: choose one of"),
    ("gossip", {"compute_s": -1.0}, "compute_s -1.0 is too small"),
    ("gossip", {"latency_s": float("nan")}, "latency_s nan is not finite"),
    ("gossip", {"bandwidth_bytes_per_s": 0.0}, "bandwidth_bytes_per_s 0.0 is too small"),
    ("gossip", {"compute_distribution": "uniform"}, "compute_distribution 'uniform' is unknown"),
    ("gossip", {"problem": "chess"}, "problem 'chess' is unknown"),
    ("gossip", {"stragglers": 17}, "stragglers 17 are more than the 16 learners"),
    ("gossip", {"joiners": 16}, "joiners 16 are too many for 16 learners"),
    ("gossip", {"failure_every_s": 0.05}, "failure_every_s 0.05 is shorter than an update of 0.1"),
    (
        "gossip",
        {"failure_every_s": 3.0, "stragglers": 1, "slowdown": 10.0, "cores": 4},
        "failure_every_s 3 is shorter than an update of 4 s",
    ),
    ("gossip", {"updates": 0}, "updates 0 is too small"),
    ("gossip", {"duration_s": 0.0}, "duration_s 0.0 is too small"),
    ("gossip", {"dimension": 10**12}, "dimension 1000000000000 with 16 learners needs"),
    ("gossip", {"topology": "complete", "dimension": 1}, "topology complete with 16 learners"),
    ("local-sgd", {"average_every": 90, "dimension": 1}, "average_every 90 with 16 learners"),
]


@pytest.mark.parametrize(("scheme", "settings", "line"), WRONG)
def test_what_cannot_be_simulated_is_refused_with_its_value(
    scheme: str, settings: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "complete" in settings.values() or "average_every" in settings:
        free = psutil.virtual_memory()._replace(available=8000)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(UserError, match=line.replace("(", r"\(")):
        check(scheme, SimulationConfig(**settings))


def test_the_length_defaults_to_updates_unless_there_is_a_duration() -> None:
    assert SimulationConfig().update_limit == 16 * 200
    assert SimulationConfig(duration_s=3.0).update_limit == float("inf")
    assert SimulationConfig(duration_s=3.0, updates=5).update_limit == 80
