"""Faulty environments: they raise, hang, die, return NaN or take long."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from numpy.typing import NDArray

from tests.environments.known import Counting, Drifting


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
    elif fault == "exit without a word":
        os._exit(0)
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
    """Rewards become too large to square after some steps: no gradient of them is finite."""

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.episode >= 2:
            reward = 3e38
        return observation, reward, terminated, truncated, info


class PoisonedOnDemand(Drifting):
    """Gives one reward that is too large to square: the first simulator that finds $POISON does."""

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
            reward = 3e38
        return observation, reward, terminated, truncated, info


class SlowToBuild(Drifting):
    """Takes a second to build in the process of learner 1."""

    def __init__(self) -> None:
        super().__init__()
        if multiprocessing.current_process().name.endswith("-1"):
            time.sleep(1.0)


class SlowInLearners(Drifting):
    """Takes half a second for each step, and to be built, in every process but the main one."""

    def __init__(self) -> None:
        super().__init__()
        self.pause()

    def pause(self) -> None:
        if multiprocessing.parent_process() is not None:
            time.sleep(0.5)

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.pause()
        return super().step(action)


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


class Owning(Breaking):
    """Has a process of its own, noted in $TROUBLE, that its `close` ends before it raises."""

    def __init__(self) -> None:
        super().__init__()
        self.game = subprocess.Popen(["sleep", "600"])
        (Path(os.environ["TROUBLE"]) / str(self.game.pid)).touch()

    def close(self) -> None:
        self.game.kill()
        self.game.wait()
        raise OSError("close has failed")


class CrashingAtClose(Drifting):
    """Takes its process along when it is closed there, unless that is the supervisor's."""

    def close(self) -> None:
        if multiprocessing.current_process().name.startswith("gala-learner"):
            os._exit(3)
