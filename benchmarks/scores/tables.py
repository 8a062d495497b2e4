"""Tables of docs/scores.md, from the results that were kept."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.scores.runs import RUNS, ScoreRun
from gala_lab.atari_scores import PAPER_GAMES, PUBLISHED, SLM_LAB_A2C, human_normalized
from gala_rl.records.metrics import score_text

_LINK = "../benchmarks/results/scores"

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Columns and rows."""


def kept(runs: Sequence[ScoreRun], results: Path) -> list[tuple[ScoreRun, dict[str, Any]]]:
    """Return the runs whose result is there, each with its result."""
    files = [(run, results / "scores" / run.name / "result.json") for run in runs]
    return [(run, json.loads(f.read_text(encoding="utf-8"))) for run, f in files if f.is_file()]


def runs(results: Path) -> Table:
    """Return a row per finished run, with all that its score depends on."""
    found = kept([run for run in RUNS if run.stop_at is None], results)
    rows = []
    for run, result in found:
        training, evaluation = result["training"], result["evaluation"]
        games = [
            " ± ".join(score_text(played[name]) for name in ("mean_return", "standard_error"))
            for played in (evaluation["greedy"], evaluation["sample"])
        ]
        rows.append(
            [
                run.game + (", sticky" if run.is_sticky else ""),
                _method(run),
                str(run.seed),
                f"{training['agent_steps'] / 1e6:.1f} M",
                score_text(training["last_100_games"]),
                score_text(training["best_100_games"]),
                *games,
                _normalized(run.game, training["last_100_games"]),
                _beside(run, training["last_100_games"]),
                f"{training['hours']:.1f}",
                f"[{result['commit'][:10]}]({_LINK}/{run.name})",
            ]
        )
    columns = ["game", "method", "seed", "agent steps", "last 100 games", "best 100 games"]
    columns += ["30 games, greedily", "30 games, sampled", "human-normalised", "/ SLM-Lab's A2C"]
    return [*columns, "hours", "commit"], rows


def to_18(results: Path) -> Table:
    """Return a row per method: agent steps and hours until it plays Pong at 18."""
    found = kept([run for run in RUNS if run.stop_at is not None], results)
    rows = []
    for name in dict.fromkeys(_method(run) for run, _ in found):
        own = [(run.seed, r["training"]["reached"]) for run, r in found if _method(run) == name]
        reached = [point for _, point in own if point is not None]
        rows.append(
            [
                name,
                ", ".join(str(seed) for seed, _ in own),
                ", ".join("not reached" if p is None else _millions(p) for _, p in own),
                ", ".join(f"{p['hours']:.2f}" for p in reached),
                f"{statistics.fmean(p['agent_steps'] for p in reached) / 1e6:.2f} M"
                if len(reached) == len(own)
                else "",
            ]
        )
    return ["method", "seeds", "agent steps to 18", "hours", "mean"], rows


def published(_: Path) -> Table:
    """Return a row per published agent: its protocol and its scores of the paper's games."""
    rows = [
        [
            agent.agent,
            f"{agent.agent_steps // 1_000_000} M",
            "yes" if agent.is_sticky else "no",
            agent.protocol,
            *(score_text(agent.scores[game]) for game in PAPER_GAMES),
        ]
        for agent in PUBLISHED
    ]
    return ["agent", "agent steps", "sticky", "a score is", *PAPER_GAMES], rows


def left(results: Path) -> str:
    """Return a sentence with the planned runs that have not been made."""
    done = {run.name for run, _ in kept(RUNS, results)}
    names = [f"`{run.name}`" for run in RUNS if run.name not in done]
    return f"Not run yet: {', '.join(names)}." if names else "All planned runs have been made."


def _method(run: ScoreRun) -> str:
    preset = " `--preset paper`" if run.preset == "paper" else ""
    return f"`{run.method}`{preset} {run.learners} x {run.simulators}"


def _millions(point: dict[str, Any]) -> str:
    return f"{point['agent_steps'] / 1e6:.2f} M"


def _normalized(game: str, score: float) -> str:
    return f"{human_normalized(game, score):.2f}"


def _beside(run: ScoreRun, score: float) -> str:
    """Return the score as a share of SLM-Lab's, at as many agent steps; both from random play."""
    other = SLM_LAB_A2C.scores.get(run.game)
    if other is None or run.is_sticky or run.steps != SLM_LAB_A2C.agent_steps:
        return ""
    return f"{human_normalized(run.game, score) / human_normalized(run.game, other):.2f}"
