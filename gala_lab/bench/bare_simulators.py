"""Reference for the environment layer: ALE's own vector environment with nothing around it."""

import numpy as np
from ale_py import ALEInterface, LoggerMode
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs.ids import atari_game


def is_available(env_id: str) -> bool:
    """Return whether the environment has this reference: only games of ALE do."""
    return atari_game(env_id) is not None


def make_bare(config: ResolvedConfig, seed: int) -> AtariVectorEnv:
    """Return a learner's simulators as ALE makes them, with the settings of training, reset."""
    game = atari_game(config.env)
    assert game is not None
    rom, sticky = game
    protocol = config.atari
    ALEInterface.setLoggerMode(LoggerMode.Error)
    simulators = AtariVectorEnv(
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
        life_loss_info=protocol.ends_at_life_loss,
        reward_clipping=False,
    )
    seeds = np.random.SeedSequence(seed).generate_state(config.simulators) % 2**31
    simulators.reset(seed=seeds.astype(np.int64))
    return simulators
