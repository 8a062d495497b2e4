"""Sends a run's metrics to Weights & Biases, MLflow or Trackio, by their own packages.

Where they send to is set as everywhere, by their environment variables: `WANDB_MODE=offline`,
`MLFLOW_TRACKING_URI`, `TRACKIO_DIR`.
"""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gala_rl.records.files import replace_text
from gala_rl.sinks.settings import flat_settings
from gala_rl.sinks.sink import Scalars

_PROJECT = "gala-rl"
_MAX_TEXT = 500
"""MLflow rejects longer values of parameters."""


class WandbSink:
    """Sends metrics to Weights & Biases; without a key, they are stored for `wandb sync`.

    Args:
        folder: folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: Any = None

    def start(self, config: Mapping[str, Any]) -> None:
        """See `Sink.start`."""
        import wandb

        # Without a key it would ask for one, and wait for the answer.
        mode: Any = os.environ.get("WANDB_MODE")
        if mode is None and not wandb.login(prompt=False):
            mode = "offline"
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=self._folder.name,
            id=_remembered(self._folder / "wandb.id", uuid.uuid4().hex),
            resume="allow",
            dir=self._folder,
            config=dict(config),
            mode=mode,
            settings=wandb.Settings(console="off", quiet=True),
        )
        self._run.define_metric("*", step_metric="total_agent_steps")

    def row(self, row: Scalars) -> None:
        """See `Sink.row`."""
        self._run.log(dict(row))

    def close(self) -> None:
        """See `Sink.close`."""
        self._run.finish()


class MlflowSink:
    """Sends metrics to the tracking server of MLflow, or to where it stores them by default.

    Args:
        folder: folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._client: Any = None
        self._run = ""

    def start(self, config: Mapping[str, Any]) -> None:
        """See `Sink.start`."""
        import mlflow
        from mlflow.entities import Param

        self._client = mlflow.MlflowClient()
        remembered = self._folder / "mlflow.id"
        if remembered.is_file():
            self._run = _remembered(remembered, "")
            self._client.update_run(self._run, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        run = self._client.create_run(experiment, run_name=self._folder.name)
        self._run = _remembered(remembered, run.info.run_id)
        values = flat_settings(config).items()
        params = [Param(name, str(value)[:_MAX_TEXT]) for name, value in values if value != ""]
        self._client.log_batch(self._run, params=params)

    def row(self, row: Scalars) -> None:
        """See `Sink.row`."""
        from mlflow.entities import Metric

        step, time_ms = int(row["total_agent_steps"]), int(1000 * row["time"])
        metrics = [Metric(name, float(row[name]), time_ms, step) for name in row]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """See `Sink.close`."""
        self._client.set_terminated(self._run)


class TrackioSink:
    """Stores metrics for Trackio's dashboard, which `trackio show` opens.

    Args:
        folder: folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: Any = None

    def start(self, config: Mapping[str, Any]) -> None:
        """See `Sink.start`."""
        import trackio

        self._run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", _PROJECT),
            name=_remembered(
                self._folder / "trackio.id", f"{self._folder.name}-{uuid.uuid4().hex[:6]}"
            ),
            resume="allow",
            config=dict(config),
        )

    def row(self, row: Scalars) -> None:
        """See `Sink.row`."""
        # Trackio has times of its own, and no room for others of that name.
        numbers = {name: value for name, value in row.items() if name != "time"}
        self._run.log(numbers, step=int(row["total_agent_steps"]))

    def close(self) -> None:
        """See `Sink.close`."""
        self._run.finish()


def _remembered(path: Path, new: str) -> str:
    """Return what a file of the run holds; a new file holds `new`.

    So a resumed run continues in the tracker where it was.
    """
    if not path.is_file():
        replace_text(path, new)
    return path.read_text(encoding="utf-8")
