"""Draws learning curves, interquartile means and performance profiles of runs, and benchmarks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gala_lab.atari_scores import game_of, human_normalized
from gala_lab.compare.learning_curves import Array, on_grid, summarised
from gala_lab.compare.statistics import (
    Scores,
    bootstrap_interval,
    interquartile_mean,
    performance_profile,
    profile_interval,
)
from gala_lab.figures.sources import DrawnRun, Sources
from gala_lab.figures.style import count_steps, draw_band, new_figure, style_of
from gala_rl.errors import UserError, counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["curves", "scores", "profile"]
"""Learning curves; interquartile means of final scores; or the share of runs above each score."""

_POINTS = 101
_BENCHMARKS = {
    "throughput": ("achieved_sps", "agent steps per second"),
    "scaling": ("sps", "agent steps per second"),
    "stragglers": ("sps", "agent steps per second"),
    "faults": ("soon_of_before", "rate in the 5 s after a fault, relative to before"),
    "gossip": ("exchange_ms", "milliseconds per exchange"),
    "overhead": ("training_us", "microseconds per agent step"),
}
"""Number that is drawn, and its unit."""


def draw(sources: Sources, kind: Kind = "curves") -> "Figure":
    """Return the figure of what `read_sources` has found.

    Raises:
        UserError: when there is nothing to draw, or scores have no common scale.
    """
    if sources.benchmarks:
        return draw_benchmarks(sources.benchmarks)
    if sources.study:
        from gala_lab.study.figure import draw as draw_study

        return draw_study(sources.study)
    if not sources.runs:
        raise UserError("no game has ended in these runs: nothing to plot")
    match kind:
        case "curves":
            return draw_curves(sources.runs)
        case "scores":
            return draw_scores(sources.runs)
        case "profile":
            return draw_profile(sources.runs)


def grouped(runs: Sequence[DrawnRun]) -> dict[str, dict[str, list[DrawnRun]]]:
    """Return runs by method, then by environment."""
    groups: dict[str, dict[str, list[DrawnRun]]] = {}
    for run in runs:
        groups.setdefault(run.method, {}).setdefault(run.env, []).append(run)
    return groups


def draw_curves(runs: Sequence[DrawnRun]) -> "Figure":
    """Draw interquartile means of each method with intervals of 95 %, a panel per environment."""
    groups = grouped(runs)
    envs = list(dict.fromkeys(run.env for run in runs))
    figure, panels = new_figure(len(envs))
    for axes, env in zip(panels, envs, strict=True):
        for number, (method, by_env) in enumerate(groups.items()):
            if env not in by_env:
                continue
            own = by_env[env]
            last = max(float(run.curve.agent_steps[-1]) for run in own)
            grid = np.linspace(0.0, last, _POINTS)
            curve = summarised([_on_grid(run, grid) for run in own])
            band = {"low": curve["low"], "middle": curve["iqm"], "high": curve["high"]}
            label = f"{method}, {counted(len(own), 'run')}"
            draw_band(axes, grid, band, style_of(number), label)
        axes.set(title=env, xlabel="agent steps", ylabel="raw return, last 100 games")
        count_steps(axes)
        axes.legend(fontsize="small")
    figure.suptitle("interquartile mean of runs, 95 % interval", fontsize="medium")
    return figure


def _on_grid(run: DrawnRun, grid: Array) -> Array:
    values = on_grid(run.curve.agent_steps, run.curve.scores, grid)
    # The last row of a run may lie one update beyond the end of another.
    return np.where(grid <= 1.01 * run.curve.agent_steps[-1], values, np.nan)


def score_tables(runs: Sequence[DrawnRun]) -> tuple[dict[str, Scores], str]:
    """Return final scores [runs, tasks] by method on a common scale, and the name of the scale.

    Raises:
        UserError: when scores have no common scale, or a method has not as many runs of each task.
    """
    groups = grouped(runs)
    envs = {run.env for run in runs}
    is_atari = all(game_of(env) is not None for env in envs)
    if len(envs) > 1 and not is_atari:
        raise UserError(
            f"scores of {', '.join(sorted(envs))} have no common scale: plot one environment, or "
            f"Atari games, which are human-normalised"
        )
    tables = {}
    for method, by_env in groups.items():
        counts = {env: len(own) for env, own in by_env.items()}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{count} of {env}" for env, count in counts.items())
            raise UserError(f"{method} has runs {shown}: give as many of each")
        columns = [[_scaled(run, is_atari) for run in own] for own in by_env.values()]
        tables[method] = np.array(columns, dtype=float).T
    return tables, "human-normalised score" if is_atari else f"raw return of {envs.pop()}"


def _scaled(run: DrawnRun, is_atari: bool) -> float:
    game = game_of(run.env) if is_atari else None
    return run.score if game is None else human_normalized(game, run.score)


def draw_scores(runs: Sequence[DrawnRun]) -> "Figure":
    """Draw the interquartile mean of final scores of each method, with its interval of 95 %."""
    tables, scale = score_tables(runs)
    figure, (axes,) = new_figure(1, width=6.0, height=1.2 + 0.4 * len(tables))
    for number, scores in enumerate(tables.values()):
        style = style_of(number)
        low, high = bootstrap_interval(interquartile_mean, scores)
        axes.plot([low, high], [number, number], color=style.color, linewidth=6, alpha=0.35)
        middle = float(interquartile_mean(scores))
        axes.plot([middle], [number], color=style.color, marker=style.marker)
    labels = [f"{name}, {counted(int(scores.size), 'run')}" for name, scores in tables.items()]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set(xlabel=f"{scale}: interquartile mean, 95 % interval")
    return figure


def draw_profile(runs: Sequence[DrawnRun]) -> "Figure":
    """Draw the share of each method's runs above each score, with pointwise intervals of 95 %."""
    tables, scale = score_tables(runs)
    every = np.concatenate([scores.ravel() for scores in tables.values()])
    margin = 0.05 * (every.max() - every.min()) or 1.0
    grid = np.linspace(every.min() - margin, every.max() + margin, _POINTS)
    figure, (axes,) = new_figure(1, width=6.0)
    for number, (method, scores) in enumerate(tables.items()):
        low, high = profile_interval(scores, grid)
        band = {"low": low, "middle": performance_profile(scores, grid), "high": high}
        label = f"{method}, {counted(int(scores.size), 'run')}"
        draw_band(axes, grid, band, style_of(number), label)
    axes.set(xlabel=f"{scale} τ", ylabel="share of runs with a score above τ", ylim=(-0.02, 1.02))
    axes.legend(fontsize="small")
    return figure


