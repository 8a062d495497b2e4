"""A guard around one environment: checks its answers, and rebuilds it when it fails."""

import logging
import os
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gala_rl.envs.actions import ActionDecoder
from gala_rl.envs.ids import describe
from gala_rl.envs.make import make_environment
from gala_rl.envs.observations import ObservationEncoder
from gala_rl.envs.validation import InvalidStep, flag, reward_of
from gala_rl.errors import SimulatorFailure

MAX_FAILURES_IN_A_ROW = 10
"""A simulator that fails this often without a good step in between ends its learner."""

_log = logging.getLogger(__name__)


class CheckedStep(NamedTuple):
    """What a good step returned, converted and checked."""

    observation: NDArray[Any]
    reward: float
    terminated: bool
    truncated: bool


def close_environment(env: gymnasium.Env[Any, Any], env_id: str) -> None:
    """Close an environment; what its `close` raises goes to the log, and no further."""
    try:
        env.close()
    except KeyboardInterrupt:
        raise
    except BaseException:
        _log.warning("close() of %s raised", env_id, exc_info=True)


class GuardedEnvironment:
    """Steps one environment, which fails by raising or by returning what cannot be learned from.

    One that has failed is closed before it is built anew.

    Args:
        env_id: Gymnasium id.
        index: of the simulator, among all of its learner.
        env: the environment.
        encode: of its observations.
        decode: of its actions.
        failures: [1] where failures are counted.
        failures_in_a_row: [1] of these, since the last good step.

    Attributes:
        env: the environment; another one after a failure.
    """

    def __init__(
        self,
        env_id: str,
        index: int,
        env: gymnasium.Env[Any, Any],
        encode: ObservationEncoder,
        decode: ActionDecoder,
        failures: NDArray[np.int64],
        failures_in_a_row: NDArray[np.int64],
    ) -> None:
        self.env = env
        self._env_id, self._index = env_id, index
        self._encode, self._decode = encode, decode
        self._failures, self._failures_in_a_row = failures, failures_in_a_row
        self._is_open, self._is_broken = True, False
        self._process = os.getpid()
        self._seed: int | None = None
        self._agent_steps = 0

    def reset(self, seed: int) -> NDArray[Any]:
        """Begin an episode that follows from a seed, as all later ones do; see `begin_episode`."""
        self._seed = seed
        return self._begin_episode(self._own_seed())

    def begin_episode(self) -> NDArray[Any]:
        """Begin the next episode, in a new environment after a failure; returns its observation.

        Raises:
            SimulatorFailure: when the environment fails too often in a row.
        """
        return self._begin_episode(None)

    def _begin_episode(self, seed: int | None) -> NDArray[Any]:
        while True:
            try:
                if self._is_broken:
                    self.close()
                    self.env = make_environment(self._env_id)
                    self._is_open, seed = True, self._own_seed()
                observation = self._encode(_first_of(self.env.reset(seed=seed)))
            except BaseException as error:
                self._count_failure(error, "reset")
            else:
                self._is_broken = False
                return observation

    def step(self, action: Any) -> CheckedStep | None:
        """Make a step with one of the policy's actions.

        Returns:
            The answer; None after a failure, which ends the episode.

        Raises:
            SimulatorFailure: when the environment fails too often in a row.
        """
        self._agent_steps += 1
        legal = self._decode(action)
        try:
            answer = self._checked(self.env.step(legal))
        except BaseException as error:
            self._count_failure(error, "step")
            return None
        self._failures_in_a_row[0] = 0
        return answer

    def _checked(self, answer: Any) -> CheckedStep:
        if not isinstance(answer, tuple) or len(answer) != 5:
            what = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
            raise InvalidStep(
                f"it returned {what}, not (observation, reward, terminated, truncated, info)"
            )
        observation, reward, terminated, truncated, _ = answer
        return CheckedStep(
            self._encode(observation),
            reward_of(reward),
            flag(terminated, "terminated"),
            flag(truncated, "truncated"),
        )

    def _count_failure(self, error: BaseException, where: str) -> None:
        # Anything counts: environments call sys.exit, and Rust's panics are no `Exception`. But a
        # process that a simulator has forked must not go on as a second learner.
        if isinstance(error, KeyboardInterrupt) or os.getpid() != self._process:
            raise error
        self._is_broken = True
        self._failures[0] += 1
        self._failures_in_a_row[0] += 1
        is_answer = isinstance(error, InvalidStep)
        what = " ".join((str(error) if is_answer else describe(error)).split())
        name = f"simulator {self._index} of {self._env_id}"
        place = f"in {where}() at its agent step {self._agent_steps}"
        _log.warning("%s failed %s: %s", name, place, what, exc_info=None if is_answer else error)
        if self._failures_in_a_row[0] >= MAX_FAILURES_IN_A_ROW:
            raise SimulatorFailure(
                f"{name} failed {MAX_FAILURES_IN_A_ROW} times without a good step, last {place}: "
                f"{what}"
            ) from error

    def _own_seed(self) -> int:
        """A new simulator's seed: its own, whatever happens to others and wherever they are."""
        failures = int(self._failures[0])
        key = (self._index, failures) if failures else (self._index,)
        sequence = np.random.SeedSequence(self._seed, spawn_key=key)
        return int(sequence.generate_state(1)[0] % 2**31)

    def close(self) -> None:
        """Close the environment, once, whatever its `close` does."""
        if self._is_open:
            self._is_open = False
            close_environment(self.env, self._env_id)


def _first_of(answer: Any) -> Any:
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise InvalidStep(f"it returned {type(answer).__name__}, not (observation, info)")
    return answer[0]
