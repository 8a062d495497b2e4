"""Proves rates, staleness and traffic of each scheme against small cases worked out by hand."""

from itertools import islice
from typing import Any

import numpy as np
import pytest

from gala_lab.simulation import schemes
from gala_lab.simulation.network_model import all_reduce_s
from gala_lab.simulation.simulate import simulate
from gala_lab.simulation.simulation_config import SCHEMES, SimulationConfig
from gala_lab.simulation.world import World
from gala_rl.errors import UserError
from gala_rl.gossip import topology
from tests.lab.simulation.worlds import cluster


def world_after(scheme: str, config: SimulationConfig, updates: int) -> World:
    """A world once its learners have made so many updates together."""
    world = World(config)
    for _ in schemes.BY_NAME[scheme](world, lambda now_s: None):
        if world.total_updates >= updates:
            break
    return world


def test_two_learners_in_step_mix_what_the_other_sent_an_update_ago() -> None:
    result = simulate("gossip", cluster(learners=2, latency_s=0.25, updates=100))
    assert result["elapsed_s"] == 100.0
    assert result["updates_per_s"] == {"total": 2.0, "slowest": 1.0, "median": 1.0, "fastest": 1.0}
    assert result["staleness_updates"] == {"mean": 1.0, "p95": 1, "max": 1}
    assert result["mixed_share"] == 0.99  # Nothing is there yet at the first.
    assert result["link_bytes_per_s"] == {"mean": 4.0, "busiest": 4.0}


def test_staleness_grows_by_one_for_each_update_made_while_a_message_travels() -> None:
    result = simulate("gossip", cluster(learners=2, latency_s=1.5, updates=100))
    assert result["staleness_updates"] == {"mean": 2.0, "p95": 2, "max": 2}
    assert result["mixed_share"] == 0.98


def test_without_latency_learners_in_step_mix_what_was_sent_at_that_instant() -> None:
    result = simulate("gossip", cluster(learners=5, updates=10))
    assert result["staleness_updates"] == {"mean": 0.0, "p95": 0, "max": 0}
    assert result["mixed_share"] == 1.0


def test_beside_a_learner_four_times_slower_the_other_mixes_every_fourth_update() -> None:
    config = cluster(learners=2, stragglers=1, slowdown=4, latency_s=0.5, duration_s=400.0)
    result = simulate("gossip", config)
    assert result["updates_per_s"]["fastest"] == 1.0
    assert result["updates_per_s"]["slowest"] == 0.25
    # The slow one mixes each time, what is an update old; the fast one at 5, 9, …, 397.
    assert result["mixed_share"] == (100 + 99) / 500
    assert result["staleness_updates"]["mean"] == pytest.approx(100 / 199)


def test_a_straggler_leaves_the_rates_of_the_others_as_they_are() -> None:
    config = cluster(learners=8, stragglers=1, slowdown=10, duration_s=200.0)
    rates = simulate("gossip", config)["updates_per_s"]
    assert (rates["slowest"], rates["median"], rates["fastest"]) == (0.1, 1.0, 1.0)
    assert simulate("all-reduce", config)["updates_per_s"]["fastest"] == pytest.approx(0.1)


@pytest.mark.parametrize("name", [*topology.NAMES, topology.HIERARCHICAL])
def test_a_synchronous_round_is_a_multiplication_by_the_mixing_matrix(name: str) -> None:
    config = cluster(learners=6, topology=name, learners_per_node=4, problem="random-walk")
    world, oracle = World(config), World(config)
    rounds = schemes.gossip(world, lambda now_s: None)
    expected = np.stack(oracle.parameters)
    graph = topology.make(name, config.learners, 4)
    for version in range(1, 8):
        next(rounds)
        updates = np.stack([oracle.problem.update(x) for x in oracle.parameters])
        expected = graph.mixing_matrix(version) @ (expected + updates)
        np.testing.assert_allclose(np.stack(world.parameters), expected, atol=1e-12)


def test_slow_links_between_nodes_cost_a_hierarchy_little_of_its_agreement() -> None:
    def rms(name: str, **network: float) -> float:
        config = cluster(
            learners=16,
            learners_per_node=4,
            topology=name,
            when="any",
            compute_variation=0.1,
            problem="random-walk",
            updates=300,
            **network,
        )
        distance: float = simulate("gossip", config)["consensus"]["rms"]
        return distance

    # A message keeps a port busy for 2.5 updates.
    slow = {"bandwidth_bytes_per_s": 4 / 2.5, "latency_s": 0.1}
    assert rms("exponential") < rms("hierarchical") < rms("directed-ring")
    assert rms("hierarchical", **slow) < rms("exponential", **slow)


