"""Table of speeds and scores beside other libraries, as docs/performance.md shows it."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.figures.tables import Table
from benchmarks.peers.compare import MINIMUM_ROUNDS, verdict
from benchmarks.peers.scores.tasks import CARTPOLE, GAMES, HALF_CHEETAH
from gala_rl.records.metrics import score_text

DIFFERENCES = {
    CARTPOLE.env: (
        "No system normalises anything but advantages. `ppo` and sb3-ppo step Gymnasium's "
        "simulators one after the other; `gym-vec:` steps all of them in one call; cleanrl-ppo "
        "steps those of Gym 0.23.1, for which it is written. cleanrl-ppo bootstraps nothing when a "
        "game is truncated, and of games that end in the same step it reports only the first. It "
        "and `ppo` write metrics for TensorBoard, sb3-ppo does not."
    ),
    HALF_CHEETAH.env: (
        "All normalise observations and rewards by running moments: sb3-ppo counts each step into "
        "them at once, `ppo` whole rollouts. Observations and rewards are clipped to ±10. `ppo` "
        "and sb3-ppo step Gymnasium's simulators one after the other, `envpool:` those of EnvPool "
        "on threads. `ppo` writes metrics for TensorBoard, sb3-ppo does not."
    ),
}
"""In what systems differ although their settings are equal, by environment."""


def table(result: dict[str, Any]) -> Table:
    """Return title, columns and a row per system: its scores and speeds, and `ppo`'s beside it."""
    runs = _by_system(result["runs"])
    ours = next(iter(runs.values()))
    rows = []
    for name, its in runs.items():
        beside = [""] * 3 if its is ours else _beside(ours, its)
        rows.append([f"`{name}`" if name.startswith("ppo") else name, *_figures(its), *beside])
    columns = ["system", "version", "score", "per seed", "agent steps/s"]
    columns += ["per processor second", "ppo / it", "spread", "verdict"]
    return _title(result), columns, rows


def _by_system(runs: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    names = dict.fromkeys(run["system"] for run in runs)
    return {name: [run for run in runs if run["system"] == name] for name in names}


def _per_processor_s(run: dict[str, Any]) -> float:
    return float(run["agent_steps"] / run["processor_s"])


def _figures(runs: Sequence[dict[str, Any]]) -> list[str]:
    def middle(of: Callable[[dict[str, Any]], float]) -> str:
        return f"{statistics.median(map(of, runs)):,.0f}"

    return [
        runs[0]["version"],
        score_text(statistics.fmean(run["score"] for run in runs)),
        "  ".join(score_text(run["score"]) for run in runs),
        middle(lambda run: float(run["agent_steps_per_s"])),
        middle(_per_processor_s),
    ]


def _beside(ours: Sequence[dict[str, Any]], its: Sequence[dict[str, Any]]) -> list[str]:
    """Return the ratio of rates per processor second of the same seeds, and what it says."""
    pairs = zip(ours, its, strict=False)
    ratios = [_per_processor_s(mine) / _per_processor_s(other) for mine, other in pairs]
    if len(ratios) < MINIMUM_ROUNDS:
        return [f"{statistics.median(ratios):.2f}", "", "too few seeds to conclude"]
    found = verdict(ratios, "ppo")
    return [f"{found.ratio:.2f}", f"{found.lowest:.2f} … {found.highest:.2f}", found.text]


def _title(result: dict[str, Any]) -> str:
    task, runs = result["task"], result["runs"]
    value_clip, loads = task["value_clip_range"], [run["load"] for run in runs]
    clipping = "not clipped" if value_clip is None else f"clipped by {value_clip:g}"
    return (
        f"{task['env']}, {result['steps']:,} agent steps, all systems in turn with each seed "
        f"from 1 to {max(run['seed'] for run in runs)}: {task['simulators']} simulators, "
        f"rollouts of {task['rollout_steps']} steps, {task['epochs']} epochs of "
        f"{task['minibatches']} minibatches, Adam with learning rate {task['learning_rate']:g} "
        f"falling to 0, clip range {task['clip_range']:g}, values {clipping}, entropy cost "
        f"{task['entropy_cost']:g}; two layers of 64 tanh units for the policy and two for the "
        f"value, orthogonal ({runs[0]['parameters']:,} parameters); on the CPU, one PyTorch "
        f"thread. The score is the mean raw return of the last {GAMES} games of training. Ratios "
        f"are of agent steps per processor second, start-up included, since other programs ran "
        f"too: the load of the machine's {result['machine']['cores']} cores was "
        f"{min(loads):.0f} to {max(loads):.0f}.\n\n{DIFFERENCES[task['env']]}"
    )
