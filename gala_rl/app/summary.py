"""The summary of a run, as in `summary.json`."""

from typing import Any

from gala_rl.app.hooks import HookCaller
from gala_rl.app.monitor import MetricsMonitor
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunOutcome


def summary_of(
    config: ResolvedConfig,
    folder: RunFolder,
    outcome: RunOutcome,
    monitor: MetricsMonitor,
    hooks: HookCaller,
    frames_per_step: int,
) -> dict[str, Any]:
    """Return the summary, except for what depends on this process alone.

    Args:
        config: config of the run.
        folder: folder of the run.
        outcome: how the run ended.
        monitor: its metrics.
        hooks: calls its hooks.
        frames_per_step: environment frames of an agent step.
    """
    status, latest = outcome.status, monitor.latest
    by_learner = [
        {
            "learner": rank,
            "agent_steps": status.agent_steps[rank],
            "env_frames": status.agent_steps[rank] * frames_per_step,
            "updates": status.updates[rank],
            "restarts": status.restarts[rank],
            "mixes": latest.get(rank, {}).get("mixes", 0),
            "mean_return": latest.get(rank, {}).get("mean_return"),
            "episodes": latest.get(rank, {}).get("episodes", 0),
        }
        for rank in range(len(status.updates))
    ]
    return {
        "run": str(folder.path),
        "method": config.method,
        "env": config.env,
        "agent_steps": status.total_agent_steps,
        "env_frames": status.total_agent_steps * frames_per_step,
        "updates": sum(status.updates),
        "mixes": sum(learner["mixes"] for learner in by_learner),
        "restarts": sum(status.restarts),
        "episodes": sum(learner["episodes"] for learner in by_learner),
        "mean_return": monitor.mean_return,
        "interrupted": outcome.interrupted,
        "failed": outcome.failure is not None or hooks.error is not None,
        "stopped_because": hooks.stopped_because,
        "killed": outcome.killed,
        "learners": by_learner,
    }
