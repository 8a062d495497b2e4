"""The table of a comparison: a column per method, for people."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from gala_lab.compare.report import Result
from gala_lab.compare.statistics import CONFIDENCE
from gala_rl.app.game_limit import game_limit
from gala_rl.config.train import from_dict
from gala_rl.methods import algorithms_of
from gala_rl.records.metrics import score_text

Table = tuple[str, list[str], list[list[str]]]
"""Title, heads of columns, rows."""

FEWEST_SEEDS = 6
"""With fewer, the scores seen miss the median of all seeds more often than an interval may."""


def table_of(result: Result) -> Table:
    """Return a result as a table."""
    methods = result["methods"]
    first = next(iter(methods))
    seeds = result["seeds"]
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    title = (
        f"{result['env']}, {result['steps']:,} agent steps, {result['simulators_total']} "
        f"simulators in all, {which}, {result['settings']} settings"
    )
    rows: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("learners x simulators", lambda m: f"{m['learners']} x {m['simulators']}"),
        ("complete runs", _complete),
        ("score: IQM, 95 % interval", lambda m: interval_text(m["score"], "iqm", score_text)),
    ]
    if any(m["human_normalized"] for m in methods.values()):
        label = "human-normalised: IQM, 95 % interval"
        rows.append((label, lambda m: interval_text(m["human_normalized"], "iqm", "{:.2f}".format)))
    if result["evaluation_episodes"]:
        label = f"greedy, {result['evaluation_episodes']} games per run: IQM, 95 % interval"
        rows.append((label, lambda m: interval_text(m["evaluation"], "iqm", score_text)))
    if len(methods) > 1:
        label = f"probability of a better score than {first}"
        rows.append(
            (label, lambda m: interval_text(m["improvement"], "probability", "{:.2f}".format))
        )
    if result["threshold"] is not None:
        goal = f"{result['threshold']:g}"
        rows += [
            (f"runs that reach {goal}", _arrived),
            ("  agent steps until then, median", lambda m: _shown(m["reached_agent_steps"])),
            ("  seconds until then, median", lambda m: _shown(m["reached_seconds"], ",.1f")),
        ]
    rows += [
        ("agent steps per second", lambda m: _shown(m["agent_steps_per_s"])),
        ("updates per second", lambda m: _shown(m["updates_per_s"], ",.1f")),
        ("seconds", lambda m: _shown(m["seconds"], ",.1f")),
        ("peak memory of the learners, MiB", lambda m: _shown(m["peak_rss_mb"])),
    ]
    cells = [[label, *(show(method) for method in methods.values())] for label, show in rows]
    return title, ["", *methods], cells


def notes_of(result: Result) -> list[str]:
    """Return notes on the table, one per line: failed runs, cut games, too few seeds."""
    notes = []
    for name, method in result["methods"].items():
        runs = method["runs"]
        failed = [str(run["seed"]) for run in runs if not run["complete"]]
        silent = [str(run["seed"]) for run in runs if run["complete"] and run["score"] is None]
        if failed:
            notes.append(f"{name}: seed {', '.join(failed)} failed and is in no number above")
        if cut := sum(run["evaluation_games_cut"] or 0 for run in runs if run["complete"]):
            config = from_dict(method["config"], algorithms_of(method["config"]))
            limit = game_limit(config, result["evaluation_max_steps"])
            notes.append(
                f"{name}: games cut after {limit:,} agent steps (--max-steps): {cut:,}; each "
                f"counts with its score so far"
            )
        if silent:
            notes.append(f"{name}: no game was over with seed {', '.join(silent)}: more --steps")
    notes += _few_seeds(result)
    if result["most_at_once"] > 1:
        notes.append(
            f"up to {result['most_at_once']} runs at once: seconds and rates are not comparable"
        )
    if result["origins"] > 1:
        notes.append(
            f"runs have {result['origins']} different machines, versions or commits: seconds and "
            f"rates are not comparable"
        )
    return notes


def _few_seeds(result: Result) -> list[str]:
    """Return what the numbers of this few runs do not show.

    Resampled means lie between the lowest and the highest of n scores, which miss the median of
    all seeds with probability 2^(1-n). Of two equal methods, n runs of one all beat the n of the
    other with probability 1 / C(2n, n), each way.
    """
    methods = result["methods"].values()
    runs = min((m["score"]["runs"] for m in methods if m["score"] is not None), default=0)
    missed = 2.0 ** (1 - runs)
    if runs == 0 or missed <= 1 - CONFIDENCE:
        return []
    if runs == 1:
        return ["one seed: an interval is that of one run and says nothing about other seeds"]
    notes = [
        f"{runs} seeds are few: an interval extends no further than the observed scores, and the "
        f"median of all seeds lies outside them in {missed:.0%} of cases, not in 5%"
    ]
    if len(result["methods"]) > 1:
        by_chance = 2 / math.comb(2 * runs, runs)
        notes.append(
            f"with {runs} seeds, two equal methods get a probability of 0.00 or 1.00 by chance in "
            f"{by_chance:.0%} of cases: use {FEWEST_SEEDS} seeds or more"
        )
    return notes


def markdown(result: Result) -> str:
    """Return table and notes of one environment as a Markdown document."""
    return document(table_of(result), notes_of(result))


def document(table: Table, notes: Sequence[str]) -> str:
    """Return a table and notes as a Markdown document."""
    title, columns, rows = table
    lines = [title, "", _line(columns), _line(["---"] * len(columns)), *map(_line, rows)]
    return "\n".join([*lines, *(f"\n{note}" for note in notes)]) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.strip() for cell in cells)} |"


def _complete(method: dict[str, Any]) -> str:
    return f"{method['complete']} of {len(method['runs'])}"


def _arrived(method: dict[str, Any]) -> str:
    return f"{round(method['reached_share'] * len(method['runs']))} of {len(method['runs'])}"


def interval_text(value: dict[str, Any] | None, name: str, shown: Callable[[float], str]) -> str:
    """Return a value with its interval, as text."""
    if value is None:
        return "–"
    low, high = value["interval"]
    return f"{shown(value[name])} [{shown(low)}, {shown(high)}]"


def _shown(value: float | None, digits: str = ",.0f") -> str:
    return "–" if value is None else f"{value:{digits}}"
