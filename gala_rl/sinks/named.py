"""Makes the sinks of a run: TensorBoard, those of --log by their names, and the caller's own."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from gala_rl.config.train import TrainConfig
from gala_rl.records.run_folder import RunFolder
from gala_rl.sinks.sink import Sink


def make_sinks(
    config: TrainConfig, folder: RunFolder, repeated_from: int | None, own: Sequence[Sink]
) -> Iterator[tuple[str, Sink]]:
    """Yield all sinks of a run, with what messages call them.

    Args:
        config: config of the run.
        folder: folder of the run.
        repeated_from: total agent steps from which a resumed run repeats what it had done before;
            None for a new run.
        own: the caller's sinks.
    """
    # Imported here, since checks import this module, and these import PyTorch.
    from gala_rl.sinks import trackers
    from gala_rl.sinks.table import TableSink
    from gala_rl.sinks.tensorboard import TensorBoardSink

    yield "tensorboard", TensorBoardSink(folder.tensorboard, repeated_from)
    for name in dict.fromkeys(config.log):
        match name:
            case "csv":
                sink: Sink = TableSink(folder.table_file, repeated_from)
            case "wandb":
                sink = trackers.WandbSink(folder.path)
            case "mlflow":
                sink = trackers.MlflowSink(folder.path)
            case "trackio":
                sink = trackers.TrackioSink(folder.path)
        yield f"log {name}", sink
    for sink in own:
        yield f"sink {type(sink).__name__}", sink


def logger_rows(config: TrainConfig) -> list[tuple[object, str]]:
    """Return checks that the packages of the loggers are installed."""
    return [
        (
            name != "csv" and not _is_installed(name),
            f"log {name!r} needs the package {name}: pip install 'gala-rl[{name}]'",
        )
        for name in config.log
    ]


def _is_installed(package: str) -> bool:
    """Return whether a package is installed; a folder of its name, as trackers make, is none."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None
