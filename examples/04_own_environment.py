"""Your own environment: register it with Gymnasium, name it `module:Id`, and train on it.

`gala_get_state` and `gala_set_state` are optional. With them, checkpoints contain the environment,
and a serial run that is stopped and resumed equals an uninterrupted one bit for bit.

    python examples/04_own_environment.py
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gala_rl import TrainConfig, train

Observation = NDArray[np.float32]


class Corridor(gymnasium.Env[Observation, np.int64]):
    """Walk right to the end of a corridor: 1 for arriving, -0.01 per step, at most 100 steps."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    length = 10
    limit = 100

    def __init__(self) -> None:
        self.position = 0
        self.steps = 0

    def _observe(self) -> Observation:
        return np.array([self.position / self.length], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start at the left end."""
        super().reset(seed=seed)
        self.position = self.steps = 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move one step left (0) or right (1)."""
        self.steps += 1
        self.position = max(0, self.position + (1 if action == 1 else -1))
        arrived = self.position == self.length
        reward = 1.0 if arrived else -0.01
        return self._observe(), reward, arrived, not arrived and self.steps >= self.limit, {}

    def gala_get_state(self) -> dict[str, NDArray[Any]]:
        """Return everything that changes, as arrays."""
        return {"state": np.array([self.position, self.steps])}

    def gala_set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Continue from a saved state."""
        self.position, self.steps = (int(x) for x in state["state"])


MODULE = Path(__file__).stem  # learner processes import this file by name to find the environment
if "Corridor-v0" not in gymnasium.registry:  # a script imports this file a second time
    gymnasium.register("Corridor-v0", f"{MODULE}:Corridor")


def main(steps: int = 60_000, folder: str | None = None) -> dict[str, Any]:
    """Train two learners and return the summary of the run."""
    here = str(Path(__file__).parent)
    if here not in sys.path:
        sys.path.insert(0, here)
    home = Path(folder or tempfile.mkdtemp())
    return train(
        TrainConfig(
            method="gala-a2c",
            env=f"{MODULE}:Corridor-v0",
            learners=2,
            steps=steps,
            out=str(home / "run"),
        )
    )


if __name__ == "__main__":
    print(f"mean return {main()['mean_return']:.2f}, at best {1 - 9 * 0.01:.2f}")
