"""Simulators of a functional environment, vectorised and compiled by JAX."""

import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.actions import ActionDecoder, action_spec
from gala_rl.envs.arguments import episode_limit
from gala_rl.envs.batches import BatchEncoder
from gala_rl.envs.functional import Environment, functional_environment
from gala_rl.envs.simulators import (
    EpisodeCounter,
    Transition,
    fail_as_one,
    random_actions,
    stagger_generator,
)
from gala_rl.envs.validation import InvalidStep, as_rewards
from gala_rl.errors import UserError
from gala_rl.imports import describe
from gala_rl.processes.heartbeat import beat


class _Carry(NamedTuple):
    """State of all simulators: environment states, random keys [B, 2] and step counts [B]."""

    states: Any
    keys: Any
    steps: Any


class _Answer(NamedTuple):
    """Arrays of one step [B, ...]; `finals` is None where episodes are never truncated."""

    observations: Any
    rewards: Any
    terminated: Any
    truncated: Any
    finals: Any


class JaxSimulators:
    """B copies of one functional environment; see `Simulators` for methods and attributes.

    Simulators, their resets and their random keys are one compiled function. On a CPU observations
    are passed on without a copy. The state of all simulators is saved in checkpoints, so a run
    continues exactly.

    Args:
        source: an environment that `functional_environment` builds.
        count: B.

    Raises:
        UserError: when it cannot be built, or no network here can take its spaces.
        SimulatorFailure: from `reset` and `recv`, when a function of the environment raises.
    """

    def __init__(self, source: EnvironmentSource, count: int) -> None:
        env = functional_environment(source)
        import jax

        self.count = count
        self.groups = (slice(0, count),)
        self.frames_per_step = 1
        self.failures = 0  # Always 0: pure functions either work for all simulators or for none.
        self.resets_on_next_step = False
        self._name = source.env
        self._limit = episode_limit(source)
        self._encode = BatchEncoder(env.observation_space, source.env)
        self.observation = self._encode.spec
        self.action = action_spec(env.action_space, source.env)
        self._decode = ActionDecoder(env.action_space)
        self._start = jax.jit(partial(_start, env))
        self._advance = jax.jit(partial(_advance, env, self._limit))
        self._restart = jax.jit(partial(_restart, env))
        self._counter = EpisodeCounter(count)
        self._carry: Any = None
        self._actions: NDArray[Any] = np.zeros(0)
        self._check(env)

    def _check(self, env: Environment) -> None:
        """Trace the functions, which neither compiles nor calls them with numbers."""
        import jax

        actions = random_actions(self.action, self.count, np.random.default_rng(0))
        keys = jax.ShapeDtypeStruct((self.count, 2), "uint32")
        try:
            carry, observations = self._start.eval_shape(keys)
            self._encode.check_shapes(observations, self.count)
            self._advance.eval_shape(carry, self._decode.batch(actions))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise UserError(
                f"env {self._name!r} cannot be compiled{_place(error, env)}: {_first_line(error)}"
            ) from error

    def reset(self, seed: int, stagger: int = 0) -> NDArray[Any]:
        """See `Simulators`."""
        import jax

        rng = stagger_generator(seed)
        lengths = rng.integers(stagger, size=self.count, endpoint=True)
        with fail_as_one(self._name, "reset"):
            keys = jax.random.split(jax.random.PRNGKey(seed), self.count)
            self._carry, observations = self._start(keys)
            for step in range(1, stagger + 1):
                actions = self._decode.batch(random_actions(self.action, self.count, rng))
                self._carry, _ = self._advance(self._carry, actions)
                self._carry, observations = self._restart(self._carry, lengths == stagger - step)
                beat()
            encoded = self._encode(_on_host(observations), self.count)
        self._counter = EpisodeCounter(self.count)
        return encoded

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """See `Simulators`."""
        self._actions = actions

    def step(self, actions: NDArray[Any]) -> Transition:
        """See `Simulators`."""
        self.send(actions)
        return self.recv()

    def recv(self, group: int = 0) -> Transition:
        """See `Simulators`."""
        with fail_as_one(self._name, "step"):
            self._carry, answer = self._advance(self._carry, self._decode.batch(self._actions))
            observations = self._encode(_on_host(answer.observations), self.count)
            rewards, terminated, truncated = map(_on_host, answer[1:4])
            rewards = as_rewards(rewards, self.count)
            finals = None
            if answer.finals is not None and truncated.any():
                finals = self._encode(_on_host(answer.finals), self.count)
        episodes = self._counter.add(rewards, terminated | truncated)
        return Transition(observations, rewards, terminated, truncated, finals, episodes)

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """See `Simulators`."""
        import jax

        leaves = map(_signed, map(np.array, jax.tree.leaves(self._carry)))
        return {
            "scores": self._counter.scores.copy(),
            "agent_steps": self._counter.agent_steps.copy(),
            **{f"{i}": leaf for i, leaf in enumerate(leaves)},
        }

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """See `Simulators`."""
        import jax

        self._counter.scores = state["scores"].copy()
        self._counter.agent_steps = state["agent_steps"].copy()
        leaves, structure = jax.tree.flatten(self._carry)
        restored = [
            jax.numpy.asarray(state[f"{i}"].view(leaf.dtype)) for i, leaf in enumerate(leaves)
        ]
        self._carry = jax.tree.unflatten(structure, restored)

    def close(self) -> None:
        """See `Simulators`."""
        self._carry = None


