"""Writes a run's metrics for TensorBoard: numbers, charts of several of them, and settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import summary

from gala_rl.sinks.event_file import EventFile
from gala_rl.sinks.settings import flat_settings
from gala_rl.sinks.sink import Scalars

_LAYOUT = {
    "learners": {
        "distance and its bound": ["Multiline", ["consensus/rms", "consensus/rms_bound"]],
        "largest distance and its bound": ["Multiline", ["consensus/span", "consensus/span_bound"]],
        "return of each learner": ["Multiline", [r"learner_\d+/mean_return"]],
        "time": ["Multiline", ["time/.*"]],
    }
}
"""Charts with several numbers, in the tab "Custom scalars"."""
_SCORE = "charts/episodic_return"


class TensorBoardSink:
    """Writes event files.

    Args:
        folder: folder of the event files.
        purge_from: total agent steps from which a resumed run repeats what it had done before;
            TensorBoard forgets earlier events from there on. None for a new run.
    """

    def __init__(self, folder: Path, purge_from: int | None) -> None:
        self._folder, self._purge_from = folder, purge_from
        self._file: EventFile | None = None
        self._made: dict[str, float] = {}
        self._end: Any = None

    def start(self, config: Mapping[str, Any]) -> None:
        """See `Sink.start`."""
        self._file = EventFile(self._folder)
        if self._purge_from is not None:
            self._file.purge_from(self._purge_from)
        settings = flat_settings(config)
        lines = [f"|{name}|{value}|" for name, value in settings.items()]
        table = "\n".join(["|setting|value|", "|-|-|", *lines])
        self._file.add(summary.text("config", table))
        self._file.add(summary.custom_scalars(_LAYOUT))
        experiment, start, self._end = summary.hparams(settings, {_SCORE: 0.0})
        self._file.add(experiment)
        self._file.add(start)

    def row(self, row: Scalars) -> None:
        """See `Sink.row`."""
        assert self._file is not None
        step = int(row["total_agent_steps"])
        for name, made in row.items():
            if name.endswith("/agent_steps"):
                if made <= self._made.get(name, -1):
                    # The learner went back to a checkpoint and repeats these steps.
                    self._file.purge_from(step)
                self._made[name] = made
        scalars = {n: v for n, v in row.items() if n not in ("total_agent_steps", "time")}
        self._file.add_scalars(scalars, step, row["time"])

    def close(self) -> None:
        """See `Sink.close`."""
        assert self._file is not None
        self._file.add(self._end)
        self._file.close()
