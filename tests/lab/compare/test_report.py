"""The result and its table, from folders of runs whose every number is known."""

import json
from pathlib import Path

import pytest

from gala_lab.compare import comparison_table as table
from gala_lab.compare.compare_options import CompareOptions
from gala_lab.compare.comparison_plan import Plan, configs_of, record
from gala_lab.compare.report import Result, result_of
from gala_lab.figures.comparisons import draw_comparison
from gala_rl.config.train import TrainConfig
from tests.support.comparison_rows import make_run, rows

STEPS = 400


def plan_in(folder: Path, threshold: float | None = 60.0, seeds: int = 4, at_once: int = 1) -> Plan:
    base = TrainConfig(env="CartPole-v1", steps=STEPS, learners=2, serial=False)
    return Plan(
        folder=folder,
        configs=configs_of(base, ["a2c", "gala-a2c"], simulators_total=16),
        options=CompareOptions(seeds=seeds, threshold=threshold, at_once=at_once),
    )


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """a2c ends at 10, 20, 30, 40 + 20 x seed after 4 s; gala-a2c at twice that after 2, but one."""
    plan = plan_in(tmp_path / "there")
    plan.folder.mkdir()
    record(plan)
    for seed in plan.seeds:
        returns = [[level + 20.0 * seed] * 100 for level in (10, 20, 30, 40)]
        own = rows([1, 2, 3, 4], [100, 200, 300, 400], returns=returns)
        make_run(plan.run("a2c", seed), [own], complete=True)
        returns = [[2 * score for score in games[:50]] for games in returns]
        half = rows([0.5, 1, 1.5, 2], [50, 100, 150, 200], returns=returns, learners=2)
        make_run(plan.run("gala-a2c", seed), [half, half], complete=seed != 3)
    return plan


def test_aggregates_are_those_of_the_runs(plan: Plan) -> None:
    result = result_of(plan)
    alone, several = result["methods"].values()
    assert [run["score"] for run in alone["runs"]] == [40, 60, 80, 100]
    assert alone["score"]["iqm"] == 70
    assert alone["score"]["interval"][0] < 70 < alone["score"]["interval"][1]
    assert (alone["agent_steps_per_s"], alone["updates_per_s"], alone["seconds"]) == (100, 10, 4)
    assert (several["agent_steps_per_s"], several["seconds"]) == (200, 2)
    assert alone["peak_rss_mb"] == 103
    assert several["peak_rss_mb"] == 206, "of both learners"
    # 80, 120, 160 against 40, 60, 80, 100: 2.5 + 4 + 4 of 12 pairs.
    improvement = several["improvement"]
    assert (improvement["over"], improvement["probability"]) == ("a2c", (2.5 + 4 + 4) / 12)
    assert alone["improvement"] is None


def test_a_threshold_is_reached_by_some_at_their_own_time(plan: Plan) -> None:
    alone, several = result_of(plan)["methods"].values()
    # Seed 0 never is at 60; the others at rows 4, 2 and 1.
    assert [run["reached"] for run in alone["runs"]] == [
        None,
        {"agent_steps": 400, "seconds": 4},
        {"agent_steps": 200, "seconds": 2},
        {"agent_steps": 100, "seconds": 1},
    ]
    assert alone["reached_share"] == 0.75
    assert (alone["reached_agent_steps"], alone["reached_seconds"]) == (200, 2)
    # A run that failed has not reached it.
    assert several["reached_share"] == 0.75


def test_a_failed_run_is_told_and_in_no_number(plan: Plan) -> None:
    result = result_of(plan)
    several = result["methods"]["gala-a2c"]
    assert several["runs"][3] == {"seed": 3, "complete": False}
    assert (several["complete"], several["score"]["runs"]) == (3, 3)
    text = table.markdown(result)
    assert "| complete runs | 4 of 4 | 3 of 4 |" in text
    assert "gala-a2c: seed 3 failed and is in no number above" in text


