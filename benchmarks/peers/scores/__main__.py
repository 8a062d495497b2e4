"""Speed and score of `ppo` and of other libraries' PPO at equal settings, in turn.

    benchmarks/peers/install.sh sb3 cleanrl
    python -m benchmarks.peers.scores CartPole-v1 --out result.json
    python -m benchmarks.peers.scores HalfCheetah-v5 --out result.json

All systems train once with each seed before the next seed begins. The file is written after every
run, and a command that was stopped goes on where it was.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.scores.tasks import CARTPOLE, TASKS, Task, read_line
from benchmarks.peers.systems import HERE, RunFailure, System, output_of
from gala_rl.errors import UserError
from gala_rl.records.files import write_json
from gala_rl.records.provenance import provenance

DEADLINE_S = 3600.0
"""A run that takes longer hangs."""
MINIMUM_UPDATES = 20
"""Fewer see no game end."""
FAILED, REFUSED = 1, 2


@dataclass(frozen=True)
class Plan:
    """What is compared: the same steps for all, once with each of the seeds 1 … `seeds`."""

    task: Task
    steps: int
    seeds: int


def systems(env: str) -> tuple[System, ...]:
    """Return the systems that train on an environment; this package's first."""
    own = (sys.executable, "-m", "benchmarks.peers.scores.gala_ppo")

    def peer(name: str, environment: str) -> System:
        python = str(HERE / ".venvs" / environment / "bin" / "python")
        command = (python, "-m", f"benchmarks.peers.scores.{environment}_ppo")
        return System(name, command, f"benchmarks/peers/install.sh {environment}")

    ours, sb3 = System("ppo", own), peer("sb3-ppo", "sb3")
    if env == CARTPOLE.env:
        faster = System(f"ppo, gym-vec:{env}", (*own, "--backend", "gym-vec:"))
        return ours, sb3, faster, peer("cleanrl-ppo", "cleanrl")
    return ours, sb3, System(f"ppo, envpool:{env}", (*own, "--backend", "envpool:"))


def run_once(system: System, plan: Plan, seed: int) -> dict[str, Any]:
    """Train once; returns the outcome with system, seed and the machine's load at the start.

    Raises:
        RunFailure: when there was no outcome.
    """
    load = os.getloadavg()[0]
    options = {"env": plan.task.env, "steps": plan.steps, "seed": seed}
    words = (word for name, value in options.items() for word in (f"--{name}", str(value)))
    try:
        outcome = read_line(output_of((*system.command, *words), DEADLINE_S))
    except ValueError as error:
        raise RunFailure(str(error)) from error
    values = asdict(outcome) | {"network": list(outcome.network)}
    return {"system": system.name, "seed": seed, "load": round(load, 1), **values}


def check_alike(runs: Sequence[dict[str, Any]]) -> None:
    """Raise a UserError unless all systems trained the same network."""
    first = runs[0]
    for run in runs[1:]:
        for name in ("network", "parameters"):
            if run[name] != first[name]:
                raise UserError(
                    f"{first['system']} and {run['system']} did unlike work: {name} is "
                    f"{first[name]} here and {run[name]} there"
                )


def resumed(out: Path, plan: Plan) -> list[dict[str, Any]]:
    """Return the runs that a file holds already.

    Raises:
        UserError: when it is of another comparison.
    """
    if not out.exists():
        return []
    content = json.loads(out.read_text(encoding="utf-8"))
    if (content["task"], content["steps"]) != (asdict(plan.task), plan.steps):
        raise UserError(f"out {out} holds a comparison by other settings: name another file")
    runs: list[dict[str, Any]] = content["runs"]
    return runs


def compare(plan: Plan, chosen: Sequence[System], out: Path) -> None:
    """Make all runs that the file lacks, in turn, and write it after each.

    Raises:
        RunFailure: when a system gave no outcome.
        UserError: when systems did unlike work.
    """
    runs, origin = resumed(out, plan), provenance()
    done = {(run["system"], run["seed"]) for run in runs}
    for seed in range(1, plan.seeds + 1):
        for system in chosen:
            if (system.name, seed) in done:
                continue
            try:
                runs.append(run_once(system, plan, seed))
            except RunFailure as failure:
                raise RunFailure(f"{system.name} failed: {failure}") from failure
            check_alike(runs)
            write_json(out, asdict(plan) | {"runs": runs} | origin)
            score, rate = (runs[-1][name] for name in ("score", "agent_steps_per_s"))
            line = f"seed {seed}, {system.name}: score {score:.0f}, {rate:,.0f} agent steps/s"
            print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("env", choices=TASKS, help="what to train on")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each system")
    parser.add_argument("--steps", type=int, help="agent steps of a run (default: the task's)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for all runs")
    return parser


def main(arguments: Sequence[str] | None = None, chosen: Sequence[System] | None = None) -> int:
    """Compare; returns 0, 1 when a system failed, 2 when the comparison was refused."""
    values = _parser().parse_args(arguments)
    task = TASKS[values.env]
    plan = Plan(task, values.steps or task.steps, values.seeds)
    chosen = systems(values.env) if chosen is None else chosen
    try:
        for system in chosen:
            if not system.installed:
                raise UserError(f"{system.name} is not installed: {system.remedy}")
        if plan.steps < (minimum := MINIMUM_UPDATES * task.update_steps):
            raise UserError(f"steps {plan.steps} is too small: it must be at least {minimum}")
        if not values.out.absolute().parent.is_dir():
            raise UserError(f"out {values.out} cannot be written: there is no such folder")
        compare(plan, chosen, values.out)
    except UserError as error:
        print(f"scores: {error}", file=sys.stderr)
        return REFUSED
    except RunFailure as failure:
        print(f"scores: {failure}", file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    # As an exception, so that the run in hand is killed too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
