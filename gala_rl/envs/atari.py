"""Atari simulators: ALE's C++ vector environment under the protocol of the papers."""

import functools
import itertools
from typing import Any

import numpy as np
from ale_py import ALEInterface, LoggerMode, roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.settings import AtariProtocol
from gala_rl.envs.ids import AtariGame, atari_game
from gala_rl.envs.simulators import (
    EpisodeCounter,
    Transition,
    random_actions,
    stagger_generator,
)
from gala_rl.errors import UserError
from gala_rl.processes.heartbeat import beat
from gala_rl.spaces import ActionSpec, ObservationSpec


def observation_spec(protocol: AtariProtocol) -> ObservationSpec:
    """Return the spec of observations, which is the same for every game."""
    channels = protocol.frame_stack * (1 if protocol.grayscale else 3)
    return ObservationSpec((channels, protocol.image_size, protocol.image_size), True)


@functools.cache  # A game's actions never change, and to load it takes the time of a whole check.
def action_spec(game: AtariGame, protocol: AtariProtocol) -> ActionSpec:
    """Return the spec of a game's actions, from a bare emulator rather than a simulator."""
    ALEInterface.setLoggerMode(LoggerMode.Error)
    emulator = ALEInterface()
    rom = roms.get_rom_path(game.rom)
    assert rom is not None, "ALE registers no game without its ROM"
    emulator.loadROM(rom)
    is_full = protocol.full_action_space
    actions = emulator.getLegalActionSet() if is_full else emulator.getMinimalActionSet()
    return ActionSpec(len(actions), True)


class AtariSimulators:
    """B copies of one game; see `Simulators` for methods and attributes.

    A lost life is `terminated` if the protocol says so, while the game goes on. Scores are sums of
    raw rewards over full games.

    Args:
        source: a Gymnasium id of ALE's, and how the game is presented.
        count: B.
        threads: C++ threads per group that step them.
        training: False: a lost life does not end the return, and rewards are not clipped.
        groups: number of groups that step independently.
    """

    def __init__(
        self,
        source: EnvironmentSource,
        count: int,
        threads: int,
        training: bool = True,
        groups: int = 1,
    ) -> None:
        game, protocol = atari_game(source.env), source.atari
        if game is None:
            raise UserError(f"env {source.env!r} is not an Atari game")
        self.count = count
        self.frames_per_step = protocol.frame_skip
        self.resets_on_next_step = False
        self.failures = 0  # Always 0: the emulator raises no errors that could be recovered from.
        edges = [count * g // groups for g in range(groups + 1)]
        self.groups = tuple(slice(*ends) for ends in itertools.pairwise(edges))
        self._envs = [
            vector_environment(game, rows.stop - rows.start, threads, protocol, training)
            for rows in self.groups
        ]
        self.observation = observation_spec(protocol)
        actions = self._envs[0].single_action_space
        assert isinstance(actions, Discrete)
        self.action = ActionSpec(int(actions.n), True)
        self._clip = protocol.clips_rewards and training
        self._episode_frames = np.zeros(count, dtype=np.int64)
        self._counter = EpisodeCounter(count)

    def reset(self, seed: int, stagger: int = 0) -> NDArray[Any]:
        """See `Simulators`."""
        seeds = emulator_seeds(seed, self.count)
        rng, observations = stagger_generator(seed), []
        for env, rows in zip(self._envs, self.groups, strict=True):
            images, info = env.reset(seed=seeds[rows])
            if stagger:
                images, info = self._play_at_random(env, rng, stagger)
            observations.append(_channels_first(images))
            self._episode_frames[rows] = info["episode_frame_number"]
        self._counter = EpisodeCounter(self.count)
        return np.concatenate(observations)

    def _play_at_random(
        self, env: AtariVectorEnv, rng: np.random.Generator, most: int
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Step all at random; reset each simulator 0 … `most` steps before the last of them."""
        lengths = rng.integers(most, size=env.num_envs, endpoint=True)
        for step in range(1, most + 1):
            env.send(random_actions(self.action, env.num_envs, rng))
            images, *_, info = env.recv()
            starts = lengths == most - step
            if starts.any():
                images, info = env.reset(options={"reset_mask": starts})
            beat()
        return images, info

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """See `Simulators`."""
        self._envs[group].send(actions)

    def recv(self, group: int = 0) -> Transition:
        """See `Simulators`."""
        rows = self.groups[group]
        images, rewards, terminated, truncated, info = self._envs[group].recv()
        frames = info["episode_frame_number"]
        # A lost life sets `terminated` too, but only a new game resets its frame counter. A game
        # that was truncated early may have been shorter than the random start of the next.
        done = truncated | (frames < self._episode_frames[rows])
        self._episode_frames[rows] = frames
        truncated = truncated & ~terminated
        return Transition(
            observations=_channels_first(images),
            rewards=(np.sign(rewards) if self._clip else rewards).astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            final_observations=_channels_first(info["final_obs"]) if truncated.any() else None,
            episodes=self._counter.add(rewards, done, rows),
        )

    def step(self, actions: NDArray[Any]) -> Transition:
        """See `Simulators`."""
        (env,) = self._envs
        env.send(actions)
        return self.recv()

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """Return None: ALE's vector environment cannot save its state."""
        return None

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Raise a ValueError: ALE's vector environment cannot restore a state."""
        raise ValueError("Atari simulators have no saved state to continue from")

    def close(self) -> None:
        """See `Simulators`."""
        self._envs.clear()


def emulator_seeds(seed: int, count: int) -> NDArray[np.int64]:
    """Return the seed of each emulator; the first ones do not depend on the count."""
    seeds: NDArray[np.int64] = np.random.SeedSequence(seed).generate_state(count).astype(np.int64)
    return seeds % 2**31


def vector_environment(
    game: AtariGame,
    count: int,
    threads: int,
    protocol: AtariProtocol,
    training: bool,
    size: tuple[int, int] | None = None,
) -> AtariVectorEnv:
    """Build the emulators of a game under a protocol.

    Args:
        game: the game.
        count: number of emulators.
        threads: C++ threads that step them.
        protocol: how the game is presented.
        training: whether a lost life is reported, if the protocol says so.
        size: height and width of observations; default: as the protocol has it.
    """
    # Otherwise the emulator prints a banner per instance.
    ALEInterface.setLoggerMode(LoggerMode.Error)
    sticky = protocol.sticky_actions
    height, width = size or (protocol.image_size, protocol.image_size)
    return AtariVectorEnv(
        game.rom,
        count,
        num_threads=threads,
        autoreset_mode=AutoresetMode.SAME_STEP,
        repeat_action_probability=game.sticky_actions if sticky is None else sticky,
        frameskip=protocol.frame_skip,
        maxpool=protocol.max_pool,
        stack_num=protocol.frame_stack,
        img_height=height,
        img_width=width,
        grayscale=protocol.grayscale,
        noop_max=protocol.noop_max,
        use_fire_reset=protocol.fire_reset,
        full_action_space=protocol.full_action_space,
        max_num_frames_per_episode=protocol.max_episode_frames,
        # `episodic_life` would restart the game at every lost life, and ALE's reward clipping
        # would lose the raw score.
        episodic_life=False,
        life_loss_info=protocol.ends_at_life_loss and training,
        reward_clipping=False,
    )


def _channels_first(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reshape colour images [B, stack, H, W, 3] → [B, stack * 3, H, W]; leave grey ones alone."""
    if images.ndim == 4:
        return images
    batch, _, height, width, _ = images.shape
    return images.transpose(0, 1, 4, 2, 3).reshape(batch, -1, height, width)
