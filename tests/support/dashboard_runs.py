"""Folders of runs as training writes them, made up at once, for the dashboard."""

import json
import math
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from gala_rl.config import train as configs
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.records.files import write_json
from gala_rl.records.run_folder import RunFolder

STEPS_PER_S = 5_000


def make_run(
    path: Path,
    *,
    learners: int = 4,
    duration_s: float = 600.0,
    row_every_s: float = 2.0,
    ago_s: float = 0.0,
    ended: bool = False,
    number: int = 0,
    **settings: Any,
) -> RunFolder:
    """Write the folder of a run that has trained for so long until `ago_s` ago."""
    folder = RunFolder(path)
    for name in ("metrics", "checkpoints", "logs"):
        (path / name).mkdir(parents=True)
    config = TrainConfig(method="gala-a2c", env="CartPole-v1", learners=learners, steps=10**8)
    resolved = resolve(replace(config, seed=number, **settings))
    start = time.time() - ago_s - duration_s
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(start))
    write_json(
        folder.config_file,
        {"config": configs.to_dict(resolved), "started": stamp, "machine": {"cores": 2}},
    )
    count = int(duration_s / row_every_s)
    for rank in range(learners):
        chance = random.Random(number + rank)
        with folder.metrics_file(rank).open("w", encoding="utf-8") as file:
            for k in range(1, count + 1):
                row = learner_row(rank, start, k * row_every_s, duration_s, learners, chance)
                file.write(json.dumps(row) + "\n")
    chance = random.Random(number)
    with folder.consensus_file.open("w", encoding="utf-8") as file:
        for k in range(1, count + 1):
            row = distance_row(start, k * row_every_s, duration_s, learners, chance)
            file.write(json.dumps(row) + "\n")
    if ended:
        write_json(folder.summary_file, {"interrupted": False, "failed": False})
    return folder


def learner_row(
    rank: int, start: float, at: float, duration: float, learners: int, chance: random.Random
) -> dict[str, Any]:
    """Row of a learner that learns CartPole, `at` seconds after the start."""
    progress = at / duration
    steps = int(at * STEPS_PER_S / learners * (1 + 0.01 * (rank % 7))) + 1
    score = 500 / (1 + math.exp(-10 * (progress - 0.4 - 0.01 * (rank % 5))))
    noise = chance.gauss(0, 1)
    return {
        "time": round(start + at + 0.01 * (rank % 10), 3),
        "learner": rank,
        "agent_steps": steps,
        "env_frames": steps,
        "total_agent_steps": int(at * STEPS_PER_S) + 1,
        "updates": 1 + steps // 64,
        "agent_steps_per_s": STEPS_PER_S / learners * (1 + 0.05 * noise),
        "mean_return": max(9.0, score + 8 * noise),
        "episodes": 1 + steps // 200,
        "episode_returns": [],
        "episode_agent_steps": [],
        "episode_times": [],
        "policy_loss": 0.02 * noise,
        "value_loss": 0.5 * math.exp(-progress) + 0.03 * abs(noise),
        "entropy": 0.69 * (1 - 0.7 * progress) + 0.01 * noise,
        "grad_norm": 0.4 + 0.1 * abs(noise),
        "update_norm": 0.1,
        "learning_rate": 8e-3 * (1 - progress),
        "mixes": steps // 70,
        "staleness_updates": chance.choice([0, 0, 0, 1, 2]),
        "rejected": {},
        "overdue": 0,
        "rollout_s": 1.2,
        "update_s": 0.7,
        "gossip_s": 0.05,
        "wait_s": 0.0,
        "simulator_failures": 0,
        "cores": 2.0 / learners * (0.95 + 0.01 * noise),
        "rss_mb": 310.0 + 5 * progress,
    }


def distance_row(
    start: float, at: float, duration: float, learners: int, chance: random.Random
) -> dict[str, Any]:
    """Row about the distances between learners on a ring, `at` seconds after the start."""
    distances = [
        0.4 * math.exp(-at / duration) * (1 + 0.25 * chance.gauss(0, 1)) for _ in range(learners)
    ]
    rms = math.sqrt(sum(distance**2 for distance in distances) / learners)
    edges = [
        {
            "sender": rank,
            "receiver": (rank + 1) % learners,
            "mixes": chance.randint(2, 30) if rank % 9 else 2,
            "age_s": 0.004 * (1 + rank % 6) ** 1.7 * (1 + 0.1 * chance.random()),
            "lag_updates": 0.3 * (rank % 6),
            "skipped_updates": 0.1,
        }
        for rank in range(learners)
    ]
    return {
        "time": round(start + at, 3),
        "total_agent_steps": int(at * STEPS_PER_S),
        "versions": [1 + int(at * 10)] * learners,
        "consensus_rms": rms,
        "consensus_span": 2 * max(distances),
        "consensus_rms_bound": 1.9 * rms,
        "consensus_span_bound": 4 * max(distances),
        "consensus_rms_nominal_bound": 4 * rms,
        "consensus_rms_independent": rms,
        "distances": distances,
        "distance_bounds": [1.6 * distance + 0.1 for distance in distances],
        "gradient_cosine": 0.2,
        "noise_share": 0.8,
        "normalizer_gain": 1.3,
        "updates": 40,
        "mixed_share": 0.9,
        "update_norm_mean": 0.1,
        "update_norm_max": 0.3,
        "edges": edges if learners <= 256 else [],
    }


def add_events(folder: RunFolder, *, learners: int, dead: int = 3, restarted: int = 1) -> None:
    """Write deaths, restarts, faults and rejected messages into the last minutes of a run."""
    now = time.time()
    alive = [True] * learners
    quiet = [0] * learners
    once = [int(rank == restarted) for rank in range(learners)]
    died = f"learner {restarted} died (exit code -9) and is restarted from learner 0"
    rows: list[dict[str, Any]] = [
        {"time": now - 590, "notices": [], "alive": alive, "restarts": quiet},
        {"time": now - 300, "notices": [died], "alive": alive, "restarts": once},
        {
            "time": now - 120,
            "notices": ["checkpoint postponed: the disk is slow"],
            "alive": alive,
            "restarts": once,
        },
        {
            "time": now - 20,
            "notices": [f"learner {dead} gave no sign of life for 120 s: killed"],
            "alive": [rank != dead for rank in range(learners)],
            "restarts": once,
        },
    ]
    append(folder.events_file, *({"total_agent_steps": 0, **row} for row in rows))
    fault = {"fault": 0, "kind": "kill", "learner": restarted, "updates": 900}
    append(folder.faults_file, {"time": now - 301, "phase": "begin", **fault})


def append(path: Path, *rows: dict[str, Any]) -> None:
    """Append rows to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
