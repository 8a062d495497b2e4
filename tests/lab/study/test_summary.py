"""Summaries of a study: ratios to one large batch, counts, and ranges of rates that work."""

from dataclasses import asdict
from typing import Any

import pytest

from gala_lab.study.cell import Cell
from gala_lab.study.summary import as_json, name_of, summaries


def rows_of(aucs: dict[float, list[float]], **settings: Any) -> list[dict[str, Any]]:
    """A row per AUC at each rate; the final and the best score are the AUC, and 10 more."""
    start: dict[str, Any] = {
        "env": "CartPole-v1",
        "algorithm": "a2c",
        "learners": 1,
        "simulators": 16,
    }
    return [
        {
            "cell": asdict(Cell(**start | {"steps": 1_000, "rate": rate} | settings)),
            "seed": seed,
            "auc": auc,
            "final": auc,
            "best": auc + 10.0,
        }
        for rate, found in aucs.items()
        for seed, auc in enumerate(found)
    ]


BATCH = rows_of({0.5: [60.0, 80.0], 1.0: [100.0, 100.0], 2.0: [90.0, 90.0], 4.0: [5.0, 5.0]})
GOSSIP = rows_of(
    {1.0: [110.0, 130.0], 0.25: [70.0, 95.0], 0.5: [79.0, 81.0], 2.0: [80.0, 90.0], 4.0: [9.0, 9]},
    learners=4,
)


def test_ratios_are_those_of_means_at_the_same_rate_and_at_each_ones_best() -> None:
    batch, gossip = summaries([*BATCH, *GOSSIP], 100.0, 0.0)
    assert (batch.learners, batch.best, batch.ratio) == (1, 1.0, 1.0)
    assert (gossip.learners, gossip.best) == (4, 1.0)
    assert gossip.ratio == pytest.approx(1.2)
    assert gossip.ratio_interval == pytest.approx((1.1, 1.3))
    by_rate = {found.rate: found for found in gossip.rates}
    assert list(by_rate) == [0.25, 0.5, 1.0, 2.0, 4.0], "from the lowest"
    assert by_rate[0.25].ratio is None
    assert by_rate[2.0].ratio == pytest.approx(85.0 / 90.0)
    assert by_rate[0.5].auc == 80.0


def test_a_run_reaches_the_threshold_at_its_best_and_keeps_it_at_its_end() -> None:
    _, gossip = summaries([*BATCH, *GOSSIP], 100.0, 0.0)
    at = {found.rate: (found.reached, found.kept) for found in gossip.rates}
    assert at == {0.25: (1, 0), 0.5: (0, 0), 1.0: (2, 2), 2.0: (1, 0), 4.0: (0, 0)}


def test_rates_work_that_are_near_the_large_batch_without_a_gap() -> None:
    batch, gossip = summaries([*BATCH, *GOSSIP], 100.0, 0.0)
    assert batch.working == (1.0, 2.0)
    assert gossip.working == (0.25, 2.0)
    (low,) = summaries(rows_of({1.0: [79.0]}, learners=4), 100.0, 0.0, baseline=BATCH)
    assert low.working is None


def test_aucs_count_from_the_floor() -> None:
    batch = rows_of({1.0: [-100.0]})
    _, gossip = summaries([*batch, *rows_of({1.0: [-200.0]}, learners=2)], -100.0, -500.0)
    assert gossip.ratio == pytest.approx(0.75)


def test_each_optimizer_is_compared_with_its_own_large_batch() -> None:
    both = [*BATCH, *rows_of({1.0: [50.0]}, optimizer="rmsprop-tf")]
    gossip = rows_of({1.0: [100.0]}, learners=4, optimizer="rmsprop-tf")
    assert summaries([*both, *gossip], 100.0, 0.0)[-1].ratio == pytest.approx(2.0)
    assert summaries(gossip, 100.0, 0.0)[0].ratio is None


def test_a_name_says_what_differs_from_the_defaults() -> None:
    assert name_of(BATCH[0]["cell"]) == "one large batch"
    changed = rows_of({1.0: [1.0]}, learners=4, topology="complete", delay=1, missed=0.2)
    assert name_of(changed[0]["cell"]) == "complete, delay 1, missed 0.2"
    assert as_json(summaries(changed, 1.0, 0.0))[0]["name"] == "complete, delay 1, missed 0.2"
