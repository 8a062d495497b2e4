"""Games whose score shows how they were played, and runs of networks with a fixed action."""

import signal
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from gala_rl import evaluate
from gala_rl.agent import build_model
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.flat import FlatParameters
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import LearnerState
from gala_rl.records.run_folder import RunFolder
from gala_rl.spaces import ActionSpec, ObservationSpec

LENGTH = 7
"""Steps of a game."""
NO, YES = (9.0, 0.0), (0.0, 9.0)
"""Logits of a network that always chooses 0, or 1."""


class Obedient(gymnasium.Env[NDArray[np.float32], int]):
    """Reward 1 for action 1 and 0 for action 0, seven steps a game: the score is the policy."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)  # type: ignore[assignment]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.left = self.length()
        return np.zeros(2, dtype=np.float32), {}

    def length(self) -> int:
        return LENGTH

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return np.zeros(2, dtype=np.float32), float(action), self.left == 0, False, {}


class ShortOrLong(Obedient):
    """Games of 1 or of 60 steps, as chance has it."""

    def length(self) -> int:
        return int(self.np_random.choice([1, 60]))


class Endless(Obedient):
    """Games that never end."""

    def length(self) -> int:
        return 10**9


class Interrupted(Obedient):
    """As if the user pressed Ctrl-C in the third game of each simulator."""

    game = 0

    def length(self) -> int:
        self.game += 1
        return LENGTH

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self.game == 3:
            signal.raise_signal(signal.SIGINT)
        return super().step(action)


class Crashing(Obedient):
    """Raises at the third step of every other game, as chance has it."""

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self.left == LENGTH - 2 and self.np_random.random() < 0.5:
            raise RuntimeError("as it does now and then")
        return super().step(action)


class Alternating(Obedient):
    """Reward 1 for a 0 at the first step of a game, a 1 at the second, and so on in turn.

    Games end, or are cut, after an odd number of steps: whoever goes on counting is wrong.
    """

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        right = action == (LENGTH - self.left) % 2
        self.left -= 1
        ends, cut = self.np_random.permutation([self.left == 0, False])
        return np.zeros(2, dtype=np.float32), float(right), bool(ends), bool(cut), {}


KINDS = {
    "Obedient-v0": Obedient,
    "ShortOrLong-v0": ShortOrLong,
    "Alternating-v0": Alternating,
    "Crashing-v0": Crashing,
    "Endless-v0": Endless,
    "Interrupted-v0": Interrupted,
}


def parameters(
    config: ResolvedConfig, biases: tuple[float, float], observations: int = 2
) -> torch.Tensor:
    """A network that looks at nothing and has these logits."""
    model = build_model(config, ObservationSpec((observations,), False), ActionSpec(2, True))
    flat = FlatParameters(model)
    flat.values.zero_()
    logits = [p for p in model.parameters() if p.shape == (2,)]
    assert len(logits) == 1
    with torch.no_grad():
        logits[0].copy_(torch.tensor(biases))
    return flat.values


def save(
    folder: Path,
    agent_steps: int,
    *learners: tuple[float, float],
    env: str = "Obedient-v0",
    observations: int = 2,
) -> None:
    """Add a checkpoint to a run, which is begun if there is none."""
    config = resolve(TrainConfig(env=env, learners=len(learners)))
    run = RunFolder(folder)
    if not run.exists:
        run.create(config)
    partial = checkpoint.partial_folder(run.checkpoints, "test")
    for rank, biases in enumerate(learners):
        tensors = {"parameters": parameters(config, biases, observations)}
        checkpoint.write_part(partial, rank, LearnerState(tensors, {}))
    checkpoint.complete(partial, agent_steps, [agent_steps] * len(learners), 3)


def make_run(
    folder: Path,
    *learners: tuple[float, float],
    env: str = "Obedient-v0",
    observations: int = 2,
) -> Path:
    """A run with one checkpoint, of learners with these logits."""
    save(folder, 100, *learners, env=env, observations=observations)
    return folder


def scores(run: Path, **options: Any) -> dict[str, list[float]]:
    return {r["learner"]: r["returns"] for r in evaluate(run, **options)["results"]}
