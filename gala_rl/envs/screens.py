"""The screen of one simulator, to film or watch a game: RGB images beside rewards."""

from dataclasses import replace
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.atari import emulator_seeds, vector_environment
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.envs.ids import atari_game
from gala_rl.errors import UserError
from gala_rl.imports import describe

Image = NDArray[np.uint8]
"""RGB, [height, width, 3]."""

ATARI_SIZE = (210, 160)
"""Height and width of the emulator's screen."""

_EMULATOR_HZ = 60.0
_DEFAULT_HZ = 30.0


class Screen(Protocol):
    """One simulator with a screen; it plays the games of a policy's first simulator again."""

    @property
    def images_per_second(self) -> float:
        """Speed at which a person would play."""

    def reset(self, seed: int) -> list[Image]:
        """Begin the game that simulator 0 of `Simulators` begins with this seed; show it."""

    def step(self, action: NDArray[Any]) -> tuple[list[Image], float]:
        """Make an agent step with an action of the policy; return what it shows and its reward."""

    def close(self) -> None:
        """Release the simulator."""


def open_screen(source: EnvironmentSource) -> Screen:
    """Return the screen of an environment, which has been shown once.

    Raises:
        UserError: when the environment cannot be built or has no screen.
    """
    if source.prefix not in (None, "make"):
        raise UserError(
            f"env {source.env!r} cannot be shown: only Atari games and Gymnasium environments can"
        )
    if source.prefix is None and atari_game(source.env) is not None:
        return _AtariScreen(source)
    return _GymnasiumScreen(source)


class _AtariScreen:
    """A game of ALE in colour and full size, with a single frame per observation."""

    def __init__(self, source: EnvironmentSource) -> None:
        game = atari_game(source.env)
        assert game is not None
        protocol = replace(source.atari, grayscale=False, frame_stack=1)
        self._env = vector_environment(game, 1, 1, protocol, False, ATARI_SIZE)
        self.images_per_second = _EMULATOR_HZ / protocol.frame_skip

    def reset(self, seed: int) -> list[Image]:
        images, _ = self._env.reset(seed=emulator_seeds(seed, 1))
        return [images[0, 0]]

    def step(self, action: NDArray[Any]) -> tuple[list[Image], float]:
        self._env.send(np.asarray(action)[None])
        images, rewards, terminated, truncated, info = self._env.recv()
        # After the end of a game `images` show the next one.
        shown = info["final_obs"] if terminated[0] or truncated[0] else images
        return [shown[0, 0]], float(rewards[0])

    def close(self) -> None:
        self._env.close()


class _GymnasiumScreen:
    """An environment with `render_mode="rgb_array"`, stepped as all simulators are."""

    def __init__(self, source: EnvironmentSource) -> None:
        args = {**source.args, "render_mode": "rgb_array"}
        try:
            self._simulators = GymnasiumSimulators(replace(source, args=args), 1)
        except UserError as error:
            raise UserError(f"env {source.env!r} cannot be shown: {error}") from error
        (self._guarded,) = self._simulators.environments
        rate = self._guarded.env.metadata.get("render_fps")
        self.images_per_second = float(rate or _DEFAULT_HZ)
        try:
            self._guarded.env.reset(seed=0)
            _image_of(self._guarded.env)
        except UserError as error:
            self.close()
            raise UserError(f"env {source.env!r} cannot be shown: {error}") from error

    def reset(self, seed: int) -> list[Image]:
        self._camera = _Camera(self._guarded.env)
        self._guarded.env = self._camera
        self._simulators.reset(seed)
        return self._camera.taken()

    def step(self, action: NDArray[Any]) -> tuple[list[Image], float]:
        transition = self._simulators.step(np.asarray(action)[None])
        return self._camera.taken()[:1], float(transition.rewards[0])

    def close(self) -> None:
        self._simulators.close()


class _Camera(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes an image after each step and each reset: an environment that ends is reset at once."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._images: list[Image] = []

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        answer = self.env.reset(**options)
        self._images.append(_image_of(self.env))
        return answer

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        answer = self.env.step(action)
        self._images.append(_image_of(self.env))
        return answer

    def taken(self) -> list[Image]:
        """Return the images since the last call."""
        images, self._images = self._images, []
        return images


def _image_of(env: gymnasium.Env[Any, Any]) -> Image:
    """Return what an environment shows.

    Raises:
        UserError: when it shows no image.
    """
    try:
        image = env.render()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # A third party's code may raise anything.
        raise UserError(f"render() raised {describe(error)}") from error
    shape = getattr(image, "shape", ())
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or shape[2:] != (3,):
        raise UserError(f"render() returned no RGB image but {type(image).__name__} {[*shape]}")
    return image
