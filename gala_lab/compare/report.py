"""The result of a comparison: measures of each run, aggregates over seeds, curves."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gala_lab.atari_scores import game_of, human_normalized
from gala_lab.compare.comparison_plan import FILE, Plan, read_record
from gala_lab.compare.learning_curves import (
    Array,
    Curve,
    curve_of,
    on_grid,
    reached,
    rows_of,
    summarised,
)
from gala_lab.compare.run_schedule import evaluation_of, is_complete
from gala_lab.compare.statistics import (
    CONFIDENCE,
    RESAMPLES,
    Scores,
    bootstrap_interval,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    profile_interval,
)
from gala_rl.config import train as configs
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.decode import decode
from gala_rl.errors import UserError
from gala_rl.records.files import read_json
from gala_rl.records.metrics import Row
from gala_rl.records.provenance import provenance
from gala_rl.records.run_folder import RunFolder

POINTS = 101
"""Points of a curve."""

Result = dict[str, Any]


def result_of(plan: Plan) -> Result:
    """Return measures, aggregates and curves of the plan's complete runs, as plain JSON values."""
    origins: list[tuple[Any, ...]] = []
    curves: dict[str, list[Curve]] = {name: [] for name in plan.methods}
    methods: dict[str, Any] = {}
    for name, config in plan.methods.items():
        runs = []
        for seed in plan.seeds:
            run = plan.run(name, seed)
            if not is_complete(run):
                runs.append({"seed": seed, "complete": False})
                continue
            folder = RunFolder(Path(str(run.out)))
            origins += _origins(folder.config_file)
            rows = rows_of(folder)
            curve = curve_of(rows)
            if not len(curve.games) or not curve.seconds[-1] > 0:
                raise UserError(f"run {run.out} has no metrics any more: remove it and try again")
            curves[name].append(curve)
            runs.append({"seed": seed, "complete": True, **_measured(plan, run, rows, curve)})
        methods[name] = _aggregated(plan, config, runs)
    _add_improvements(methods)
    samples = {name: _sample(own["runs"], "score") for name, own in methods.items()}
    return {
        "env": plan.configs[0].env,
        "steps": plan.configs[0].steps,
        "simulators_total": plan.configs[0].total_simulators,
        "settings": plan.options.settings,
        "threshold": plan.options.threshold,
        "evaluation_episodes": plan.options.episodes,
        "evaluation_max_steps": plan.options.max_steps,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "seeds": list(plan.seeds),
        "most_at_once": _most_at_once(plan),
        "origins": len({str(origin) for origin in origins}),
        "methods": methods,
        "profiles": profiles_of(samples),
        "curves": _curves(plan.configs[0].steps, curves),
        **provenance(),
    }


def _most_at_once(plan: Plan) -> int:
    return max(call["at_once"] for call in read_record(plan.folder / FILE)["calls"])


def _origins(file: Path) -> list[tuple[Any, ...]]:
    """Return machine, versions and commit of each start of a run."""
    content = read_json(file)
    resumes = content.get("resumes", [])
    starts = [content, *decode(list[dict[str, Any]], resumes, str(file), "resumes")]
    return [tuple(map(start.get, ("machine", "versions", "commit"))) for start in starts]


def _measured(
    plan: Plan, config: ResolvedConfig, rows: Sequence[Sequence[Row]], curve: Curve
) -> dict[str, Any]:
    last = [own[-1] for own in rows if own]
    agent_steps, updates = (sum(row[name] for row in last) for name in ("agent_steps", "updates"))
    seconds = float(curve.seconds[-1])
    peaks = [max(row["rss_mb"] for row in own) for own in rows if own]
    evaluation = evaluation_of(config, plan.options)
    results = None if evaluation is None else evaluation["results"][0]
    no_game = not curve.games[-1]
    return {
        "score": None if no_game else float(curve.scores[-1]),
        "human_normalized": _human(config, None if no_game else float(curve.scores[-1])),
        "games": int(curve.games[-1]),
        "evaluation": None if results is None else results["mean_return"],
        "evaluation_games_cut": None if results is None else results["games_cut"],
        "reached": None
        if plan.options.threshold is None
        else reached(curve, plan.options.threshold),
        "agent_steps": agent_steps,
        "updates": updates,
        "seconds": seconds,
        "agent_steps_per_s": agent_steps / seconds,
        "updates_per_s": updates / seconds,
        # Learners that take turns live in one process.
        "peak_rss_mb": max(peaks) if config.serial else sum(peaks),
    }