def test_curves_are_on_common_grids(plan: Plan) -> None:
    curves = result_of(plan)["curves"]
    by_steps, by_seconds = curves["agent_steps"], curves["seconds"]
    assert (by_steps["grid"][0], by_steps["grid"][-1]) == (0, STEPS)
    assert (by_seconds["grid"][0], by_seconds["grid"][-1]) == (0, 4)
    a2c = by_steps["methods"]["a2c"]
    assert (a2c["iqm"][0], a2c["iqm"][50], a2c["iqm"][-1]) == (None, 50, 70)
    for low, middle, high in zip(a2c["low"], a2c["iqm"], a2c["high"], strict=True):
        assert (low is middle is high is None) or low <= middle <= high
    faster = by_seconds["methods"]["gala-a2c"]["iqm"]
    assert faster[50] == 120
    assert faster[51:] == [None] * 50, "its runs have ended"


def test_the_result_is_plain_json(plan: Plan) -> None:
    result = result_of(plan)
    assert json.loads(json.dumps(result, allow_nan=False)).keys() == result.keys()


def test_without_a_threshold_nothing_is_said_of_it(plan: Plan) -> None:
    result = result_of(plan_in(plan.folder, threshold=None))
    assert "reach" not in table.markdown(result)


def test_runs_beside_each_other_are_not_compared_by_the_clock(plan: Plan) -> None:
    assert not any("at once" in note for note in table.notes_of(result_of(plan)))
    record(plan_in(plan.folder, at_once=2))
    assert any("up to 2 runs at once" in note for note in table.notes_of(result_of(plan)))


def test_runs_of_different_machines_are_not_compared_by_the_clock(plan: Plan) -> None:
    file = plan.folder / "runs" / "a2c-seed-1" / "config.json"
    content = json.loads(file.read_text())
    content["machine"]["cores"] = 999
    file.write_text(json.dumps(content))
    assert any("2 different machines" in note for note in table.notes_of(result_of(plan)))


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        (1, ["says nothing about other seeds"]),
        (2, ["outside them in 50% of cases", "by chance in 33% of cases"]),
        (3, ["outside them in 25% of cases", "by chance in 10% of cases"]),
        (5, ["outside them in 6% of cases", "by chance in 1% of cases"]),
        (6, []),
        (10, []),
    ],
)
def test_what_so_few_seeds_cannot_tell_is_said(plan: Plan, runs: int, told: list[str]) -> None:
    result = result_of(plan)
    for method in result["methods"].values():
        method["score"]["runs"] = runs
    notes = [note for note in table.notes_of(result) if "seed" in note and "failed" not in note]
    assert len(notes) == len(told)
    assert all(words in note for note, words in zip(notes, told, strict=True))


def test_scores_between_0_and_1_are_in_the_table(plan: Plan) -> None:
    result = result_of(plan)
    result["methods"]["a2c"]["score"] |= {"iqm": 0.694, "interval": (-0.0391, 1.0)}
    assert "| 0.694 [-0.0391, 1.00] |" in table.markdown(result)


@pytest.fixture
def silent(tmp_path: Path) -> Result:
    """Both methods with one seed, neither of which ends a game; one fails."""
    plan = plan_in(tmp_path / "silent", seeds=1)
    plan.folder.mkdir()
    record(plan)
    make_run(plan.run("a2c", 0), [rows([1.0], [400])], complete=True)
    return result_of(plan)


def test_a_method_without_any_score_has_none(silent: Result) -> None:
    alone, several = silent["methods"].values()
    assert alone["score"] is several["score"] is several["improvement"] is None
    assert several["seconds"] is None
    text = table.markdown(silent)
    assert "a2c: no game was over with seed 0: more --steps" in text
    assert "gala-a2c: seed 0 failed" in text
    json.dumps(silent, allow_nan=False)


def test_pictures_are_drawn_of_whatever_there_is(
    plan: Plan, silent: Result, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    for result in (result_of(plan), silent):
        draw_comparison(result, tmp_path / "curves.png")
        assert (tmp_path / "curves.png").stat().st_size > 1000
