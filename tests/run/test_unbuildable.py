"""An environment that cannot be built in the process of a learner: one line names its cause."""

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from gala_rl.app.train import train
from gala_rl.config.train import TrainConfig
from gala_rl.errors import LearnerFailure
from tests.environments import Counting

ENV = "tests.run.test_unbuildable:"


class Raising(Counting):
    """Cannot be built in processes whose names have a word in them."""

    def __init__(self, where: str, leaves: bool = False) -> None:
        super().__init__()
        if where in multiprocessing.current_process().name:
            if leaves:
                sys.exit("no licence")
            raise ValueError("grid size 3 is below 5")


POINT = f"{ENV}Raising"
for where in ("learner", "actor"):
    gymnasium.register(f"Raising-{where}-v0", POINT, kwargs={"where": where})
gymnasium.register("Leaving-learner-v0", POINT, kwargs={"where": "learner", "leaves": True})


def failure_of(folder: Path, env: str, **changes: Any) -> str:
    """Return the final error line of a run that cannot build its simulators."""
    config = TrainConfig(env=f"{ENV}{env}", simulators=2, steps=200, out=str(folder), **changes)
    with pytest.raises(LearnerFailure) as failure:
        train(config)
    return str(failure.value)


@pytest.mark.parametrize(
    ("env", "cause"),
    [
        ("Raising-learner-v0", "ValueError: grid size 3 is below 5"),
        ("Leaving-learner-v0", "it called sys.exit('no licence')"),
    ],
)
def test_a_learner_that_cannot_build_its_simulators_is_told_in_one_line(
    tmp_path: Path, env: str, cause: str
) -> None:
    told = failure_of(tmp_path / "run", env, method="a2c", max_restarts=1)
    log = tmp_path / "run" / "logs" / "learner_00.log"
    assert f"env '{ENV}{env}' cannot be built: {cause}; the traceback is in {log}" in told
    assert "\n" not in told
    assert "in __init__" in log.read_text(encoding="utf-8")


def test_so_is_the_cause_of_an_actor(tmp_path: Path) -> None:
    told = failure_of(tmp_path / "run", "Raising-actor-v0", method="impala", max_restarts=0)
    assert "Raising-actor-v0' cannot be built: ValueError: grid size 3 is below 5" in told
