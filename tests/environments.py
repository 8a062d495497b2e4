"""Environments whose every number is known, by Gymnasium id `tests.environments:NAME-v0`."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from numpy.typing import NDArray


class Counting(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Tells where it is: observation (episode, step, last action), reward = step just made.

    Episodes are `length` steps long and end terminated, or truncated if so made. Any slip at a
    seam of rollouts or episodes is a wrong integer.
    """

    observation_space = gymnasium.spaces.Box(-1.0, 1e6, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length: int = 7, truncates: bool = False) -> None:
        self.length = length
        self.truncates = truncates
        self.episode = -1
        self.step_number = 0
        self.last_action = -1

    def _observation(self) -> NDArray[np.float32]:
        return np.array([self.episode, self.step_number, self.last_action], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode += 1
        self.step_number = 0
        self.last_action = -1
        return self._observation(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.step_number += 1
        self.last_action = int(action)
        over = self.step_number >= self.length
        ends = (over and not self.truncates, over and self.truncates)
        return self._observation(), float(self.step_number), *ends, {}


class Drifting(gymnasium.Env[NDArray[np.float32], np.int64]):
    """A random walk that the action pushes; its whole state, randomness too, can be saved."""

    observation_space = gymnasium.spaces.Box(-10.0, 10.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, length: int = 23) -> None:
        self.length = length
        self.position = np.zeros(2, dtype=np.float32)
        self.step_number = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.position = self.np_random.normal(size=2).astype(np.float32)
        self.step_number = 0
        return self.position.copy(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.step_number += 1
        push = np.array([action - 1, 0.0])
        noise = self.np_random.normal(size=2)
        self.position = np.clip(self.position + 0.2 * push + 0.1 * noise, -5, 5).astype(np.float32)
        reward = -float(np.abs(self.position[0]))
        terminated = bool(np.abs(self.position[0]) > 3)
        return (
            self.position.copy(),
            reward,
            terminated,
            not terminated and self.step_number >= self.length,
            {},
        )

    def get_state(self) -> dict[str, NDArray[Any]]:
        generator: Any = self.np_random.bit_generator.state
        words = [
            (generator["state"][name] >> shift) & (2**64 - 1)
            for name in ("state", "inc")
            for shift in (0, 64)
        ]
        return {
            "position": self.position.copy(),
            "step_number": np.array(self.step_number),
            "generator": np.array(words, dtype=np.uint64).view(np.int64),
            "spare": np.array([generator["has_uint32"], generator["uinteger"]], dtype=np.int64),
        }

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        self.position = state["position"].copy()
        self.step_number = int(state["step_number"])
        low, high, inc_low, inc_high = (int(w) for w in state["generator"].view(np.uint64))
        self.np_random.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": low | high << 64, "inc": inc_low | inc_high << 64},
            "has_uint32": int(state["spare"][0]),
            "uinteger": int(state["spare"][1]),
        }


class Failing(Counting):
    """Raises at every 11th step of the process's life, or at each if `always`."""

    def __init__(self, always: bool = False) -> None:
        super().__init__()
        self.always = always
        self.life = 0

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.life += 1
        if self.always or self.life % 11 == 0:
            raise RuntimeError("the simulator broke")
        return super().step(action)


class Breaking(Drifting):
    """Raises at every 11th step of a simulator's life; goes on as its seed says."""

    def __init__(self) -> None:
        super().__init__()
        self.life = 0

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.life += 1
        if self.life % 11 == 0:
            raise RuntimeError("the simulator broke")
        return super().step(action)


def misbehave(fault: str) -> None:
    """Do what takes a process with it, or all but."""
    if fault == "raise":
        raise RuntimeError("the simulator broke")
    if fault == "hang":
        time.sleep(10**6)
    elif fault == "hang with a game":
        game = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(10**6)"])
        (Path(os.environ["TROUBLE"]) / "game").write_text(str(game.pid), encoding="utf-8")
        time.sleep(10**6)
    elif fault == "exit":
        os._exit(3)
    elif fault == "sys.exit":
        sys.exit("enough")
    elif fault == "print":
        for stream in (1, 2):
            os.write(stream, b"\x06\x00s r\xff" * 1000)
    else:
        os.kill(os.getpid(), signal.Signals[fault])


class Troubled(Counting):
    """Misbehaves as the file $TROUBLE/WHERE-FIRST says: once, or always if that begins with !.

    WHERE is build, reset or step; FIRST the first simulator of the process.
    """

    def __init__(self) -> None:
        super().__init__()
        self._meet_trouble("build")

    def _meet_trouble(self, where: str) -> None:
        first = multiprocessing.current_process().name.rpartition("-")[2]
        file = Path(os.environ["TROUBLE"]) / f"{where}-{first}"
        if file.exists():
            fault = file.read_text(encoding="utf-8")
            if not fault.startswith("!"):
                file.unlink()
            misbehave(fault.removeprefix("!"))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self._meet_trouble("reset")
        return super().reset(seed=seed, options=options)

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._meet_trouble("step")
        return super().step(action)


class Treacherous(CartPoleEnv):
    """Misbehaves at every 120th step of its life, as was done least; notes it in $TROUBLE."""

    FAULTS = ("raise", "hang", "exit", "SIGSEGV", "SIGSTOP")

    def __init__(self) -> None:
        super().__init__()
        self.life = 0

    def step(self, action: Any) -> Any:
        self.life += 1
        if self.life % 120 == 0:
            folder = Path(os.environ["TROUBLE"])
            done = [file.name.partition("-")[0] for file in folder.iterdir()]
            fault = min(self.FAULTS, key=done.count)
            (folder / f"{fault}-{os.getpid()}-{self.life}").touch()
            misbehave(fault)
        return super().step(action)  # type: ignore[no-untyped-call]


class Poisoned(Counting):
    """Rewards turn to NaN after some steps: whoever learns from it is lost."""

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.episode >= 2:
            reward = float("nan")
        return observation, reward, terminated, truncated, info


class PoisonedOnDemand(Drifting):
    """One reward is NaN, once: for whoever comes first after the file $POISON was made."""

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        poison = Path(os.environ["POISON"])
        if poison.exists():
            try:
                poison.unlink()
            except FileNotFoundError:
                return observation, reward, terminated, truncated, info
            reward = float("nan")
        return observation, reward, terminated, truncated, info


class SlowToBuild(Drifting):
    """Takes a second to build in the process of learner 1."""

    def __init__(self) -> None:
        super().__init__()
        if multiprocessing.current_process().name.endswith("-1"):
            time.sleep(1.0)


class FailingInLearner2(Drifting):
    """Cannot be built in the process of learner 2."""

    def __init__(self) -> None:
        super().__init__()
        if multiprocessing.current_process().name.endswith("-2"):
            raise RuntimeError("the simulator broke")


class Slow(Drifting):
    """Half a millisecond a step, so that a run is still going when a test disturbs it."""

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        time.sleep(0.0005)
        return super().step(action)


class Bandit(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Episodes of one step; the observation is -1 or 1, the same chance each.

    `pays` says what the reward is: always 1, the observation, 1 for action 1, or 1 for the action
    that matches the observation.
    """

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, pays: Literal["always", "observation", "action", "match"]) -> None:
        self.pays = pays
        self.side = 1.0

    def _draw(self) -> NDArray[np.float32]:
        self.side = float(self.np_random.choice([-1.0, 1.0]))
        return np.array([self.side], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        return self._draw(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        reward = {
            "always": 1.0,
            "observation": self.side,
            "action": float(action == 1),
            "match": float((action == 1) == (self.side > 0)),
        }[self.pays]
        return self._draw(), reward, True, False, {}


class Corridor(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Tells how many steps are behind; pays 1 at its last step, or at each step and is cut there.

    The true values are known: γ^(steps left - 1) where the episode ends; 1 / (1 - γ) everywhere
    where it is only cut. The final observation is that of the start, not one that is never learned.
    """

    observation_space = gymnasium.spaces.Box(0.0, 10.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length: int, truncates: bool) -> None:
        self.length = length
        self.truncates = truncates
        self.step_number = 0

    def _observation(self) -> NDArray[np.float32]:
        return np.array([self.step_number % self.length], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number = 0
        return self._observation(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.step_number += 1
        over = self.step_number >= self.length
        reward = float(over or self.truncates)
        ends = (over and not self.truncates, over and self.truncates)
        return self._observation(), reward, *ends, {}


class Unscaled(Bandit):
    """Bandit-match in unfit units: the side is a thousandth of the observation, rewards thousands.

    The second number of the observation never changes.
    """

    observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,), np.float32)

    def __init__(self) -> None:
        super().__init__("match")

    def _draw(self) -> NDArray[np.float32]:
        return np.array([1e5 + 1e2 * super()._draw()[0], 7e5], dtype=np.float32)

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, 5e3 * reward, terminated, truncated, info


class Recall(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Shows a cue, -1 or 1, at the start alone, and pays 1 if the last action matches it.

    Without memory, one half is all that can be had.
    """

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length: int = 6) -> None:
        self.length = length
        self.step_number = 0
        self.cue = 1.0

    def _observation(self) -> NDArray[np.float32]:
        asked = self.step_number == self.length - 1
        cue = 0.0 if self.step_number else self.cue
        return np.array([cue, float(asked)], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number = 0
        self.cue = float(self.np_random.choice([-1.0, 1.0]))
        return self._observation(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.step_number += 1
        over = self.step_number >= self.length
        right = (action == 1) == (self.cue > 0)
        return self._observation(), float(over and right), over, False, {}


class Parts(gymnasium.Env[dict[str, Any], NDArray[np.int64]]):
    """Shows a picture, a vector and a number, and pays for the two actions that fit two of them.

    One half for naming the brighter side of the picture, one half for the number.
    """

    observation_space = gymnasium.spaces.Dict(
        {
            "vector": gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32),
            "picture": gymnasium.spaces.Box(0, 255, (36, 40, 3), np.uint8),
            "number": gymnasium.spaces.Discrete(3, start=1),
        }
    )
    action_space = gymnasium.spaces.MultiDiscrete([2, 3], start=[0, 1])

    def _observation(self) -> dict[str, Any]:
        self.side = int(self.np_random.integers(2))
        self.number = int(self.np_random.integers(1, 4))
        picture = np.zeros((36, 40, 3), dtype=np.uint8)
        picture[:, 20 * self.side : 20 * self.side + 20] = 255
        vector = self.np_random.uniform(-1.0, 1.0, 3).astype(np.float32)
        return {"vector": vector, "picture": picture, "number": np.int64(self.number)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        return self._observation(), {}

    def step(
        self, action: NDArray[np.int64]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        side, number = action
        reward = 0.5 * (side == self.side) + 0.5 * (number == self.number)
        return self._observation(), float(reward), True, False, {}


class Stripes(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """Shows random pictures, and is cut after five of them."""

    observation_space = gymnasium.spaces.Box(0, 255, (36, 40, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number = 0
        return self._observation(), {}

    def _observation(self) -> NDArray[np.uint8]:
        return self.np_random.integers(256, size=(36, 40, 3), dtype=np.uint8)

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        self.step_number += 1
        return self._observation(), float(action), False, self.step_number == 5, {}


class Letters(Counting):
    """Says something, which no network here can take."""

    observation_space = gymnasium.spaces.Dict(  # type: ignore[assignment]
        {
            "number": Counting.observation_space,
            "said": gymnasium.spaces.Tuple([gymnasium.spaces.Text(9)]),
        }
    )


_PREFIX = "tests.environments:"

gymnasium.register("Counting-v0", f"{_PREFIX}Counting", disable_env_checker=True)
gymnasium.register(
    "CountingTruncated-v0",
    f"{_PREFIX}Counting",
    disable_env_checker=True,
    kwargs={"length": 7, "truncates": True},
)
gymnasium.register("Drifting-v0", f"{_PREFIX}Drifting", disable_env_checker=True)
gymnasium.register("SlowToBuild-v0", f"{_PREFIX}SlowToBuild", disable_env_checker=True)
gymnasium.register("FailingInLearner2-v0", f"{_PREFIX}FailingInLearner2", disable_env_checker=True)
gymnasium.register("Slow-v0", f"{_PREFIX}Slow", disable_env_checker=True)
gymnasium.register("Failing-v0", f"{_PREFIX}Failing", disable_env_checker=True)
gymnasium.register(
    "AlwaysFailing-v0", f"{_PREFIX}Failing", disable_env_checker=True, kwargs={"always": True}
)
for _name in ("Breaking", "Troubled", "Treacherous", "Stripes"):
    gymnasium.register(f"{_name}-v0", f"{_PREFIX}{_name}", disable_env_checker=True)
gymnasium.register("Poisoned-v0", f"{_PREFIX}Poisoned", disable_env_checker=True)
gymnasium.register("PoisonedOnDemand-v0", f"{_PREFIX}PoisonedOnDemand", disable_env_checker=True)
for _pays in ("always", "observation", "action", "match"):
    gymnasium.register(
        f"Bandit-{_pays}-v0",
        f"{_PREFIX}Bandit",
        disable_env_checker=True,
        kwargs={"pays": _pays},
    )
gymnasium.register("Unscaled-v0", f"{_PREFIX}Unscaled", disable_env_checker=True)
gymnasium.register(
    "CorridorEnds-v0",
    f"{_PREFIX}Corridor",
    disable_env_checker=True,
    kwargs={"length": 3, "truncates": False},
)
gymnasium.register(
    "CorridorIsCut-v0",
    f"{_PREFIX}Corridor",
    disable_env_checker=True,
    kwargs={"length": 3, "truncates": True},
)
gymnasium.register("Recall-v0", f"{_PREFIX}Recall", disable_env_checker=True)
gymnasium.register("Parts-v0", f"{_PREFIX}Parts", disable_env_checker=True)
gymnasium.register("Letters-v0", f"{_PREFIX}Letters", disable_env_checker=True)
