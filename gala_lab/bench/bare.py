"""Reference for the environment layer: ALE's own vector environment with nothing around it."""

import numpy as np
from ale_py import ALEInterface, LoggerMode
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs.ids import atari_game


def is_there(env_id: str) -> bool:
    """Whether there is such a reference: for games of ALE alone."""
    return atari_game(env_id) is not None


def make_bare(config: ResolvedConfig) -> AtariVectorEnv:
    """A learner's simulators as ALE makes them, with the settings that training has."""
    game = atari_game(config.env)
    assert game is not None
    rom, sticky = game
    protocol = config.atari
    ALEInterface.setLoggerMode(LoggerMode.Error)
    return AtariVectorEnv(
        rom,
        config.simulators,
        num_threads=config.simulator_threads or config.threads_per_learner(),
        autoreset_mode=AutoresetMode.SAME_STEP,
        repeat_action_probability=(
            sticky if protocol.sticky_actions is None else protocol.sticky_actions
        ),
        frameskip=protocol.frame_skip,
        maxpool=protocol.max_pool,
        stack_num=protocol.frame_stack,
        img_height=protocol.image_size,
        img_width=protocol.image_size,
        grayscale=protocol.grayscale,
        noop_max=protocol.noop_max,
        use_fire_reset=protocol.fire_reset,
        full_action_space=protocol.full_action_space,
        max_num_frames_per_episode=protocol.max_episode_frames,
        episodic_life=False,
        life_loss_info=protocol.life_loss_terminal,
        reward_clipping=False,
    )


def reset(simulators: AtariVectorEnv, seed: int) -> None:
    """Start new games; the seed fixes all that follows."""
    seeds = np.random.SeedSequence(seed).generate_state(simulators.num_envs) % 2**31
    simulators.reset(seed=seeds.astype(np.int64))
