"""What the contract of simulators is tested on: cases by backend, a recorder, a reference."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.settings import AtariProtocol
from gala_rl.envs import Episode, Simulators, Transition, backend_of, make_simulators
from gala_rl.envs.simulators import random_actions

SHORT_GAMES = AtariProtocol(max_episode_frames=120, sticky_actions=0.25)


class Case(NamedTuple):
    """An environment with arguments, and what steps it: a backend, or "processes" of Gymnasium."""

    backend: str
    env: str
    args: dict[str, Any]

    @property
    def source(self) -> EnvironmentSource:
        return EnvironmentSource(self.env, self.args, atari=SHORT_GAMES)

    def build(self, count: int, **args: Any) -> Simulators:
        source = EnvironmentSource(self.env, self.args | args, atari=SHORT_GAMES)
        processes = min(2, count) if self.backend == "processes" else None
        return make_simulators(source, count, 2, training=False, processes=processes)


def case(env: str, backend: str | None = None, **args: Any) -> Any:
    """Return a parameter; those that need packages of backends have their marker."""
    backend = backend or backend_of(EnvironmentSource(env))
    marks = [pytest.mark.backends] * (backend in ("envpool", "jax"))
    words = (backend, env.rpartition(":")[2], *map(str, args.values()))
    return pytest.param(Case(backend, env, args), marks=marks, id="-".join(words))


def of(cases: list[Any], *backends: str) -> list[Any]:
    """Return the cases of some backends."""
    return [parameter for parameter in cases if parameter.values[0].backend in backends]


_LIMIT: dict[str, Any] = {"max_episode_steps": 9}
ANY = [
    case("CartPole-v1", **_LIMIT),
    case("CartPole-v1", "processes", **_LIMIT),
    case("Pendulum-v1", **_LIMIT),
    case("gym-vec:CartPole-v1", **_LIMIT),
    case("FreewayNoFrameskip-v4"),
    case("envpool:CartPole-v1", **_LIMIT),
    case("envpool:HalfCheetah-v4", **_LIMIT),
    case("envpool:MiniGrid-Empty-Random-6x6-v0", **_LIMIT),
    case("envpool:Freeway-v5"),
    case("pgx:minatar-breakout", **_LIMIT),
    case("jax:tests.environments.functional:Counting", length=12, **_LIMIT),
]
"""One or more environments per backend, and all kinds of observations and actions."""

COUNTING = [
    case("tests.environments:Counting-v0"),
    case("tests.environments:Counting-v0", "processes"),
    *(
        case("gym-vec:tests.environments:CountingVector-v0", mode=mode)
        for mode in ("NEXT_STEP", "SAME_STEP", "DISABLED")
    ),
    case("jax:tests.environments.functional:Counting"),
]
"""Environments whose every number is known."""

CARTPOLE = [
    case("CartPole-v1"),
    case("CartPole-v1", "processes"),
    case("gym-vec:CartPole-v1"),
    case("envpool:CartPole-v1"),
]
"""CartPole, whose observations show the step that led to them."""


class Step(NamedTuple):
    """What an agent may learn from one step of one simulator; nothing follows a termination."""

    seen: list[float]
    action: int
    reward: float
    terminated: bool
    truncated: bool
    following: list[float]


def play(simulators: Simulators, steps: int) -> list[Transition]:
    """Play random actions, the same in every call."""
    rng = np.random.default_rng(0)
    return [
        simulators.step(random_actions(simulators.action, simulators.count, rng))
        for _ in range(steps)
    ]


def experience(
    simulators: Simulators,
    first: NDArray[Any],
    vector_steps: int,
    ended: NDArray[np.bool_] | None = None,
) -> list[list[Step]]:
    """Return the steps of each simulator without those that only reset it; actions 0 and 1 in turn.

    Games must be reported in the step of their end, with the sum of their rewards.

    Args:
        first: observations before the first step.
        ended: simulators whose episode is already over, since they reset on the next step.
    """
    steps: list[list[Step]] = [[] for _ in range(simulators.count)]
    scores, lengths = np.zeros(simulators.count), np.zeros(simulators.count, dtype=np.int64)
    seen = first
    ended = np.zeros(simulators.count, dtype=np.bool_) if ended is None else ended
    for _ in range(vector_steps):
        actions = np.array([len(own) % 2 for own in steps])
        t = simulators.step(actions)
        resets = t.terminated & t.truncated
        np.testing.assert_array_equal(resets, ended & simulators.resets_on_next_step)
        assert not t.rewards[resets].any()
        ended = t.terminated ^ t.truncated
        scores += t.rewards
        lengths += ~resets
        games = [Episode(int(i), float(scores[i]), int(lengths[i])) for i in np.flatnonzero(ended)]
        assert t.episodes == games
        scores[ended], lengths[ended] = 0.0, 0
        assert (t.final_observations is not None) == (t.truncated & ~resets).any()
        for i in np.flatnonzero(~resets):
            after = t.observations
            if t.truncated[i]:
                assert t.final_observations is not None
                after = t.final_observations
            flags = bool(t.terminated[i]), bool(t.truncated[i])
            following = [] if t.terminated[i] else after[i].tolist()
            step = (int(actions[i]), float(t.rewards[i]), *flags, following)
            steps[i].append(Step(seen[i].tolist(), *step))
        seen = t.observations
    return steps


def counting(first: list[float], length: int, limit: int | None) -> Iterator[Step]:
    """Steps of the counting environment from an observation (episode, step, last action)."""
    episode, behind, last = first
    made = 0
    while True:
        action, step = made % 2, behind + 1
        terminated = step == length
        truncated = step == limit and not terminated
        following = [] if terminated else [episode, step, action]
        yield Step([episode, behind, last], action, step, terminated, truncated, following)
        made += 1
        over = terminated or truncated
        episode, behind, last = (episode + 1, 0, -1) if over else (episode, step, action)


def numbered(steps: list[Step]) -> list[Step]:
    """Number the episodes in their order where their first observation shows a random number."""
    order: dict[float, int] = {}

    def number(observation: list[float]) -> list[float]:
        return [float(order.setdefault(x, len(order))) for x in observation[:1]] + observation[1:]

    return [s._replace(seen=number(s.seen), following=number(s.following)) for s in steps]