def draw_benchmarks(results: Sequence[dict[str, Any]]) -> "Figure":
    """Draw a bar per case with the range of its rounds, a panel per benchmark.

    Raises:
        UserError: for a benchmark without a figure.
    """
    figure, panels = new_figure(len(results), width=6.0)
    for axes, result in zip(panels, results, strict=True):
        name = result["benchmark"]
        if name not in _BENCHMARKS:
            raise UserError(f"benchmark {name!r} is unknown: plot {', '.join(_BENCHMARKS)}")
        key, unit = _BENCHMARKS[name]
        cases = [case for case in result.get("cases", [result]) if case.get(key) is not None]
        values = np.array([case[key] for case in cases], dtype=float)
        measured = [case.get("rounds", []) for case in cases]
        rounds = [[r[key] for r in rows if r.get(key) is not None] for rows in measured]
        ends = [(min([*r, v]), max([*r, v])) for v, r in zip(values, rounds, strict=True)]
        low, high = np.array(ends).reshape(-1, 2).T
        bars = range(len(cases))
        axes.barh(bars, values, xerr=[values - low, high - values], color="#56B4E9")
        axes.set_yticks(range(len(cases)), [_case_name(case, cases) for case in cases])
        axes.invert_yaxis()
        axes.set(title=f"gala bench {name}", xlabel=f"{unit}; lines: range of rounds")
    return figure


def _case_name(case: dict[str, Any], cases: Sequence[dict[str, Any]]) -> str:
    """Return the labels in which a case differs from others: all before its first measurement."""
    labels = []
    for key, value in case.items():
        if key == "skipped":
            break
        if isinstance(value, str | int | float) and len({str(c.get(key)) for c in cases}) > 1:
            labels.append(f"{key} {value}")
    return ", ".join(labels) or "all"
