"""The overhead of a learner: parts that add up, and ratios of updates that were made in turn."""

import time

import pytest

from gala_lab.bench import overhead_benchmark
from gala_lab.bench.null_simulators import NullSimulators
from gala_lab.bench.overhead_benchmark import NETWORKS, PARTS, parts_of, ratio_quartiles


def test_the_parts_add_up_to_the_iteration() -> None:
    seconds = {"policy": 3.0, "interface": 1.0, "rollout": 6.0}
    seconds |= {"optimizer": 2.0, "update": 9.0, "gossip": 4.0}
    parts = parts_of(seconds, 20.0)
    assert parts == {
        "policy": 3.0,
        "interface": 1.0,
        "storage": 2.0,
        "loss": 7.0,
        "optimizer": 2.0,
        "gossip": 4.0,
        "rest": 1.0,
    }
    assert tuple(parts) == PARTS


def test_quartiles_are_those_of_the_ratios_pair_by_pair() -> None:
    # A slow moment that both series see changes no ratio.
    assert ratio_quartiles([1.0, 20.0, 3.0, 4.0, 5.0], [1.0, 10.0, 1.0, 1.0, 1.0]) == [2.0, 4.0]


def test_times_are_those_of_the_processor_and_not_of_waiting() -> None:
    assert overhead_benchmark.seconds_of(lambda: time.sleep(0.2)) < 0.1


@pytest.mark.parametrize("network", NETWORKS)
def test_every_iteration_of_the_learner_makes_each_part_and_changes_nothing(network: str) -> None:
    observation, action = NETWORKS[network]
    simulators = NullSimulators(2, observation, action)
    learner = overhead_benchmark._timed(overhead_benchmark._Learner(simulators))
    before = learner.learner.flat.values.clone()
    for _ in range(3):
        whole = learner.step()
        parts = parts_of(learner.seconds, whole)
        assert all(value > 0 for value in parts.values())
        assert sum(parts.values()) == pytest.approx(whole)
    assert learner.agent.gossip.node.mixes == 3
    # Messages are these parameters, and the learning rate is 0.
    assert before.equal(learner.learner.flat.values)
