"""Changes the number of learners of a run in training: requests the change and waits for it."""

import time
from pathlib import Path
from typing import Any

from gala_rl.app.preflight import check_scale
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.records import scale_request
from gala_rl.records.metrics import MetricsReader, learner_rows
from gala_rl.records.run_folder import RunFolder

_POLL_EVERY_S = 0.1
_START_S = 60.0
"""Time for joining learners to start, in addition to `hang_after`."""
_UPDATES = 3
"""Updates until a change is complete: members adopt it with their next update, then joining
learners make one."""


def scale(run: str | Path, learners: int) -> dict[str, Any]:
    """Change the number of learners of a run that is being trained.

    Afterwards the run has learners 0 to `learners` - 1. Other learners end after their current
    update; new ones start from parameters that a current learner has sent. No learner is
    restarted.

    Args:
        run: folder of the run.
        learners: new number of learners.

    Returns:
        The change as in `config.json`: `time`, `from`, `to` and `agent_steps`.

    Raises:
        UserError: when the run cannot have this number of learners, or ends meanwhile.
        LearnerFailure: when learners cannot join, or the run does not respond in time.
    """
    config = check_scale(run, learners)
    folder = RunFolder(Path(run))
    changes_before = len(folder.read_scales())
    scale_request.place(folder, learners)
    try:
        timeout_s = config.hang_after + _START_S + _UPDATES * _update_s(folder, config)
        _wait(folder, time.monotonic() + timeout_s)
    except BaseException:
        scale_request.withdraw(folder)
        raise
    changes = folder.read_scales()[changes_before:]
    if not changes or changes[-1]["to"] != learners:
        unexplained = LearnerFailure(f"run {run} has refused {learners} learners: see its output")
        raise scale_request.why_refused(folder) or unexplained
    return {**changes[-1]}


def _update_s(folder: RunFolder, config: ResolvedConfig) -> float:
    """Return seconds per update of the slowest learner; 0 if no learner has written a row."""
    rates = []
    for rank in range(config.learners):
        rows = learner_rows(MetricsReader(folder.metrics_file(rank)).new_rows())
        rates += [row["agent_steps_per_s"] for row in rows[-1:]]
    return config.update_agent_steps / min(rates) if rates else 0.0


def _wait(folder: RunFolder, deadline: float) -> None:
    """Wait until the run has carried out or refused the request, and so removed it."""
    while True:
        # In this order, since a run may carry out the request and end right after.
        is_trained = folder.is_locked
        if not folder.scale_request.exists():
            return
        if not is_trained:
            raise UserError(f"run {folder.path} has ended before it was scaled")
        if time.monotonic() > deadline:
            raise LearnerFailure(f"run {folder.path} has not followed in time: see its output")
        time.sleep(_POLL_EVERY_S)
