"""Limits the agent steps of evaluation games, since some policies never end a game."""

from gala_rl.checks import Row
from gala_rl.config.train import TrainConfig
from gala_rl.envs import is_atari

DEFAULT = 27_000
"""The 30 minutes of ALE's protocol, 108,000 frames, at 4 frames per agent step."""


def max_steps_rows(max_steps: int | None) -> list[Row]:
    """Return the check of `max_steps`."""
    return [
        (
            max_steps is not None and max_steps < 1,
            f"max_steps {max_steps} is too small: it must be at least 1",
        )
    ]


def game_limit(config: TrainConfig, max_steps: int | None) -> int:
    """Return the agent steps after which a game is cut: as given, or the default.

    The default on Atari is the protocol's limit, at which the emulator itself ends a game.
    """
    if max_steps is not None:
        return max_steps
    if is_atari(config.source):
        return -(-config.atari.max_episode_frames // config.atari.frame_skip)
    return DEFAULT
