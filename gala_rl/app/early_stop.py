"""Ends a run early: at a score, or when its mean return no longer rises."""

from collections.abc import Mapping
from typing import Any

from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.records.metrics import BestMean, score_text


def why_stop(config: TrainConfig, best: BestMean) -> str | None:
    """Return why a run has to end early, beginning with the setting; None if it does not."""
    if best.score is None or best.latest is None:
        return None
    if config.stop_at is not None and best.latest >= config.stop_at:
        return (
            f"stop_at: the mean return of the last 100 games, {score_text(best.latest)}, has "
            f"reached {config.stop_at:g}"
        )
    age = best.latest_agent_steps - best.agent_steps
    if config.patience is not None and age >= config.patience:
        return (
            f"patience: the best mean return of 100 games, {score_text(best.score)}, is {age:,} "
            f"agent steps old"
        )
    return None


def check_may_go_on(
    run: object, summary: Mapping[str, Any], before: TrainConfig, after: TrainConfig
) -> None:
    """Raise a UserError if a run would end early at once, for the reason that ended it before."""
    because = str(summary.get("stopped_because") or "")
    name = because.partition(":")[0]
    if name not in ("stop_at", "patience") or getattr(before, name) != getattr(after, name):
        return
    option = f"--{name.replace('_', '-')}"
    raise UserError(
        f"{run} is complete: it has stopped early ({because}); go on with another {option}, or "
        f"with {option} none"
    )
