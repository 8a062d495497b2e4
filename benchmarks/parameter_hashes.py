"""Hashes of what each method has learned after 50 updates: equal before and after a refactoring.

    python -m benchmarks.parameter_hashes [--env ID] [--against BEFORE.json] [--out NOW.json]

Trains every method serially, with and without an LSTM, on CartPole and on Pong, and hashes the
parameters and the optimizer state of its final checkpoint. A change that should not alter what is
learned must leave all hashes equal on the same machine; a different processor or PyTorch may round
differently, so compare only hashes computed on one machine.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from safetensors import safe_open

import gala_rl
from gala_rl.methods import METHODS, find
from gala_rl.methods.resolving import with_settings

UPDATES = 50
ENVIRONMENTS = ("CartPole-v1", "PongNoFrameskip-v4")
LSTM_SIZES = (None, 32)
SIMULATORS = 4


def config_of(method: str, env: str, lstm_size: int | None) -> gala_rl.TrainConfig:
    """Return a serial run of this many updates; replicas are serial only with one learner."""
    learners = 1 if find(method).sharing in ("nothing", "gradients") else 2
    settings: dict[str, int] = {"rollout_steps": 16 if "ppo" in method else 5}
    if "ppo" in method:
        settings["minibatches"] = 2
    config = gala_rl.TrainConfig(
        method=method,
        env=env,
        steps=UPDATES * learners * SIMULATORS * settings["rollout_steps"],
        seed=3,
        serial=True,
        learners=learners,
        simulators=SIMULATORS,
        lstm_size=lstm_size,
        network_threads=1,
        stagger=0,  # As in runs before there was a default for Atari games.
        device="cpu",
    )
    return with_settings(config, settings)


def hash_of(config: gala_rl.TrainConfig) -> str:
    """Train, and hash every tensor of the parameters and of the optimizer of all learners."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        summary = gala_rl.train(replace(config, out=str(run)), Console(quiet=True))
        if summary["interrupted"]:  # By Ctrl-C or a time limit: it has learned less.
            sys.exit(130)
        newest = max((run / "checkpoints").iterdir())
        for file in sorted(newest.glob("*.safetensors")):
            with safe_open(file, "numpy") as tensors:
                for name in sorted(tensors.keys()):
                    if name.startswith(("parameters", "optimizer")):
                        digest.update(tensors.get_tensor(name).tobytes())
    return digest.hexdigest()[:16]


def hashes(environments: list[str]) -> dict[str, str]:
    """The hash of each case, by its name; each is printed as soon as it is known."""
    found = {}
    for env in environments:
        for method in METHODS:
            for lstm_size in LSTM_SIZES:
                case = f"{method.name} {env} lstm={lstm_size}"
                found[case] = hash_of(config_of(method.name, env, lstm_size))
                print(found[case], case, flush=True)
    return found


def main() -> int:
    """Print all hashes; returns 1 if one differs from what it is held against."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", action="append", choices=ENVIRONMENTS, help="default: both")
    parser.add_argument("--against", type=Path, help="hashes that must be equal")
    parser.add_argument("--out", type=Path, help="where to write the hashes as JSON")
    given = parser.parse_args()
    now = hashes(given.env or list(ENVIRONMENTS))
    if given.out is not None:
        given.out.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    before = now if given.against is None else json.loads(given.against.read_text())
    changed = [case for case in now if case in before and before[case] != now[case]]
    for case in changed:
        print(f"changed: {case}", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
