"""Atari simulators as their tests build and play them, and the bare emulator beside them."""

import functools
from typing import Any, NamedTuple

import numpy as np
from ale_py import ALEInterface, LoggerMode, roms
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.settings import AtariProtocol
from gala_rl.envs import Transition
from gala_rl.envs.atari import AtariSimulators

BREAKOUT = "BreakoutNoFrameskip-v4"
FREEWAY = "FreewayNoFrameskip-v4"  # cars drive from the first frame on
DETERMINISTIC = AtariProtocol(noop_max=0, fire_reset=False)
TALL, WIDE, SIDE = 210, 160, 84


class Frame(NamedTuple):
    """What the bare emulator says after one action was held for a few frames."""

    reward: float
    lives: int
    game_over: bool
    image: NDArray[np.float64]


def simulators(
    env_id: str = BREAKOUT,
    count: int = 1,
    protocol: AtariProtocol = DETERMINISTIC,
    training: bool = True,
) -> AtariSimulators:
    return AtariSimulators(EnvironmentSource(env_id, atari=protocol), count, 1, training)


def random_actions(steps: int, count: int = 1, actions: int = 4) -> NDArray[np.int64]:
    return np.random.default_rng(5).integers(actions, size=(steps, count))


def play(env: AtariSimulators, actions: NDArray[np.int64], seed: int = 0) -> list[Transition]:
    env.reset(seed)
    return [env.step(row) for row in actions]


def shrunk_rows(image: NDArray[Any], size: int) -> NDArray[np.float64]:
    """[N, M] → [size, M], each row the mean of the source rows that lie under it."""
    count = len(image)
    below = np.concatenate([np.zeros((1, image.shape[1])), np.cumsum(image, axis=0, dtype=float)])
    edges = np.linspace(0, count, size + 1)
    whole = np.minimum(edges.astype(int), count - 1)
    up_to_edges = below[whole] + (edges - whole)[:, None] * image[whole]
    means: NDArray[np.float64] = np.diff(up_to_edges, axis=0) * size / count
    return means


def shrunk(screen: NDArray[Any]) -> NDArray[np.float64]:
    return shrunk_rows(shrunk_rows(screen, SIDE).T, SIDE).T


def grey(ale: ALEInterface) -> NDArray[np.uint8]:
    return np.array(ale.getScreenGrayscale(), dtype=np.uint8).reshape(TALL, WIDE)


def emulator(rom: str) -> ALEInterface:
    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.setInt("random_seed", 0)
    ale.setFloat("repeat_action_probability", 0.0)
    path = roms.get_rom_path(rom)
    assert path is not None
    ale.loadROM(path)
    ale.reset_game()
    return ale


@functools.cache
def reference(rom: str, steps: int) -> list[Frame]:
    """The papers' preprocessing written down again, on one bare emulator, random actions."""
    ale = emulator(rom)
    legal = ale.getMinimalActionSet()
    frames = []
    for action in random_actions(steps, actions=len(legal))[:, 0]:
        reward, screens = 0.0, [np.zeros((TALL, WIDE), dtype=np.uint8)] * 2
        for _ in range(4):
            reward += ale.act(legal[action])
            screens.append(grey(ale))
            if ale.game_over():
                break
        pooled = np.maximum(screens[-1], screens[-2])
        frames.append(Frame(reward, ale.lives(), ale.game_over(), shrunk(pooled)))
        if ale.game_over():
            ale.reset_game()
    return frames