@pytest.mark.parametrize("learners", [4, 8])
def test_synchronous_gossip_on_a_ring_settles_where_theory_has_it(learners: int) -> None:
    config = cluster(
        learners=learners, problem="random-walk", dimension=50, updates=4000, learning_rate=0.1
    )
    consensus = simulate("gossip", config)["consensus"]
    update_square = 50 * 0.1**2
    # E‖D‖² = s² (n - 1) (n - 2) / 3, over n learners: independent updates of mean square s².
    expected = update_square * (learners - 1) * (learners - 2) / 3 / learners
    assert consensus["rms"] ** 2 == pytest.approx(expected, rel=0.05)
    assert consensus["rms"] < consensus["span"] < 4 * consensus["rms"]
    assert not consensus["is_growing"]


def test_a_walk_of_two_that_average_exactly_leaves_no_distance() -> None:
    consensus = simulate("gossip", cluster(learners=2, problem="random-walk"))["consensus"]
    assert consensus == {"rms": 0.0, "span": 0.0, "is_growing": False}


def test_cores_that_are_shared_slow_everybody_down() -> None:
    rates = simulate("gossip", cluster(learners=8, cores=2, updates=10))["updates_per_s"]
    assert rates["total"] == 2.0
    assert simulate("gossip", cluster(learners=2, cores=4))["updates_per_s"]["total"] == 2.0


def test_every_scheme_of_the_command_line_is_there() -> None:
    assert tuple(schemes.BY_NAME) == SCHEMES


def test_looks_at_local_sgd_fall_before_and_after_averages() -> None:
    config = cluster(learners=8, average_every=8, problem="random-walk", updates=6400, seed=1)
    result = simulate("local-sgd", config)
    # After k of 8 steps the mean square is k s² (n - 1) / n; k is 1 to 8 equally often.
    expected = 3 * 0.05**2 * 4.5 * 7 / 8
    assert result["consensus"]["rms"] ** 2 == pytest.approx(expected, rel=0.2)


def test_a_cluster_that_only_fails_is_refused() -> None:
    config = cluster(
        learners=50, failure_every_s=1.5, parameters=1000, bandwidth_bytes_per_s=4000.0
    )
    with pytest.raises(UserError, match=r"failure_every_s 1.5 is too short for this cluster"):
        simulate("parameter-server", config)


NETWORK = {"parameters": 1000, "bandwidth_bytes_per_s": 8000.0, "latency_s": 0.125}
"""Half a second a message."""


def test_all_reduce_takes_the_slowest_and_the_cost_of_its_model() -> None:
    config = cluster(learners=4, stragglers=1, slowdown=3, updates=10, **NETWORK)
    result = simulate("all-reduce", config)
    cost_s = all_reduce_s(4, 4000, 0.125, 8000.0)
    assert cost_s == 2 * 3 / 4 * 0.5 + 2 * 3 * 0.125 == 1.5
    assert result["updates_per_s"]["total"] == pytest.approx(4 / (3 + cost_s))
    assert result["link_bytes_per_s"]["mean"] == pytest.approx(2 * 3 / 4 * 4000 / (3 + cost_s))
    assert result["consensus"]["rms"] == 0.0
    assert result["staleness_updates"] == {"mean": 0.0, "p95": 0, "max": 0}


def test_local_sgd_pays_that_cost_once_in_so_many_updates() -> None:
    config = cluster(learners=4, average_every=5, updates=10, **NETWORK)
    result = simulate("local-sgd", config)
    assert result["updates_per_s"]["total"] == pytest.approx(4 * 5 / (5 + 1.5))
    assert result["mixed_share"] == 0.2


def test_local_sgd_with_every_update_averaged_is_all_reduce() -> None:
    config = cluster(learners=4, average_every=1, compute_variation=0.5, updates=20)
    local, reduced = simulate("local-sgd", config), simulate("all-reduce", config)
    assert local["updates_per_s"] == reduced["updates_per_s"]


def test_learners_apart_between_averages_are_seen_apart() -> None:
    config = cluster(learners=8, average_every=10, compute_variation=0.5, updates=200)
    consensus = simulate("local-sgd", config)["consensus"]
    assert consensus["rms"] > 0


def test_a_parameter_server_answers_one_after_another() -> None:
    config = cluster(learners=2, updates=2000, **NETWORK)
    # The second to arrive waits once; from then on they take turns: 1 + 2 · 0.125 + 2 · 0.5.
    result = simulate("parameter-server", config)
    assert result["updates_per_s"]["total"] == pytest.approx(2 / 2.25, rel=1e-3)
    assert result["staleness_updates"]["mean"] == pytest.approx(1.0, abs=1e-3)
    assert result["link_bytes_per_s"]["busiest"] == pytest.approx(2 * 4000 / 2.25, rel=1e-2)


