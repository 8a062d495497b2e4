"""Wraps an environment: validates each result, and rebuilds an environment that fails."""

import logging
import os
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.actions import ActionDecoder
from gala_rl.envs.make import make_environment
from gala_rl.envs.observations import ObservationEncoder
from gala_rl.envs.validation import RESET, STEP, InvalidStep, as_flag, as_reward, unpacked
from gala_rl.errors import SimulatorFailure
from gala_rl.imports import describe

MAX_FAILURES_IN_A_ROW = 10
"""A simulator that fails this often without a valid step in between stops its learner."""

_log = logging.getLogger(__name__)


ValidStep = tuple[NDArray[Any], float, bool, bool]
"""Observation, reward, terminated and truncated, validated and converted."""


def close_environment(
    env: gymnasium.Env[Any, Any] | gymnasium.vector.VectorEnv[Any, Any, Any], name: str
) -> None:
    """Close an environment; log an exception of its `close` instead of raising it."""
    try:
        env.close()
    except KeyboardInterrupt:
        raise
    except BaseException:
        _log.warning("close() of %s raised", name, exc_info=True)


class GuardedEnvironment:
    """Step one environment and rebuild it when it raises or returns an invalid answer.

    A failed environment is closed before the next one is built.

    Args:
        source: the environment to build again after a failure.
        index: index of the simulator, among all simulators of its learner.
        env: the environment.
        encode: converts its observations.
        decode: converts the policy's actions.
        failures: [1] counts failures.
        failures_in_a_row: [1] counts failures since the last valid step.

    Attributes:
        env: the environment; another object after a failure.
    """

    def __init__(
        self,
        source: EnvironmentSource,
        index: int,
        env: gymnasium.Env[Any, Any],
        encode: ObservationEncoder,
        decode: ActionDecoder,
        failures: NDArray[np.int64],
        failures_in_a_row: NDArray[np.int64],
    ) -> None:
        self.env = env
        self._source, self._index = source, index
        self._encode, self._decode = encode, decode
        self._failures, self._failures_in_a_row = failures, failures_in_a_row
        self._is_open, self._has_failed = True, False
        self._process = os.getpid()
        self._seed: int | None = None
        self._agent_steps = 0

    def reset(self, seed: int) -> NDArray[Any]:
        """Begin an episode; the seed determines it and all later ones. See `begin_episode`."""
        self._seed = seed
        return self.begin_episode(self._derived_seed())

    def begin_episode(self, seed: int | None = None) -> NDArray[Any]:
        """Begin the next episode, in a new environment after a failure; return its observation.

        Raises:
            SimulatorFailure: when the environment fails too often in a row.
        """
        while True:
            try:
                if self._has_failed:
                    self.close()
                    self.env = make_environment(self._source)
                    self._is_open, seed = True, self._derived_seed()
                answer = unpacked(self.env.reset(seed=seed), *RESET)
                observation = self._encode(answer[0])
            except BaseException as error:
                self._count_failure(error, "reset")
            else:
                self._has_failed = False
                return observation

    def step(self, action: Any) -> ValidStep | None:
        """Step the environment with an action of the policy.

        Returns:
            The result; None after a failure, which ends the episode.

        Raises:
            SimulatorFailure: when the environment fails too often in a row.
        """
        self._agent_steps += 1
        decoded = self._decode(action)
        try:
            answer = self._validated(self.env.step(decoded))
        except BaseException as error:
            self._count_failure(error, "step")
            return None
        self._failures_in_a_row[0] = 0
        return answer

    def close(self) -> None:
        """Close the environment; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            close_environment(self.env, self._source.env)

    def _validated(self, answer: Any) -> ValidStep:
        observation, reward, terminated, truncated, _ = unpacked(answer, *STEP)
        return (
            self._encode(observation),
            as_reward(reward),
            as_flag(terminated, "terminated"),
            as_flag(truncated, "truncated"),
        )

    def _count_failure(self, error: BaseException, where: str) -> None:
        # Catch BaseException: environments call sys.exit, and panics of Rust extensions are no
        # `Exception`. But a process that a simulator has forked must not become a second learner.
        if isinstance(error, KeyboardInterrupt) or os.getpid() != self._process:
            raise error
        self._has_failed = True
        self._failures[0] += 1
        self._failures_in_a_row[0] += 1
        is_answer = isinstance(error, InvalidStep)
        what = " ".join((str(error) if is_answer else describe(error)).split())
        name = f"simulator {self._index} of {self._source.env}"
        place = f"in {where}() at its agent step {self._agent_steps}"
        _log.warning("%s failed %s: %s", name, place, what, exc_info=None if is_answer else error)
        if self._failures_in_a_row[0] >= MAX_FAILURES_IN_A_ROW:
            raise SimulatorFailure(
                f"{name} failed {MAX_FAILURES_IN_A_ROW} times without a good step, last {place}: "
                f"{what}"
            ) from error

    def _derived_seed(self) -> int:
        """Derive the seed of a new environment from the simulator's index and failures alone."""
        failures = int(self._failures[0])
        key = (self._index, failures) if failures else (self._index,)
        sequence = np.random.SeedSequence(self._seed, spawn_key=key)
        return int(sequence.generate_state(1)[0] % 2**31)