def _start(env: Environment, keys: Any) -> tuple[_Carry, Any]:
    """Return first states and observations, from keys [B, 2]."""
    import jax

    keys, first, seen = _split(keys, 3)
    states = jax.vmap(env.initial)(first)
    steps = jax.numpy.zeros(len(keys), "int32")
    return _Carry(states, keys, steps), _observe(env, states, seen)


def _advance(env: Environment, limit: int | None, carry: _Carry, actions: Any) -> Any:
    """Step all simulators, and start new episodes where one ended."""
    import jax

    keys, step, reward, end, seen, first = _split(carry.keys, 6)
    following = jax.vmap(env.transition)(carry.states, actions, step)
    _check_state(carry.states, following)
    rewards = jax.vmap(env.reward)(carry.states, actions, following, reward)
    rewards = _one_each(rewards, "reward", "biuf").astype("float32")
    terminated = jax.vmap(env.terminal)(following, end)
    terminated = _one_each(terminated, "terminal", "biu").astype(bool)
    steps = carry.steps + 1
    truncated = jax.numpy.zeros_like(terminated) if limit is None else steps >= limit
    truncated &= ~terminated
    finals = None if limit is None else _observe(env, following, seen)
    states, steps = _begin(env, _Carry(following, first, steps), terminated | truncated)
    answer = _Answer(_observe(env, states, seen), rewards, terminated, truncated, finals)
    return _Carry(states, keys, steps), answer


def _restart(env: Environment, carry: _Carry, starts: Any) -> tuple[_Carry, Any]:
    """Start new episodes in some simulators [B]."""
    keys, first, seen = _split(carry.keys, 3)
    states, steps = _begin(env, _Carry(carry.states, first, carry.steps), starts)
    return _Carry(states, keys, steps), _observe(env, states, seen)


def _begin(env: Environment, carry: _Carry, starts: Any) -> tuple[Any, Any]:
    """Return states and step counts, new ones in some simulators [B], made with their keys."""
    import jax

    def begin(states: Any) -> Any:
        first = jax.vmap(env.initial)(carry.keys)
        return jax.tree.map(partial(_where, starts), first, states)

    # Most steps end no episode, and some games are expensive to set up.
    states = jax.lax.cond(starts.any(), begin, lambda states: states, carry.states)
    return states, jax.numpy.where(starts, 0, carry.steps)


def _one_each(values: Any, function: str, kinds: str) -> Any:
    """[B] or [B, 1, ...] numbers of some kinds of dtype that a function returned → [B]."""
    what = _type(values)
    if what is None or values.size != len(values) or values.dtype.kind not in kinds:
        wanted = "a number" if "f" in kinds else "true or false"
        raise InvalidStep(f"{function} returns {what or type(values).__name__}, not {wanted}")
    return values.reshape(len(values))


def _check_state(before: Any, after: Any) -> None:
    """Check that a state has the same parts after a step, as compiled code and checkpoints need."""
    import jax

    (old, old_structure), (new, new_structure) = map(jax.tree.flatten_with_path, (before, after))
    if old_structure != new_structure:
        raise InvalidStep(f"transition returns {new_structure}, not as initial {old_structure}")
    for (path, first), (_, then) in zip(old, new, strict=True):
        if _type(first) != _type(then):
            part = f"part {jax.tree_util.keystr(path)} of the state" if path else "the state"
            raise InvalidStep(f"transition returns {part} as {_type(then)}, not {_type(first)}")


def _type(values: Any) -> str | None:
    """Return dtype and shape of one simulator's array among [B, ...]; None if it is no array."""
    return f"{values.dtype}{list(values.shape[1:])}" if hasattr(values, "dtype") else None


def _observe(env: Environment, states: Any, keys: Any) -> Any:
    """Return observations [B, ...]; those of boolean planes as 0 and 255."""
    import jax

    observations = jax.vmap(env.observation)(states, keys)
    return jax.tree.map(
        lambda x: x.astype("uint8") * np.uint8(255) if x.dtype == bool else x, observations
    )


def _split(keys: Any, count: int) -> Any:
    """[B, 2] random keys → `count` times [B, 2]."""
    import jax

    return jax.vmap(partial(jax.random.split, num=count), out_axes=1)(keys)


def _where(rows: Any, new: Any, old: Any) -> Any:
    """Return [B, ...]: new values in rows [B] that are true, old ones in others."""
    import jax

    return jax.numpy.where(rows.reshape(-1, *(1,) * (new.ndim - 1)), new, old)


def _on_host(arrays: Any) -> Any:
    """Convert arrays of JAX to NumPy's, on a CPU without a copy.

    DLPack is the way since `np.asarray` returns a read-only view, about which PyTorch warns.
    """
    import jax
    import torch

    return jax.tree.map(lambda x: torch.utils.dlpack.from_dlpack(x).cpu().numpy(), arrays)


def _signed(array: NDArray[Any]) -> NDArray[Any]:
    """Return unsigned integers as signed ones of the same bits: checkpoints hold only those."""
    if array.dtype.kind == "u" and array.itemsize > 1:
        return array.view(f"i{array.itemsize}")
    return array


def _first_line(error: BaseException) -> str:
    """Describe an exception by its first line: those of JAX go on for pages."""
    text = str(error) if isinstance(error, InvalidStep) else describe(error)
    return text.partition("\n")[0]


def _place(error: BaseException, env: Environment) -> str:
    """Return the line of an environment's file that raised, for a message; "" if none did."""
    file = sys.modules[type(env).__module__].__file__
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" ({Path(file).name}, line {lines[-1]})" if file and lines else ""
