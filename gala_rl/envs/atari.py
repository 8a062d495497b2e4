"""Atari simulators: ALE's own C++ vector environment, with the papers' protocol around it."""

import itertools
from typing import Any

import numpy as np
from ale_py import ALEInterface, LoggerMode, roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from gala_rl.config.settings import AtariProtocol
from gala_rl.envs.ids import AtariGame, atari_game
from gala_rl.envs.simulators import EpisodeCounter, Transition
from gala_rl.errors import UserError
from gala_rl.spaces import ActionSpec, ObservationSpec


def observation_spec(protocol: AtariProtocol) -> ObservationSpec:
    """What every game looks like under a protocol."""
    channels = protocol.frame_stack * (1 if protocol.grayscale else 3)
    return ObservationSpec((channels, protocol.image_size, protocol.image_size), True)


def action_spec(game: AtariGame, protocol: AtariProtocol) -> ActionSpec:
    """The actions of a game under a protocol; it takes the emulator, but no simulator."""
    ALEInterface.setLoggerMode(LoggerMode.Error)
    emulator = ALEInterface()
    rom = roms.get_rom_path(game.rom)
    assert rom is not None, "ALE registers no game without its ROM"
    emulator.loadROM(rom)
    every = protocol.full_action_space
    return ActionSpec(
        len(emulator.getLegalActionSet() if every else emulator.getMinimalActionSet()), True
    )


class AtariSimulators:
    """B copies of one game; see `Simulators` for methods and attributes.

    A lost life is `terminated` if the protocol says so while the game goes on; returns are
    counted from raw rewards over full games.

    Args:
        env_id: Gymnasium id of the game.
        count: B.
        threads: C++ threads that step them, a group.
        protocol: how the game is presented.
        training: False reports whole games: lives don't end a return, rewards are not clipped.
        groups: how many groups of simulators step independently of each other.
    """

    def __init__(
        self,
        env_id: str,
        count: int,
        threads: int,
        protocol: AtariProtocol,
        training: bool = True,
        groups: int = 1,
    ) -> None:
        game = atari_game(env_id)
        if game is None:
            raise UserError(f"env {env_id!r} is not an Atari game")
        self.count = count
        self.frames_per_step = protocol.frame_skip
        self.failures = 0  # The emulator has no exceptions to recover from.
        edges = [count * g // groups for g in range(groups + 1)]
        self.groups = tuple(slice(*ends) for ends in itertools.pairwise(edges))
        self._groups = [_Group(*game, rows, threads, protocol, training) for rows in self.groups]
        self.observation = observation_spec(protocol)
        self.action = ActionSpec(self._groups[0].actions, True)

    def reset(self, seed: int) -> NDArray[Any]:
        """See `Simulators`."""
        seeds = np.random.SeedSequence(seed).generate_state(self.count) % 2**31
        firsts = [
            group.reset(seeds[rows].astype(np.int64))
            for group, rows in zip(self._groups, self.groups, strict=True)
        ]
        return np.concatenate(firsts)

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """See `Simulators`."""
        self._groups[group].env.send(actions)

    def recv(self, group: int = 0) -> Transition:
        """See `Simulators`."""
        return self._groups[group].recv()

    def step(self, actions: NDArray[Any]) -> Transition:
        """See `Simulators`."""
        (group,) = self._groups
        group.env.send(actions)
        return group.recv()

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """ALE's vector environment cannot save its state: None."""
        return None

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """ALE's vector environment cannot restore a state."""
        raise ValueError("Atari simulators have no saved state to continue from")

    def close(self) -> None:
        """See `Simulators`."""
        self._groups.clear()


class _Group:
    """Simulators that step together: one of ALE's vector environments."""

    def __init__(
        self,
        rom: str,
        sticky: float,
        rows: slice,
        threads: int,
        protocol: AtariProtocol,
        training: bool,
    ) -> None:
        # The emulator prints a banner for each instance otherwise.
        ALEInterface.setLoggerMode(LoggerMode.Error)
        self._count, self._first = rows.stop - rows.start, rows.start
        self.env = AtariVectorEnv(
            rom,
            self._count,
            num_threads=threads,
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
            # `episodic_life` would restart the whole game at every lost life, and built-in
            # clipping would lose the raw score.
            episodic_life=False,
            life_loss_info=protocol.life_loss_terminal and training,
            reward_clipping=False,
        )
        actions = self.env.single_action_space
        assert isinstance(actions, Discrete)
        self.actions = int(actions.n)
        self._clip = protocol.clip_rewards and training
        self._colours = 1 if protocol.grayscale else 3
        self._episode_frames = np.zeros(self._count, dtype=np.int64)
        self._counter = EpisodeCounter(self._count, self._first)

    def reset(self, seeds: NDArray[np.int64]) -> NDArray[Any]:
        observations, info = self.env.reset(seed=seeds)
        self._episode_frames = info["episode_frame_number"].astype(np.int64)
        self._counter = EpisodeCounter(self._count, self._first)
        return self._channels_first(observations)

    def recv(self) -> Transition:
        observations, rewards, terminated, truncated, info = self.env.recv()
        frames = info["episode_frame_number"]
        # A life loss reports `terminated` too, but only a new game resets its frame counter; a
        # game cut very early may have been shorter than the random start of the next.
        over = truncated | (frames < self._episode_frames)
        self._episode_frames = frames.astype(np.int64)
        truncated = truncated & ~terminated
        return Transition(
            observations=self._channels_first(observations),
            rewards=(np.sign(rewards) if self._clip else rewards).astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            final_observations=(
                self._channels_first(info["final_obs"]) if truncated.any() else None
            ),
            episodes=self._counter.add(rewards, over),
        )

    def _channels_first(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._colours == 1:
            return images
        # [B, stack, H, W, 3] → [B, stack * 3, H, W]
        batch, _, height, width, _ = images.shape
        return images.transpose(0, 1, 4, 2, 3).reshape(batch, -1, height, width)
