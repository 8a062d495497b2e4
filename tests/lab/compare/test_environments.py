"""Several environments in one comparison: what they show together, by hand."""

import json
from typing import Any

import numpy as np
import pytest

from gala_lab.atari_scores import RANDOM_AND_HUMAN
from gala_lab.compare.environments import notes_over, result_over, table_over
from gala_lab.compare.report import normalized, profiles_of


def one(scores: dict[str, list[float | None]]) -> dict[str, Any]:
    """The result of one environment with a score per method and seed; None: no score."""
    methods = {
        name: {
            "runs": [{"seed": seed, "score": score} for seed, score in enumerate(own)],
            "score": {"iqm": 1.0, "interval": (0.5, 1.5)},
        }
        for name, own in scores.items()
    }
    return {
        "methods": methods,
        "steps": 1_000,
        "seeds": [0, 1],
        "notes": ["seed 0 failed", "few seeds"],
    }


def test_the_probability_of_improvement_is_the_mean_over_environments() -> None:
    results = {
        "A-v0": one({"a": [1.0, 2.0], "b": [3.0, 4.0]}),
        "B-v0": one({"a": [1.0, 2.0], "b": [1.0, 2.0]}),
    }
    result = result_over(results)
    assert result["methods"]["a"]["improvement"] is None
    assert result["methods"]["b"]["improvement"]["probability"] == pytest.approx(0.75)
    assert result["methods"]["b"]["human_normalized"] is None
    assert result["profiles"] is None
    assert json.loads(json.dumps(result, allow_nan=False))["environments"].keys() == results.keys()
    title, columns, rows = table_over(result)
    assert title.startswith("2 environments, 1,000 agent steps each, 2 seeds")
    assert columns == ["", "a", "b"]
    assert [row[0] for row in rows] == ["A-v0", "B-v0", "probability of a better score than a"]
    assert rows[2][2].startswith("0.75 [")


def test_games_are_normalised_by_people_and_random_play() -> None:
    def score(game: str, share: float) -> float:
        random, human = RANDOM_AND_HUMAN[game]
        return random + share * (human - random)

    results = {
        "PongNoFrameskip-v4": one({"a": [score("Pong", share) for share in (0.0, 0.5)]}),
        "ALE/Breakout-v5": one({"a": [score("Breakout", share) for share in (1.0, 1.5)]}),
    }
    result = result_over(results)
    assert result["methods"]["a"]["human_normalized"]["iqm"] == pytest.approx(0.75)
    profile = result["profiles"]
    assert (profile["scores"][0], profile["scores"][-1]) == (pytest.approx(0.0), pytest.approx(1.5))
    assert profile["methods"]["a"]["share"][0] == pytest.approx(0.75, abs=0.26)
    assert profile["methods"]["a"]["share"][-1] == 0.0
    assert any("human-normalised" in row[0] for row in table_over(result)[2])
    assert np.isnan(normalized("CartPole-v1", 3.0))


def test_a_seed_counts_where_every_environment_has_a_score() -> None:
    results = {"A-v0": one({"a": [1.0, None]}), "B-v0": one({"a": [1.0, 2.0]})}
    result = result_over(results)
    assert result["methods"]["a"]["runs"] == 1
    notes = notes_over(result)
    assert notes[:2] == ["A-v0: seed 0 failed", "B-v0: seed 0 failed"]
    assert notes[2].startswith("1 seed with a score everywhere")
    nothing = {"A-v0": one({"a": [None, None], "b": [1.0, 2.0]})}
    assert result_over(nothing)["methods"]["b"]["improvement"] is None


def test_a_profile_is_the_share_of_runs_above_each_score() -> None:
    profiles = profiles_of({"a": np.array([[0.0], [1.0], [2.0], [4.0]]), "b": np.zeros((0, 1))})
    assert profiles is not None
    assert list(profiles["methods"]) == ["a"]
    share = dict(
        zip(np.round(profiles["scores"], 6), profiles["methods"]["a"]["share"], strict=True)
    )
    assert (share[0.0], share[1.0], share[2.0], share[4.0]) == (0.75, 0.5, 0.25, 0.0)
    for low, middle, high in zip(
        *(profiles["methods"]["a"][n] for n in ("low", "share", "high")), strict=True
    ):
        assert low <= middle <= high
    assert profiles_of({}) is None
