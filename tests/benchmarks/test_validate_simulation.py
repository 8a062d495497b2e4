"""Proves what the validation of the simulation measures and how it judges."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import validate_simulation as validation
from gala_rl.records.checkpoint import LearnerState, complete, partial_folder, write_part


def row(updates: int, time_s: float, agent_steps_per_s: float = 1.0) -> dict[str, Any]:
    return {"updates": updates, "time": time_s, "agent_steps_per_s": agent_steps_per_s}


def test_the_rate_is_that_between_the_first_row_and_the_last() -> None:
    assert validation.rate([row(20, 100.0), row(40, 101.0), row(120, 102.0)]) == 50.0


def test_the_variation_of_updates_is_greater_than_that_of_rows() -> None:
    rows = [row(0, 0.0, speed) for speed in (9.0, 1 / 0.9, 1 / 1.1, 9.0)]
    expected = math.sqrt(validation.UPDATES_A_ROW) * math.sqrt(0.02)
    assert validation.variation(rows) == pytest.approx(expected)


def test_the_distance_is_that_of_the_later_half_of_the_checkpoints(tmp_path: Path) -> None:
    for number, apart in enumerate((100.0, 3.0, 4.0)):
        partial = partial_folder(tmp_path, str(number))
        for learner, sign in enumerate((-1, 1)):
            parameters = torch.tensor([7.0, sign * apart])
            write_part(partial, learner, LearnerState({"parameters": parameters}, {}))
        complete(partial, number + 1, [0, 0], kept=10)
    assert validation.consensus_rms(tmp_path, 2) == pytest.approx(math.sqrt(12.5))


def test_steps_of_learners_that_take_turns_are_measured() -> None:
    steps = validation.measure_updates(validation.training(learners=2, seed=0), updates=40)
    assert 0.001 < steps["update_rms"] < 10
    assert 0 < steps["own_share"] < 2
    assert steps["persistence"] > 0


def test_the_prediction_is_that_of_the_cores_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "usable_cores", lambda: 2)
    one_core = {"compute_s": 0.01, "compute_variation": 0.0}
    steps = {"update_rms": 0.1, "own_share": 0.5, "persistence": 2.0}
    predicted = validation.predict(4, 1000, one_core, steps, seed=0)
    assert predicted["updates_per_s"] == pytest.approx(200.0)
    assert predicted["mixed_share"] == 1.0
    # s² (n - 1) (n - 2) / 3 / n of a synchronous ring.
    assert predicted["consensus_rms"] == pytest.approx(0.1 * math.sqrt(0.5), rel=0.1)


def run(rate: float, distance: float, other_rate: float, other_distance: float) -> dict[str, Any]:
    return {
        "measured": {"updates_per_s": rate, "consensus_rms": distance},
        "predicted": {"updates_per_s": other_rate, "consensus_rms": other_distance},
    }


def test_a_prediction_is_right_within_15_percent_and_a_factor_of_two() -> None:
    right = validation.verdict([run(100, 3.0, 110, 5.0), run(100, 4.0, 118, 5.0)])
    assert right["rate_ratio"] == pytest.approx(1.14)
    assert right["distance_ratio"] == pytest.approx(5 / math.sqrt(12.5))
    assert right["rate_is_right"]
    assert right["distance_is_right"]
    wrong = validation.verdict([run(100, 1.0, 80, 2.1)])
    assert not wrong["rate_is_right"]
    assert not wrong["distance_is_right"]
