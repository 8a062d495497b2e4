"""Scaling: asks a run that is being trained for another number of learners, and waits for it."""

import time
from pathlib import Path
from typing import Any

from gala_rl.app.preflight import check_scale
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.records import scale_request
from gala_rl.records.metrics import MetricsReader, learner_rows
from gala_rl.records.run_folder import RunFolder

_LOOK_EVERY_S = 0.1
_START_S = 60.0
"""Beyond the time after which a silent learner is killed: for the start of those that join."""
_UPDATES = 3
"""Members go by the new number in their next update, and those that join make one then."""


def scale(run: str | Path, learners: int) -> dict[str, Any]:
    """Have a run that is being trained go on with another number of learners.

    Learners 0 to `learners` - 1 train then: the others end after the update they are in, or new
    ones begin with what one of them has sent. Nobody is stopped or restarted for that.

    Args:
        run: folder of the run.
        learners: how many.

    Returns:
        The change as `config.json` has it: `time`, `from`, `to` and `agent_steps`.

    Raises:
        UserError: when the run cannot be scaled so, or ends meanwhile.
        LearnerFailure: when learners could not join, or the run did not follow in time.
    """
    config = check_scale(run, learners)
    folder = RunFolder(Path(run))
    known = len(folder.read_scales())
    scale_request.place(folder, learners)
    try:
        patience_s = config.hang_after + _START_S + _UPDATES * _update_s(folder, config)
        _wait(folder, time.monotonic() + patience_s)
    except BaseException:
        scale_request.withdraw(folder)
        raise
    changes = folder.read_scales()[known:]
    if not changes or changes[-1]["to"] != learners:
        said = LearnerFailure(f"run {run} has refused {learners} learners: see what it says")
        raise scale_request.why_refused(folder) or said
    return {**changes[-1]}


def _update_s(folder: RunFolder, config: ResolvedConfig) -> float:
    """Seconds that an update of the slowest learner took of late; 0 if none has written a row."""
    rates = []
    for rank in range(config.learners):
        rows = learner_rows(MetricsReader(folder.metrics_file(rank)).new_rows())
        rates += [row["agent_steps_per_s"] for row in rows[-1:]]
    return config.update_agent_steps / min(rates) if rates else 0.0


def _wait(folder: RunFolder, deadline: float) -> None:
    """Until the run has removed the request, which it does when it has followed or refused."""
    while True:
        # In this order: a run may follow and end at once.
        is_locked = folder.is_locked
        if not folder.scale_request.exists():
            return
        if not is_locked:
            raise UserError(f"run {folder.path} has ended before it was scaled")
        if time.monotonic() > deadline:
            raise LearnerFailure(f"run {folder.path} has not followed in time: see what it says")
        time.sleep(_LOOK_EVERY_S)