def test_a_parameter_server_with_too_many_learners_is_limited_by_its_port() -> None:
    result = simulate("parameter-server", cluster(learners=20, updates=100, **NETWORK))
    assert result["updates_per_s"]["total"] == pytest.approx(2.0, rel=0.02)
    assert result["staleness_updates"]["max"] == 19


def test_gossip_over_a_slow_port_goes_on_at_its_own_rate() -> None:
    config = cluster(learners=3, duration_s=200.0, parameters=1000, bandwidth_bytes_per_s=1600.0)
    result = simulate("gossip", config)
    assert result["updates_per_s"]["total"] == 3.0
    # 2.5 s a message: two are sent in five updates.
    assert result["link_bytes_per_s"]["mean"] == pytest.approx(1600.0, rel=0.02)
    assert result["mixed_share"] == pytest.approx(2 / 5, rel=0.02)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("problem", "share"), [("quadratic", 0.01), ("logistic", 0.6)])
def test_every_scheme_learns(scheme: str, problem: Any, share: float) -> None:
    config = SimulationConfig(
        learners=8, problem=problem, noise=0.1, learning_rate=0.2, updates=300
    )
    loss = simulate(scheme, config)["loss"]
    assert loss["last"] < share * loss["first"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_seed_gives_the_same_figures(scheme: str) -> None:
    def figures(seed: int) -> object:
        config = SimulationConfig(
            learners=7, failure_every_s=5.0, restart_s=1.0, joiners=2, join_at_s=1.0, seed=seed
        )
        return simulate(scheme, config) | {"config": None}

    assert figures(0) == figures(0)
    assert figures(0) != figures(1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_failures_are_counted_and_cost_their_time(scheme: str) -> None:
    config = cluster(
        learners=20, compute_s=0.1, failure_every_s=20.0, restart_s=5.0, duration_s=500.0
    )
    result = simulate(scheme, config)
    if scheme in ("gossip", "parameter-server"):
        assert result["failures"] == pytest.approx(20 * 500 / 25, rel=0.15)
        assert result["updates_per_s"]["total"] == pytest.approx(200 * 20 / 25, rel=0.1)
        assert 8 <= result["present_at_end"] <= 20
    else:
        # Some of the twenty is always away: a barrier waits for each of them.
        assert result["failures"] > 100
        assert result["updates_per_s"]["total"] < 0.5 * 200


@pytest.mark.parametrize("scheme", SCHEMES)
def test_those_who_join_later_begin_with_the_others_parameters(scheme: str) -> None:
    settings = {"average_every": 2, "noise": 0.0, "learning_rate": 0.5}
    config = cluster(learners=4, joiners=1, join_at_s=10.5, **settings)
    before = world_after(scheme, config, updates=29)
    assert before.is_present == [True, True, True, False]
    assert before.updates[3] == 0
    np.testing.assert_array_equal(before.parameters[3], np.ones(3))
    after = world_after(scheme, config, updates=60)
    assert after.is_present == [True] * 4
    assert after.updates[3] == pytest.approx(after.updates[0] - 11, abs=3)
    assert np.abs(after.parameters[3]).max() < 0.9


def test_the_others_mix_while_one_is_dead_or_has_not_joined_yet() -> None:
    config = cluster(learners=3, topology="undirected-ring", joiners=1, join_at_s=100.0)
    assert world_after("gossip", config, updates=20).mixes == 20
    world = World(cluster(learners=3, topology="undirected-ring", restart_s=100.0))
    world.clocks._failure_s[1] = 5.5
    for now_s in schemes.gossip(world, lambda now_s: None):
        if now_s >= 50:
            break
    assert world.updates == [50, 5, 50]
    assert world.mixes == 105


def test_failures_during_ages_of_waiting_are_no_work_to_simulate() -> None:
    config = cluster(learners=3, failure_every_s=2.0, latency_s=1e9, updates=5)
    result = simulate("all-reduce", config)
    assert result["updates"] == 15
    assert result["failures"] < 1000


def test_time_never_runs_backwards_where_learners_fail_in_a_queue() -> None:
    world = World(cluster(learners=9, failure_every_s=20.0, restart_s=1.0, **NETWORK))
    times = list(islice(schemes.parameter_server(world, lambda now_s: None), 2000))
    assert world.failures > 50
    assert times == sorted(times)


def test_a_learner_that_returns_takes_over_what_an_in_neighbour_has() -> None:
    world = World(cluster(learners=4))
    world.parameters = [np.full(3, float(rank)) for rank in range(4)]
    for rank in (0, 1):
        world.fail(rank)
    world.join(1, [0, 3, 2])
    assert world.parameters[1][0] == 3.0
    assert world.is_present == [False, True, True, True]
    assert world.failures == 2
    world.is_present = [False] * 4
    world.join(2, range(4))
    assert world.parameters[2][0] == 2.0
