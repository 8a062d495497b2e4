"""The effect of staggered starts on the beginning of training: Breakout and Pong, with and without.

    python -m benchmarks.stagger --runs DIR [--seeds 2] [--out FILE]

Trains what is missing in DIR, in turn; a run that was stopped begins again.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import gala_rl
from gala_lab.compare.learning_curves import curve_of, on_grid, rows_of
from gala_rl.config.train import ATARI_STAGGER, TrainConfig
from gala_rl.records.files import read_json
from gala_rl.records.provenance import provenance
from gala_rl.records.run_folder import RunFolder

GAMES = ("Breakout", "Pong")
STAGGERS = (0, ATARI_STAGGER)
STEPS, POINTS = 500_000, 5


def run_of(runs: Path, game: str, stagger: int, seed: int) -> dict[str, Any]:
    """Train a run if it is missing; return scores at equal distances, by the last 100 games."""
    folder = RunFolder(runs / f"{game}-{stagger}-{seed}")
    if (folder.checkpointed_agent_steps() or 0) < STEPS:
        shutil.rmtree(folder.path, ignore_errors=True)
        gala_rl.train(
            TrainConfig(
                method="gala-a2c",
                env=f"{game}NoFrameskip-v4",
                learners=2,
                simulators=16,
                steps=STEPS,
                stagger=stagger,
                seed=seed,
                out=str(folder.path),
            )
        )
    curve = curve_of(rows_of(folder))
    grid = np.linspace(0, STEPS, POINTS + 1)[1:]
    scores = on_grid(curve.agent_steps, curve.scores, grid)
    return {
        "game": game,
        "stagger": stagger,
        "seed": seed,
        "commit": read_json(folder.path / "config.json")["commit"],
        "agent_steps": [int(x) for x in grid],
        "scores": [None if np.isnan(score) else float(score) for score in scores],
    }


def main() -> None:
    """Train, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    plan = [
        (game, stagger, seed)
        for seed in range(1, options.seeds + 1)
        for game in GAMES
        for stagger in STAGGERS
    ]
    found = [run_of(options.runs, *one) for one in plan]
    text = json.dumps({"runs": found, **provenance()}, indent=2)
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