def normalized(env: str, score: float) -> float:
    """Return the human-normalised score; NaN where the environment is no known Atari game."""
    game = game_of(env)
    return math.nan if game is None else human_normalized(game, score)


def _human(config: ResolvedConfig, score: float | None) -> float | None:
    if score is None or math.isnan(value := normalized(config.env, score)):
        return None
    return value


def profiles_of(samples: Mapping[str, Scores]) -> dict[str, Any] | None:
    """Return the share of runs above each score, and its interval; None without any score.

    Args:
        samples: scores [runs, tasks] per method.
    """
    known = {name: scores for name, scores in samples.items() if scores.size}
    if not known:
        return None
    together = np.concatenate([scores.ravel() for scores in known.values()])
    grid = np.linspace(together.min(), together.max(), POINTS)
    return {
        "scores": grid.tolist(),
        "methods": {name: _profile(scores, grid) for name, scores in known.items()},
    }


def _profile(scores: Scores, grid: Array) -> dict[str, list[float]]:
    low, high = profile_interval(scores, grid)
    share = performance_profile(scores, grid)
    return {"share": share.tolist(), "low": low.tolist(), "high": high.tolist()}


def _aggregated(plan: Plan, config: ResolvedConfig, runs: list[dict[str, Any]]) -> dict[str, Any]:
    complete = [run for run in runs if run["complete"]]
    arrived = [run["reached"] for run in complete if run["reached"] is not None]
    rates = ("agent_steps_per_s", "updates_per_s", "seconds", "peak_rss_mb")
    has_threshold = plan.options.threshold is not None
    return {
        "learners": config.learners,
        "simulators": config.simulators,
        "runs": runs,
        "complete": len(complete),
        "score": _score(complete, "score"),
        "human_normalized": _score(complete, "human_normalized"),
        "evaluation": _score(complete, "evaluation"),
        "reached_share": len(arrived) / len(runs) if has_threshold else None,
        **{f"reached_{name}": _median(arrived, name) for name in ("agent_steps", "seconds")},
        **{name: _median(complete, name) for name in rates},
        "config": configs.to_dict(config),
    }


def _median(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    return statistics.median(row[name] for row in rows) if rows else None


def _sample(runs: Sequence[dict[str, Any]], name: str) -> Scores:
    """Return scores [runs, 1] of the runs that have one."""
    scores = [[run[name]] for run in runs if run.get(name) is not None]
    return np.array(scores, dtype=float).reshape(-1, 1)


def _score(runs: Sequence[dict[str, Any]], name: str) -> dict[str, Any] | None:
    scores = _sample(runs, name)
    if not len(scores):
        return None
    return {
        "iqm": float(interquartile_mean(scores)),
        "interval": bootstrap_interval(interquartile_mean, scores),
        "runs": len(scores),
    }


def _add_improvements(methods: dict[str, Any]) -> None:
    """Add to each method but the first the probability that it beats the first."""
    samples = {
        name: _sample([run for run in method["runs"] if run["complete"]], "score")
        for name, method in methods.items()
    }
    first = next(iter(samples))
    for name, method in methods.items():
        mine, theirs = samples[name], samples[first]
        if name == first or not len(mine) or not len(theirs):
            method["improvement"] = None
            continue
        method["improvement"] = {
            "over": first,
            "probability": float(probability_of_improvement(mine, theirs)),
            "interval": bootstrap_interval(probability_of_improvement, mine, theirs),
        }


def _curves(steps: int, curves: dict[str, list[Curve]]) -> dict[str, Any]:
    """Return interquartile means and intervals on grids of agent steps and of seconds.

    By seconds a method's curve ends where the first of its runs does.
    """
    ends = [float(run.seconds[-1]) for runs in curves.values() for run in runs]

    def ended(run: Curve, grid: Array) -> Array:
        values = on_grid(run.seconds, run.scores, grid)
        return np.where(grid <= run.seconds[-1], values, np.nan)

    axes: dict[str, tuple[Array, Callable[[Curve, Array], Array]]] = {
        "agent_steps": (
            np.linspace(0, steps, POINTS),
            lambda run, grid: on_grid(run.agent_steps, run.scores, grid),
        ),
        "seconds": (np.linspace(0, max(ends, default=0.0), POINTS), ended),
    }
    return {
        axis: {
            "grid": grid.tolist(),
            "methods": {
                name: summarised([value(run, grid) for run in runs])
                for name, runs in curves.items()
                if runs
            },
        }
        for axis, (grid, value) in axes.items()
    }
