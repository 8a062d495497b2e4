"""Simulators of EnvPool: Atari, MuJoCo, classic control and more, stepped by C++ threads."""

import difflib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.settings import AtariProtocol
from gala_rl.envs.actions import ActionDecoder, action_spec
from gala_rl.envs.arguments import check_kinds, check_names
from gala_rl.envs.batches import BatchEncoder
from gala_rl.envs.packages import backend_package
from gala_rl.envs.simulators import (
    EpisodeCounter,
    Transition,
    environment_seed,
    fail_as_one,
    random_actions,
    stagger_generator,
)
from gala_rl.envs.validation import as_rewards
from gala_rl.errors import UserError
from gala_rl.imports import describe
from gala_rl.processes.heartbeat import beat

_PLAYERS = "max_num_players"

_RESERVED = (
    "num_envs",
    "batch_size",
    "num_threads",
    _PLAYERS,
    "thread_affinity_offset",
    "base_path",
    "seed",
    "env_seed",
    "gym_reset_return_info",
    "task",
    "task_name",
)
"""Options of EnvPool that `--env-arg` cannot set, since they are not the environment's."""

_SUGGESTIONS = 3


class EnvPoolSimulators:
    """B copies of one environment of EnvPool; see `Simulators` for methods and attributes.

    EnvPool itself would reset a simulator in the step after an end and ignore that step's action.
    Here a simulator is reset as soon as its episode ends, alone, so no step is lost.

    On Atari a lost life is `terminated` if the protocol says so, while the game goes on.

    Args:
        source: its name without prefix is a name of EnvPool.
        count: B.
        threads: C++ threads that step them.
        training: False: a lost life does not end the return, and rewards are not clipped.

    Raises:
        UserError: when the environment cannot be built, or no network here can take its spaces.
        SimulatorFailure: from `reset` and `recv`, when EnvPool raises.
    """

    def __init__(
        self, source: EnvironmentSource, count: int, threads: int, training: bool = True
    ) -> None:
        self.count = count
        self.groups = (slice(0, count),)
        self.failures = 0  # Always 0: its C++ code raises no errors that could be recovered from.
        self.resets_on_next_step = False
        self._source, self._threads = source, threads
        self._all = np.arange(count, dtype=np.int32)
        protocol, self._is_atari = source.atari, is_atari(source)
        self.frames_per_step = protocol.frame_skip if self._is_atari else 1
        self._clips = self._is_atari and protocol.clips_rewards and training
        self._ends_at_life = self._is_atari and protocol.ends_at_life_loss and training
        self._pool = _make_pool(source, count, threads, seed=0)
        self._encode = BatchEncoder(self._pool.observation_space, source.env)
        self.observation = self._encode.spec
        self.action = action_spec(self._pool.action_space, source.env)
        self._decode = ActionDecoder(self._pool.action_space)
        self._lives = np.zeros(count, dtype=np.int32)
        self._counter = EpisodeCounter(count)

    def reset(self, seed: int, stagger: int = 0) -> NDArray[Any]:
        """See `Simulators`."""
        # EnvPool takes a seed only when it builds a pool.
        self._pool = _make_pool(self._source, self.count, self._threads, environment_seed(seed))
        with fail_as_one(self._source.env, "reset"):
            observations = self._begin(self._all)
            if stagger:
                self._play_at_random(observations, stagger_generator(seed), stagger)
        self._counter = EpisodeCounter(self.count)
        return observations

    def _begin(self, ids: NDArray[np.int32]) -> NDArray[Any]:
        """Begin an episode in some simulators; return their first observations."""
        observations, info = self._pool.reset(ids)
        if self._is_atari:
            self._lives[ids] = info["lives"]
        return self._encode(observations, len(ids))

    def _play_at_random(
        self, observations: NDArray[Any], rng: np.random.Generator, most: int
    ) -> None:
        """Play a different number of random steps in each simulator; update its observation."""
        lengths = rng.integers(most, size=self.count, endpoint=True)
        for step in range(lengths.max()):
            action = random_actions(self.action, self.count, rng)
            ids = np.flatnonzero(lengths > step).astype(np.int32)
            answer = self._pool.step(self._decode.batch(action[ids]), ids)
            observations[ids] = self._encode(answer[0], len(ids))
            if self._is_atari:
                self._lives[ids] = answer[4]["lives"]
            if len(over := ids[answer[2] | answer[3]]):
                observations[over] = self._begin(over)
            beat()

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """See `Simulators`."""
        self._pool.send(self._decode.batch(actions), self._all)

    def step(self, actions: NDArray[Any]) -> Transition:
        """See `Simulators`."""
        self.send(actions)
        return self.recv()

    def recv(self, group: int = 0) -> Transition:
        """See `Simulators`."""
        with fail_as_one(self._source.env, "step"):
            return self._recv()

    def _recv(self) -> Transition:
        values, rewards, terminated, truncated, info = self._pool.recv()
        observations = self._encode(values, self.count)
        done, truncated = terminated | truncated, truncated & ~terminated
        if self._ends_at_life:
            terminated = terminated | ((info["lives"] < self._lives) & ~truncated)
        if self._is_atari:
            self._lives[:] = info["lives"]
        finals = observations.copy() if truncated.any() else None
        rewards = as_rewards(rewards, self.count)
        episodes = self._counter.add(rewards, done)
        if done.any():
            ids = self._all[done]
            observations[ids] = self._begin(ids)
        return Transition(
            observations,
            np.sign(rewards) if self._clips else rewards,
            terminated,
            truncated,
            finals,
            episodes,
        )

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """Return None: EnvPool cannot save its state."""
        return None

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Raise a ValueError, since no state was saved."""
        raise ValueError("simulators of EnvPool have no saved state to continue from")

    def close(self) -> None:
        """See `Simulators`."""
        self._pool = None  # EnvPool ends its threads when its object is deleted.


def names() -> Sequence[str]:
    """Return the names of all environments; none if EnvPool is not installed."""
    try:
        import envpool
    except ImportError:
        return ()
    return sorted(envpool.list_all_envs())


def names_without_library() -> dict[str, str]:
    """Return the names whose families cannot be loaded, each with the name of that family.

    A family needs a library of the system, such as Qt for Procgen.
    """
    import envpool
    from envpool.registration import registry

    families: dict[str, list[str]] = {}
    for name in names():
        families.setdefault(registry.specs[name][0], []).append(name)
    found: dict[str, str] = {}
    for family, members in families.items():
        try:
            envpool.make_spec(members[0], num_envs=1)
        except ImportError:
            words = f"a library of the system for {family} ({len(members)} names)"
            found |= dict.fromkeys(members, words)
        except Exception:
            continue  # A mistake of this member says nothing about the others.
    return found


def is_atari(source: EnvironmentSource) -> bool:
    """Return whether a name is that of a game of EnvPool's Atari.

    Raises:
        UserError: when EnvPool is missing, or has no such environment.
    """
    return "repeat_action_probability" in _options(source)


def action_space(source: EnvironmentSource) -> Any:
    """Return the action space of one environment.

    Raises:
        UserError: when it cannot be built.
    """
    return _make_pool(source, 1, 1, seed=0).action_space


def _options(source: EnvironmentSource) -> dict[str, Any]:
    """Return all options of an environment with their defaults."""
    envpool = backend_package("envpool", "envpool", source.env)
    if source.name not in (known := envpool.list_all_envs()):
        # Games have one name here, whichever of Gymnasium's two a user knows.
        wanted = source.name.removeprefix("ALE/").replace("NoFrameskip-v4", "-v5")
        close = difflib.get_close_matches(wanted, known, n=_SUGGESTIONS)
        guess = f"did you mean envpool:{', envpool:'.join(close)}?" if close else "list them"
        raise UserError(f"env {source.env!r} is unknown to EnvPool: {guess} (gala envs WORD)")
    try:
        options = dict(envpool.make_spec(source.name, num_envs=1).config._asdict())
    except ImportError as error:
        raise UserError(f"env {source.env!r} needs a package that is missing: {error}") from error
    if (players := options[_PLAYERS]) > 1:
        raise UserError(
            f"env {source.env!r} is for {players} players at once: choose one for a single player"
        )
    return options


def check_options(source: EnvironmentSource) -> dict[str, Any]:
    """Check the arguments of an environment; return the options that Atari's protocol sets.

    Raises:
        UserError: when EnvPool is missing, has no such environment, or an argument is not the
            environment's or has another type.
    """
    options = _options(source)
    own = _protocol_options(source.atari) if "repeat_action_probability" in options else {}
    check_names(source.env, source.args, [o for o in options if o not in (*_RESERVED, *own)])
    check_kinds(source.env, source.args, options)
    return own


def _make_pool(source: EnvironmentSource, count: int, threads: int, seed: int) -> Any:
    """Build a pool of B simulators, with the protocol of Atari if it is a game."""
    own = check_options(source)
    envpool = backend_package("envpool", "envpool", source.env)
    try:
        with warnings.catch_warnings():
            # Gymnasium warns that EnvPool's float64 bounds lose precision in float32 spaces.
            warnings.simplefilter("ignore", UserWarning)
            pool = envpool.make(
                source.name,
                env_type="gymnasium",
                num_envs=count,
                num_threads=min(threads, count),
                seed=seed,
                **own,
                **source.args,
            )
            _ = pool.observation_space, pool.action_space  # Built when they are first read.
            return pool
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise UserError(f"env {source.env!r} cannot be built: {describe(error)}") from error


def _protocol_options(protocol: AtariProtocol) -> dict[str, Any]:
    """Return EnvPool's options for a protocol; lives and clipping are counted here instead."""
    return {
        "repeat_action_probability": protocol.sticky_actions or 0.0,
        "frame_skip": protocol.frame_skip,
        "stack_num": protocol.frame_stack,
        "img_height": protocol.image_size,
        "img_width": protocol.image_size,
        "gray_scale": protocol.grayscale,
        "noop_max": protocol.noop_max,
        "use_fire_reset": protocol.fire_reset,
        "full_action_space": protocol.full_action_space,
        "max_episode_steps": -(-protocol.max_episode_frames // protocol.frame_skip),
        "episodic_life": False,
        "zero_discount_on_life_loss": False,
        "reward_clip": False,
    }
