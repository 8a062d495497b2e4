"""Interface of a sink, which receives the metrics of a run."""

from collections.abc import Mapping
from typing import Any, Protocol

Scalars = Mapping[str, float]
"""Numbers by name, such as `charts/episodic_return`, with `total_agent_steps` and `time`."""


class Sink(Protocol):
    """Receives the metrics of a run: TensorBoard, a tracker, or an object of your own.

    A run calls the three functions of each sink in a thread of its own, one after another. If a
    sink raises or does not return in time, this is reported once, and the run goes on without it.
    """

    def start(self, config: Mapping[str, Any]) -> None:
        """Begin a run, or continue one that was resumed.

        Args:
            config: every setting, as in `config.json`; `out` is the folder of the run.
        """

    def row(self, row: Scalars) -> None:
        """Receive metrics.

        Args:
            row: numbers by name: `total_agent_steps` and `time` (seconds since 1970) of the row,
                and metrics such as `charts/episodic_return` or `learner_00/entropy`.
        """

    def close(self) -> None:
        """Write what has not been written yet; called once, at the end."""
