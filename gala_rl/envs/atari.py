"""Atari simulators: ALE's own C++ vector environment, with the papers' protocol around it."""

import difflib
import itertools
import re
from typing import Any

import numpy as np
from ale_py import ALEInterface, LoggerMode, roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from gala_rl.envs.simulators import EpisodeCounter, Transition
from gala_rl.errors import UserError
from gala_rl.settings import AtariProtocol
from gala_rl.spaces import ActionSpec, ObservationSpec

_STICKY = 0.25


def parse_id(env_id: str) -> tuple[str, float] | None:
    """The ROM and the sticky-action probability that a Gymnasium id of an ALE game means.

    Returns:
        (ROM name, probability); None when the id is not that of an ALE game.

    Raises:
        UserError: when it is one whose meaning cannot be kept: `Pong-v4` and `Pong-v0` hold an
            action for a random 2 to 4 frames, and without a version an id may mean any of them.
    """
    match = re.fullmatch(r"(ALE/)?(\w+?)(NoFrameskip)?(?:-v([045]))?", env_id)
    if match is None:
        return None
    namespace, game, every_frame, version = match.groups()
    rom = _rom_of(game)
    if rom is None:
        if namespace or every_frame:
            raise UserError(f"env {env_id!r} is unknown: {_hint(game)}")
        return None
    if namespace and not every_frame and version == "5":
        return rom, _STICKY
    if every_frame and not namespace and version in ("0", "4"):
        return rom, 0.0 if version == "4" else _STICKY
    if version is None:
        wrong = "has no version"
    elif namespace or every_frame or version == "5":
        wrong = "is unknown"
    else:
        wrong = "skips a random number of frames"
    raise UserError(
        f"env {env_id!r} {wrong}: use {game}NoFrameskip-v4 (the papers' protocol) "
        f"or ALE/{game}-v5 (sticky actions)"
    )


def observation_spec(protocol: AtariProtocol) -> ObservationSpec:
    """What every game looks like under a protocol."""
    channels = protocol.frame_stack * (1 if protocol.grayscale else 3)
    return ObservationSpec((channels, protocol.image_size, protocol.image_size), True)


def _rom_of(game: str) -> str | None:
    by_name = {rom.title().replace("_", ""): rom for rom in roms.get_all_rom_ids()}
    return by_name.get(game)


def _hint(game: str) -> str:
    names = [rom.title().replace("_", "") for rom in roms.get_all_rom_ids()]
    close = difflib.get_close_matches(game, names, n=1, cutoff=0.4)
    guess = f"did you mean the game {close[0]}?" if close else "there is no such game"
    return f"{guess} Games are written like PongNoFrameskip-v4 or ALE/Pong-v5"


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
        parsed = parse_id(env_id)
        if parsed is None:
            raise UserError(f"env {env_id!r} is not an Atari game")
        self.count = count
        self.frames_per_step = protocol.frame_skip
        self.failures = 0  # The emulator has no exceptions to recover from.
        edges = [count * g // groups for g in range(groups + 1)]
        self.groups = tuple(slice(*ends) for ends in itertools.pairwise(edges))
        self._groups = [_Group(*parsed, rows, threads, protocol, training) for rows in self.groups]
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
