"""Settings for known environments, by algorithm: with them, a method learns without other options.

docs/settings.md has the score of each. Where a method's own settings learn, a preset has only the
number of agent steps. What is not here has the method's own settings, as every unknown environment
does; among others HalfCheetah, MinAtar and Atari games.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gala_rl.config.train import TrainConfig

DEFAULT_STEPS = 40_000_000
"""Agent steps of a run whose config and preset give none."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentPreset:
    """Settings of a run on a known environment.

    Attributes:
        steps: agent steps of all learners together; None: `DEFAULT_STEPS`.
        simulators: simulators of all learners together, of which each has an equal share, at least
            1; None: the method's default for each learner.
        settings: settings of the algorithm in which the environment differs from others.
    """

    steps: int | None = None
    simulators: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


_PRESETS: Mapping[tuple[str, str], EnvironmentPreset] = {
    ("a2c", "Acrobot"): EnvironmentPreset(steps=500_000),
    ("a2c", "CartPole"): EnvironmentPreset(steps=500_000),
    ("ppo", "Acrobot"): EnvironmentPreset(steps=500_000),
    ("ppo", "CartPole"): EnvironmentPreset(steps=500_000),
    ("ppo", "LunarLander"): EnvironmentPreset(
        steps=1_000_000,
        simulators=16,
        settings={
            "rollout_steps": 256,
            "epochs": 4,
            "minibatches": 32,
            # A landing takes hundreds of steps.
            "discount": 0.999,
            "gae_lambda": 0.98,
        },
    ),
    # A rollout is longer than an episode, of 200 steps.
    ("ppo", "Pendulum"): EnvironmentPreset(
        steps=200_000,
        simulators=8,
        settings={
            "rollout_steps": 256,
            "minibatches": 16,
            "discount": 0.9,
            "learning_rate": 1e-3,
        },
    ),
}
"""Preset by algorithm and by the environment's name without backend and version."""


def environment_preset(config: TrainConfig, algorithm: str) -> EnvironmentPreset:
    """Return the preset of a config's environment; an empty one if it is not a known one.

    An environment with arguments or wrappers is another one.
    """
    if config.preset != "tuned" or config.env_args or config.wrappers:
        return EnvironmentPreset()
    name = re.sub(r"-v[0-9]+$", "", config.source.name)
    return _PRESETS.get((algorithm, name), EnvironmentPreset())
