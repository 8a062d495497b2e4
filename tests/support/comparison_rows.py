"""Rows of metrics and folders of runs as training would have left them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.records.run_folder import RunFolder

Row = dict[str, Any]

_COUNTS = (
    *("learner", "episodes", "mixes", "staleness_updates", "overdue"),
    "simulator_failures",
)
_NUMBERS = ("policy_loss", "value_loss", "entropy", "grad_norm", "update_norm", "learning_rate")


def rows(
    times: Sequence[float],
    steps: Sequence[int],
    *,
    returns: Sequence[Sequence[float]] | None = None,
    begin: float = 0.0,
    learners: int = 1,
) -> list[Row]:
    """One learner's rows of a single session; all learners have made as many steps by each.

    Args:
        times: at which the rows were written.
        steps: the learner's own, made until then.
        returns: of the games that ended before each row.
        begin: time at which the first interval began.
        learners: number of learners.
    """
    found: list[Row] = []
    before = begin, 0
    for i, (time, made) in enumerate(zip(times, steps, strict=True)):
        found.append(
            {
                "time": time,
                "agent_steps": made,
                "total_agent_steps": made * learners,
                "agent_steps_per_s": (made - before[1]) / (time - before[0]),
                "episode_returns": list(returns[i]) if returns else [],
                "updates": made // 10,
                "rss_mb": 100.0 + i,
                "mean_return": None,
                "rejected": {},
                **dict.fromkeys(_COUNTS, 0),
                **dict.fromkeys(_NUMBERS, 0.5),
            }
        )
        before = time, made
    return found


def make_run(config: ResolvedConfig, learners: Sequence[Sequence[Row]], complete: bool) -> None:
    """The folder of a run with these rows."""
    folder = RunFolder(Path(str(config.out)))
    folder.create(config)
    for rank, own in enumerate(learners):
        text = "".join(json.dumps(row) + "\n" for row in own)
        folder.metrics_file(rank).write_text(text, encoding="utf-8")
    made = config.steps if complete else config.steps // 2
    (folder.checkpoints / f"step_{made:012d}").mkdir()
