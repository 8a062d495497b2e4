"""Tables about environments show the medians, ratios and scores of their results."""

from benchmarks import environment_tables
from benchmarks.backends import summary


def test_ratios_are_taken_within_rounds() -> None:
    found = summary([[100.0, 300.0], [200.0, 400.0], [50.0, 500.0]])
    assert found["steps_per_s"] == [100.0, 400.0]
    assert found["ratios"] == [3.0, 2.0, 10.0]
    assert found["ratio"] == 3.0
    rates = {"simulators_alone": found, "training": summary([[10.0, 10.0]])}
    alone = {name: summary([[7.0]]) for name in rates}
    shared = {"method": "m", "learners": 2, "simulators": 64}
    result = {
        "rounds": 3,
        "seconds": 6.0,
        "cases": [{"envs": ["a", "b"], **shared, **rates}, {"envs": ["c"], **shared, **alone}],
    }
    title, columns, rows = environment_tables.backends(result)
    assert "medians of 3 rounds of 6 s" in title
    assert len(columns) == 7
    assert rows == [
        ["`a`", "`m`", "2 x 64", "100", "", "10", ""],
        ["`b`", "`m`", "2 x 64", "400", "3.00 (2.00 … 10.00)", "10", "1.00 (1.00 … 1.00)"],
        ["`c`", "`m`", "2 x 64", "7", "", "7", ""],
    ]


def test_runs_with_and_without_a_staggered_start_stand_together() -> None:
    runs = [
        {"game": game, "stagger": stagger, "seed": seed, "agent_steps": [500], "scores": [score]}
        for game, stagger, seed, score in (
            ("Pong", 100, 1, -20.5),
            ("Breakout", 0, 2, None),
            ("Pong", 0, 1, -21.0),
        )
    ]
    _, columns, rows = environment_tables.stagger({"runs": runs})
    assert columns[-1] == "500"
    assert rows == [
        ["Breakout", "0", "2", "–"],
        ["Pong", "0", "1", "-21.00"],
        ["Pong", "100", "1", "-20.50"],
    ]
