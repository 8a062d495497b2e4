"""Summaries of a study: each update rule at each learning rate, beside one large batch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gala_lab.compare.statistics import Scores, bootstrap_interval

Row = dict[str, Any]

_RULE = (
    *("learners", "topology", "second_moment", "optimizer", "bias_correction"),
    *("delay", "missed", "warm_up"),
)
WORKING = 0.8
"""A rate works if its mean AUC is at least this share of the large batch's highest."""


@dataclass(frozen=True)
class RateSummary:
    """Runs of an update rule at one rate; AUCs are measured from the floor.

    Attributes:
        rate: factor on the default learning rate.
        runs: number of runs in which 100 games ended.
        auc: mean AUC.
        auc_interval: its interval of 95 %.
        reached: runs whose mean return of 100 games has reached the threshold.
        kept: runs that end at the threshold or above.
        ratio: AUC over that of one large batch with the same optimizer and factor; None if there
            is none.
        ratio_interval: its interval of 95 %.
    """

    rate: float
    runs: int
    auc: float
    auc_interval: tuple[float, float]
    reached: int
    kept: int
    ratio: float | None
    ratio_interval: tuple[float, float] | None


@dataclass(frozen=True)
class RuleSummary:
    """An update rule over its rates.

    Attributes:
        learners: number of learners.
        name: what differs from the defaults.
        rates: a summary per rate, from the lowest.
        best: rate with the highest mean AUC.
        ratio: AUC at the best rate over that of one large batch at its own best rate.
        ratio_interval: its interval of 95 %.
        working: lowest and highest of the consecutive rates around the best one whose mean AUC is
            at least `WORKING` times that of one large batch at its best; None if there are none.
    """

    learners: int
    name: str
    rates: list[RateSummary]
    best: float
    ratio: float | None
    ratio_interval: tuple[float, float] | None
    working: tuple[float, float] | None


def name_of(cell: dict[str, Any]) -> str:
    """Name an update rule by what differs from the defaults."""
    parts = ["one large batch" if cell["learners"] == 1 else cell["topology"]]
    parts += [cell["second_moment"]] if cell["second_moment"] != "local" else []
    parts += [cell["optimizer"]] if cell["optimizer"] != "own" else []
    corrected = cell["bias_correction"]
    parts += [] if corrected == "own" else [f"bias correction {corrected}"]
    parts += [f"{name} {cell[name]:g}" for name in ("delay", "missed", "warm_up") if cell[name]]
    return ", ".join(parts)


def by_rule(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows of each update rule, in the order of their first rows."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row["cell"][name] for name in _RULE), []).append(row)
    return list(found.values())


def by_rate(rows: Sequence[Row]) -> dict[float, list[Row]]:
    """Return the rows of each rate, from the lowest."""
    rates = sorted({row["cell"]["rate"] for row in rows})
    return {rate: [row for row in rows if row["cell"]["rate"] == rate] for rate in rates}


def summaries(
    rows: Sequence[Row], threshold: float, floor: float, baseline: Sequence[Row] = ()
) -> list[RuleSummary]:
    """Summarise each update rule of one task.

    Args:
        rows: rows of one environment and algorithm.
        threshold: mean return that counts as reached.
        floor: return of an agent that has learned nothing; AUCs are measured from it, so that
            ratios make sense.
        baseline: rows of one large batch, if they are not among `rows`.
    """
    batches = {
        rule[0]["cell"]["optimizer"]: {r: _aucs(part, floor) for r, part in by_rate(rule).items()}
        for rule in by_rule([*baseline, *rows])
        if rule[0]["cell"]["learners"] == 1
    }
    return [
        _rule(rule, batches.get(rule[0]["cell"]["optimizer"], {}), threshold, floor)
        for rule in by_rule(rows)
    ]


def as_json(rules: Sequence[RuleSummary]) -> list[dict[str, Any]]:
    """Return summaries as plain JSON values."""
    return [asdict(rule) for rule in rules]


def _rule(
    rows: list[Row], batch: dict[float, Scores], threshold: float, floor: float
) -> RuleSummary:
    found = {rate: _aucs(part, floor) for rate, part in by_rate(rows).items()}
    best = _best(found)
    highest = batch[_best(batch)] if batch else None
    ratio, interval = _ratio(found[best], highest)
    return RuleSummary(
        learners=rows[0]["cell"]["learners"],
        name=name_of(rows[0]["cell"]),
        rates=[
            _rate(rate, part, batch.get(rate), threshold, floor)
            for rate, part in by_rate(rows).items()
        ],
        best=best,
        ratio=ratio,
        ratio_interval=interval,
        working=None if highest is None else _working(found, WORKING * float(highest.mean())),
    )


def _rate(
    rate: float, rows: list[Row], batch: Scores | None, threshold: float, floor: float
) -> RateSummary:
    aucs = _aucs(rows, floor)
    ratio, interval = _ratio(aucs, batch)
    return RateSummary(
        rate=rate,
        runs=len(aucs),
        auc=float(aucs.mean()),
        auc_interval=bootstrap_interval(np.mean, aucs),
        reached=_count(rows, "best", threshold),
        kept=_count(rows, "final", threshold),
        ratio=ratio,
        ratio_interval=interval,
    )


def _aucs(rows: Sequence[Row], floor: float) -> Scores:
    """Return the AUCs [runs, 1] above the floor."""
    return np.array([[row["auc"] - floor] for row in rows if row["auc"] is not None])


def _count(rows: Sequence[Row], name: str, threshold: float) -> int:
    return sum(row[name] is not None and row[name] >= threshold for row in rows)


def _best(found: dict[float, Scores]) -> float:
    return max(found, key=lambda rate: float(found[rate].mean()))


def _ratio(aucs: Scores, batch: Scores | None) -> tuple[float | None, tuple[float, float] | None]:
    """Return the ratio of mean AUCs, and its interval of 95 %."""
    if batch is None:
        return None, None
    return float(_ratio_of_means(aucs, batch)), bootstrap_interval(_ratio_of_means, aucs, batch)


def _ratio_of_means(aucs: Scores, batch: Scores) -> Scores:
    ratio: Scores = np.asarray(aucs.mean() / batch.mean())
    return ratio


def _working(found: dict[float, Scores], least: float) -> tuple[float, float] | None:
    """Return the ends of the consecutive rates around the best whose mean AUC is sufficient."""
    rates = list(found)
    works = [float(aucs.mean()) >= least for aucs in found.values()]
    low = high = rates.index(_best(found))
    if not works[low]:
        return None
    while low > 0 and works[low - 1]:
        low -= 1
    while high + 1 < len(rates) and works[high + 1]:
        high += 1
    return rates[low], rates[high]
