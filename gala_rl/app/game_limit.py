"""How many agent steps a game of evaluation may take: some policies never end theirs."""

from gala_rl.config.run import TrainConfig
from gala_rl.envs import is_atari
from gala_rl.errors import UserError

DEFAULT = 27_000
"""The 30 minutes of ALE's protocol, 108,000 frames, at 4 frames per agent step."""


def check_max_steps(max_steps: int | None) -> None:
    """Raise a UserError if no game can be cut after so many agent steps."""
    if max_steps is not None and max_steps < 1:
        raise UserError(f"max_steps {max_steps} is too small: it must be at least 1")


def game_limit(config: TrainConfig, max_steps: int | None) -> int:
    """Agent steps after which a game is cut: as given, or the default.

    By default the emulator ends Atari games itself, as the run's protocol says.
    """
    if max_steps is not None:
        return max_steps
    if is_atari(config.env):
        return -(-config.atari.max_episode_frames // config.atari.frame_skip)
    return DEFAULT
