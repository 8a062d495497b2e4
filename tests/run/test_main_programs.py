"""Programs of all kinds can train: without a file, with environments of their own, in threads."""

import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = """
import gymnasium, numpy, sys
import gala_rl
class Inner(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), numpy.float32)
    action_space = gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 20
        return self.observe(), {}
    def observe(self):
        return self.np_random.uniform(-1, 1, 3).astype(numpy.float32)
    def step(self, action):
        self.left -= 1
        return self.observe(), float(action == 1), False, self.left == 0, {}
def make_outer():
    return gymnasium.make("Inner-v0")
"""
TRAIN = """
gymnasium.register("Inner-v0", "__main__:Inner")
gymnasium.register("Outer-v0", make_outer)
config = gala_rl.TrainConfig(
    method=sys.argv[1], env="Outer-v0", learners=1, simulators=2, simulator_processes=1,
    steps=200, out="run",
)
config = gala_rl.with_settings(config, {"actors": 1}) if sys.argv[1] == "impala" else config
print("restarts", gala_rl.train(config)["restarts"])
"""
"""What a cell of a notebook, or the part of a script under its guard, does."""


def run(arguments: list[str], folder: Path, program: str | None = None) -> str:
    """What a program prints that is in a file or comes from standard input."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        check=False, cwd=folder, input=program, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_from_standard_input_with_environments_of_its_own(tmp_path: Path) -> None:
    assert "restarts 0" in run(["-", "a2c"], tmp_path, ENVIRONMENT + TRAIN)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["a2c", "impala"])
@pytest.mark.parametrize("way", ["file", "notebook"])
def test_with_environments_registered_under_the_guard_or_in_a_cell(
    tmp_path: Path, method: str, way: str
) -> None:
    if way == "notebook":  # where the main program has no file either
        assert "restarts 0" in run(["-c", ENVIRONMENT + TRAIN, method], tmp_path)
        return
    guarded = "if __name__ == '__main__':" + TRAIN.replace("\n", "\n    ")
    (tmp_path / "program.py").write_text(ENVIRONMENT + guarded, encoding="utf-8")
    assert "restarts 0" in run(["program.py", method], tmp_path)


IN_THREADS = """
import threading
import gala_rl
summaries = {}
def train(steps):
    config = gala_rl.TrainConfig(
        method="gala-a2c", env="CartPole-v1", learners=2, simulators=2, steps=steps, out=f"{steps}"
    )
    summaries[steps] = gala_rl.train(config)
if __name__ == "__main__":
    threads = [threading.Thread(target=train, args=(steps,)) for steps in (400, 20_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print([(s["restarts"], s["agent_steps"] >= steps) for steps, s in summaries.items()])
"""


@pytest.mark.slow
def test_two_runs_in_threads_of_one_program_whose_first_ends_long_before(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(IN_THREADS, encoding="utf-8")
    assert "[(0, True), (0, True)]" in run(["program.py"], tmp_path)
