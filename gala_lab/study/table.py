"""The tables of a study: each update rule at each rate, and at its best rate."""

from collections.abc import Sequence

import numpy as np

from gala_lab.compare.comparison_table import Table
from gala_lab.compare.statistics import bootstrap_interval
from gala_lab.study.summary import Row, by_rate, by_rule, name_of
from gala_rl.records.metrics import mean, score_text


def tables_of(rows: Sequence[Row], threshold: float | None) -> list[Table]:
    """Return a table per environment and algorithm: AUC by rate, then AUC and score at the best."""
    tasks = dict.fromkeys((row["cell"]["env"], row["cell"]["algorithm"]) for row in rows)
    return [
        _table(env, [row for row in rows if _task(row) == (env, algorithm)], threshold)
        for env, algorithm in tasks
    ]


def _task(row: Row) -> tuple[str, str]:
    return row["cell"]["env"], row["cell"]["algorithm"]


def _table(env: str, rows: list[Row], threshold: float | None) -> Table:
    rates = sorted({row["cell"]["rate"] for row in rows})
    first = rows[0]["cell"]
    title = (
        f"{env}, {first['algorithm']}, {first['steps']:,} agent steps, "
        f"{first['learners'] * first['simulators']} simulators in all: AUC at each rate"
    )
    if threshold is not None:
        title += f" (runs that end at {threshold:g} or above)"
    heads = [f"x{rate:g}" for rate in rates]
    columns = ["learners", "update rule", *heads, "best AUC, 95 %", "final"]
    return title, columns, [_line(rule, rates, threshold) for rule in by_rule(rows)]


def _line(rule: list[Row], rates: list[float], threshold: float | None) -> list[str]:
    cell, found = rule[0]["cell"], by_rate(rule)
    start = [str(cell["learners"]), name_of(cell)]
    return [*start, *_cells(found, rates, threshold), *_best(found)]


def auc_of(rows: list[Row]) -> float | None:
    """Return the mean AUC of runs in which 100 games ended; None if there are none."""
    return mean([row["auc"] for row in rows if row["auc"] is not None])


def _cells(found: dict[float, list[Row]], rates: list[float], threshold: float | None) -> list[str]:
    cells = []
    for rate in rates:
        if rate not in found:
            cells.append("–")
            continue
        auc = auc_of(found[rate])
        text = "–" if auc is None else score_text(auc)
        if threshold is not None:
            reached = sum(
                row["final"] is not None and row["final"] >= threshold for row in found[rate]
            )
            text += f" ({reached}/{len(found[rate])})"
        cells.append(text)
    return cells


def _best(found: dict[float, list[Row]]) -> list[str]:
    aucs_by_rate = {rate: auc for rate, rows in found.items() if (auc := auc_of(rows)) is not None}
    if not aucs_by_rate:
        return ["–", "–"]
    rate = max(aucs_by_rate, key=aucs_by_rate.__getitem__)
    aucs = np.array([[row["auc"]] for row in found[rate] if row["auc"] is not None])
    low, high = bootstrap_interval(np.mean, aucs)
    best = f"{score_text(float(aucs.mean()))} ({score_text(low)} – {score_text(high)}) at x{rate:g}"
    return [
        best,
        score_text(mean([row["final"] for row in found[rate] if row["final"] is not None])),
    ]
