"""CleanRL's own script cleanrl/ppo.py, run as it is, with its output read as it prints it."""

import contextlib
import io
import os
import re
import runpy
import statistics
import sys
import tempfile
from collections import deque
from importlib.metadata import version

# PyTorch's threads would spin on the cores; read at import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from benchmarks.peers.scores.tasks import (
    CARTPOLE,
    DISCOUNT,
    GAE_LAMBDA,
    GAMES,
    MAX_GRAD_NORM,
    VALUE_COST,
    Outcome,
    Stopwatch,
    Task,
    make_parser,
    processor_s,
    write_line,
)
from benchmarks.peers.work import layers_of

_RETURN = re.compile(r"episodic_return=([-\d.]+)")


class Watch(io.StringIO):
    """Standard output of the script: the returns of games, and a line after each update.

    Args:
        update_steps: agent steps per update.
    """

    def __init__(self, update_steps: int) -> None:
        super().__init__()
        self.stopwatch = Stopwatch()
        self.returns: deque[float] = deque(maxlen=GAMES)
        self.agent_steps = 0
        self._update_steps = update_steps

    def write(self, text: str) -> int:
        """See `io.StringIO.write`; the text is not kept."""
        if found := _RETURN.search(text):
            self.returns.append(float(found[1]))
        if text.startswith("SPS:"):
            self.agent_steps += self._update_steps
            self.stopwatch.record(self.agent_steps)
        return len(text)


def command_line(task: Task, steps: int, seed: int) -> list[str]:
    """Return the script's options; those of a task are its defaults, and given all the same."""
    options = {
        "env-id": task.env,
        "total-timesteps": steps,
        "seed": seed,
        "cuda": False,
        "num-envs": task.simulators,
        "num-steps": task.rollout_steps,
        "update-epochs": task.epochs,
        "num-minibatches": task.minibatches,
        "learning-rate": task.learning_rate,
        "clip-coef": task.clip_range,
        "clip-vloss": task.value_clip_range is not None,
        "ent-coef": task.entropy_cost,
        "vf-coef": 2 * VALUE_COST,
        "gamma": DISCOUNT,
        "gae-lambda": GAE_LAMBDA,
        "max-grad-norm": MAX_GRAD_NORM,
    }
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def run(task: Task, steps: int, seed: int) -> Outcome:
    """Train to the end."""
    torch.set_num_threads(1)
    watch = Watch(task.update_steps)
    sys.argv = ["ppo.py", *command_line(task, steps, seed)]
    # The script writes TensorBoard's events into the folder in which it runs.
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(watch),
    ):
        script = runpy.run_module("cleanrl.ppo", run_name="__main__")
    spent, agent = processor_s(), script["agent"]
    return Outcome(
        version=version("cleanrl"),
        network=layers_of(agent),
        parameters=sum(p.numel() for p in agent.parameters()),
        agent_steps=watch.agent_steps,
        score=statistics.fmean(watch.returns),
        games=len(watch.returns),
        agent_steps_per_s=watch.stopwatch.agent_steps_per_s(),
        processor_s=spent,
    )


def main() -> None:
    """Run it and print the outcome."""
    values = make_parser(__doc__, [CARTPOLE.env]).parse_args()
    write_line(run(CARTPOLE, values.steps, values.seed))


if __name__ == "__main__":
    main()
