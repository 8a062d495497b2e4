"""What is compared: target networks, gossip beside plain learners, and memory."""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.q_learning.runs import Case

CARTPOLE = {"task": "CartPole", "env": "CartPole-v1", "steps": 20_000}
REPEAT = {
    "task": "RepeatPreviousEasy",
    "env": "popgym:popgym-RepeatPreviousEasy-v0",
    "steps": 40_000,
    # No action changes what comes later, so only the next reward matters.
    "settings": {"n_step": 1, "discount": 0.5, "learning_rate": 2e-3},
}
TARGETS = {"own": "own targets", "after mixing": "as it is", "mixed": "mixed targets"}
"""Variant by what a target network is a copy of."""


def gossip() -> Iterator[Case]:
    """One learner beside two and four that gossip, by what happens to target networks."""
    for task, method in ((CARTPOLE, "dqn"), (REPEAT, "r2d2")):
        yield _case(task, name=f"`{method}`", method=method)
        for learners in (2, 4):
            for target, variant in TARGETS.items():
                yield _case(
                    task,
                    name=f"`gala-{method}`, {learners} learners, target {target}",
                    method=f"gala-{method}",
                    learners=learners,
                    variant=variant,
                )


def memory() -> Iterator[Case]:
    """`r2d2` with and without its LSTM."""
    yield _case(REPEAT, name="`r2d2`", method="r2d2")
    yield _case(REPEAT, name="`r2d2 --lstm-size 0`", method="r2d2", lstm_size=0)


def _case(task: dict[str, Any], **fields: Any) -> Case:
    return Case(**task, **fields)


PLANS: dict[str, Sequence[Case]] = {"gossip": list(gossip()), "memory": list(memory())}
