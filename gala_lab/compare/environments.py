"""Several environments in one comparison: a result and a table over all of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gala_lab.compare.comparison_table import FEWEST_SEEDS, Table, interval_text
from gala_lab.compare.report import Result, normalized, profiles_of
from gala_lab.compare.statistics import (
    Scores,
    bootstrap_interval,
    interquartile_mean,
    probability_of_improvement,
)
from gala_rl.errors import counted
from gala_rl.records.metrics import score_text


def result_over(results: Mapping[str, Result]) -> Result:
    """Return what several environments show together, with the result of each.

    Args:
        results: result per environment, all with the same methods.

    Returns:
        Per method: the interquartile mean of human-normalised scores over all runs, if all
        environments are Atari games; and the probability that a run beats one of the first method
        in the same environment, averaged over environments.
    """
    names = list(next(iter(results.values()))["methods"])
    scores = {name: _scores(results, name, human=False) for name in names}
    human = {name: _scores(results, name, human=True) for name in names}
    are_games = all(len(own) for own in human.values())
    methods: dict[str, Any] = {}
    for name in names:
        mine, theirs = scores[name], scores[names[0]]
        is_compared = name != names[0] and len(mine) and len(theirs)
        methods[name] = {
            "runs": len(mine),
            "human_normalized": None
            if not are_games
            else {
                "iqm": float(interquartile_mean(human[name])),
                "interval": bootstrap_interval(interquartile_mean, human[name]),
            },
            "improvement": None
            if not is_compared
            else {
                "over": names[0],
                "probability": float(probability_of_improvement(mine, theirs)),
                "interval": bootstrap_interval(probability_of_improvement, mine, theirs),
            },
        }
    return {
        "environments": dict(results),
        "methods": methods,
        "profiles": profiles_of(human) if are_games else None,
    }


def _scores(results: Mapping[str, Result], name: str, *, human: bool) -> Scores:
    """Return scores [runs, environments] of the seeds that have one in every environment.

    Args:
        results: result per environment.
        name: name of the method.
        human: whether scores are human-normalised; then [0, 0] if an environment is no game.
    """
    columns: list[dict[int, float]] = []
    for env, result in results.items():
        runs = result["methods"][name]["runs"]
        own = {run["seed"]: run["score"] for run in runs if run.get("score") is not None}
        columns.append(
            {seed: normalized(env, score) for seed, score in own.items()} if human else own
        )
    seeds = sorted(set.intersection(*(set(column) for column in columns)))
    rows = [[column[seed] for column in columns] for seed in seeds]
    if any(np.isnan(value) for row in rows for value in row):
        return np.zeros((0, 0))
    return np.array(rows, dtype=float).reshape(len(seeds), len(columns))


def table_over(result: Result) -> Table:
    """Return the table of several environments: a row each, then what they show together."""
    environments, methods = result["environments"], result["methods"]
    first_result, first = next(iter(environments.values())), next(iter(methods))
    rows = []
    for env, own in environments.items():
        cells = (own["methods"][name]["score"] for name in methods)
        rows.append([env, *(interval_text(cell, "iqm", score_text) for cell in cells)])
    if any(method["human_normalized"] for method in methods.values()):
        cells = (method["human_normalized"] for method in methods.values())
        label = "human-normalised, over all: IQM, 95 % interval"
        rows.append([label, *(interval_text(cell, "iqm", "{:.2f}".format) for cell in cells)])
    if len(methods) > 1:
        cells = (method["improvement"] for method in methods.values())
        label = f"probability of a better score than {first}"
        rows.append([label, *(interval_text(c, "probability", "{:.2f}".format) for c in cells)])
    title = (
        f"{counted(len(environments), 'environment')}, {first_result['steps']:,} agent steps each, "
        f"{counted(len(first_result['seeds']), 'seed')}: score, IQM and 95 % interval"
    )
    return title, ["", *methods], rows


def notes_over(result: Result) -> list[str]:
    """Return the notes of each environment that are not about the number of seeds."""
    notes = [
        f"{env}: {note}"
        for env, own in result["environments"].items()
        for note in own["notes"]
        if "seed" not in note or "failed" in note or "no game" in note
    ]
    seeds = min((method["runs"] for method in result["methods"].values()), default=0)
    if seeds < FEWEST_SEEDS:
        notes.append(
            f"{counted(seeds, 'seed')} with a score everywhere: intervals say little; use "
            f"{FEWEST_SEEDS} or more"
        )
    return notes
