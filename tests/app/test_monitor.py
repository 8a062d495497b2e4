"""Metrics of a run that continues from a checkpoint."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gala_rl.app.monitor import MetricsMonitor
from gala_rl.app.progress import Progress
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint, LearnerState
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.rewind import rewind
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunStatus
from gala_rl.sinks.tensorboard import TensorBoardSink
from gala_rl.sinks.threads import Sinks
from tests.support.comparison_rows import Row, rows

CONFIG = resolve(TrainConfig(env="CartPole-v1", learners=3))


def save(folder: RunFolder, *made: int, in_parts: Sequence[int] | None = None) -> Checkpoint:
    """A checkpoint at which learners had made so many agent steps each.

    Args:
        folder: of the run.
        made: when it was completed.
        in_parts: when the learners wrote their parts; default: learner 0 alone has one.
    """
    partial = checkpoint.partial_folder(folder.checkpoints, "test")
    for rank, steps in enumerate(made[:1] if in_parts is None else in_parts):
        state = LearnerState({"parameters": torch.zeros(1)}, {"agent_steps": steps})
        checkpoint.write_part(partial, rank, state)
    path = checkpoint.complete(partial, sum(made), list(made), 1)
    return checkpoint.open_checkpoint(path)


def append(folder: RunFolder, rank: int, written: Sequence[Row]) -> None:
    with folder.metrics_file(rank).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row | {"learner": rank}) + "\n" for row in written)


def make_monitor(folder: RunFolder, start: Checkpoint | None = None) -> MetricsMonitor:
    sink = TensorBoardSink(folder.tensorboard, None if start is None else start.resumes_at + 1)
    sinks = Sinks([("tensorboard", sink)])
    sinks.start({})
    progress = Progress(CONFIG, 1, 0, Console(file=io.StringIO()))
    return MetricsMonitor(CONFIG, folder, progress, start, sinks)


def status(*alive: bool) -> RunStatus:
    count = len(alive)
    return RunStatus(
        agent_steps=[0] * count, updates=[0] * count, alive=list(alive), restarts=[0] * count
    )


def scalars(folder: RunFolder, name: str) -> list[tuple[int, float]]:
    """Steps and values as TensorBoard shows them."""
    events = EventAccumulator(str(folder.tensorboard))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def make_killed_run(folder: RunFolder) -> Checkpoint:
    """A run that was killed at 300 steps of learner 0, 30 beyond its part of the checkpoint."""
    folder.create(CONFIG)
    monitor = make_monitor(folder)
    append(folder, 0, rows([1.0, 2.0], [100, 200], returns=[[1.0], [2.0]]))
    append(folder, 1, rows([1.5], [100], returns=[[6.0]]))
    append(folder, 0, rows([3.0, 4.0], [290, 300], returns=[[900.0], [900.0]]))
    # Learner 1 has left; learner 2 joined after the checkpoint.
    append(folder, 2, rows([5.5], [20], returns=[[900.0]]))
    monitor.read_last(status(False, False, False))
    monitor.close()
    return save(folder, 270, 100)


def test_work_that_a_kill_has_lost_is_in_no_row_and_no_mean_of_the_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    start = make_killed_run(folder)
    rewind(folder, start)
    files = [MetricsReader(file).new_rows() for file in folder.metrics_files()]
    assert [[row["agent_steps"] for row in rows] for rows in files] == [[100, 200], [100], []]
    monitor = make_monitor(folder, start)
    assert monitor.mean_return == pytest.approx((1.0 + 2.0 + 6.0) / 3)
    assert {rank: row["agent_steps"] for rank, row in monitor.latest.items()} == {0: 200, 1: 100}
    append(folder, 0, rows([7.0], [290], returns=[[8.0]]))
    monitor.read_last(status(True, True, True))
    monitor.close()
    assert monitor.mean_return == pytest.approx((1.0 + 2.0 + 6.0 + 8.0) / 4)


def test_files_without_lost_work_stay_as_they_are(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    append(folder, 0, rows([1.0, 2.0], [100, 270]))
    append(folder, 1, rows([1.0], [90]))
    folder.consensus_file.write_text('{"total_agent_steps": 360}\n', encoding="utf-8")
    before = {path: path.stat().st_ino for path in (folder.path / "metrics").iterdir()}
    rewind(folder, save(folder, 270, 90))
    assert {path: path.stat().st_ino for path in (folder.path / "metrics").iterdir()} == before


def test_rows_of_the_consensus_watch_beyond_the_checkpoint_go_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    lines = [f'{{"total_agent_steps": {made}}}\n' for made in (100, 360, 361)]
    folder.consensus_file.write_text("".join(lines), encoding="utf-8")
    rewind(folder, save(folder, 270, 90))
    assert folder.consensus_file.read_text(encoding="utf-8") == "".join(lines[:2])


def test_events_go_forward_after_a_kill_and_a_resume(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    monitor = make_monitor(folder)
    for time, made in ((1.0, 100), (2.0, 200), (3.0, 300), (4.0, 400)):
        written = rows([time], [made], returns=[[float(made)]], begin=time - 1.0, learners=2)
        append(folder, 0, written)
        earlier = {"time": time - 0.5, "total_agent_steps": 2 * made - 1}
        append(folder, 1, [row | earlier for row in written])
    monitor.read_last(status(False, False))
    monitor.close()
    assert [step for step, _ in scalars(folder, "learner_00/entropy")] == [200, 400, 600, 800]
    # Learner 1 wrote its part earlier: learner 0 has a row beyond the sum of both.
    start = save(folder, 300, 200, in_parts=(300, 200))
    rewind(folder, start)
    monitor = make_monitor(folder, start)
    for time, made in ((11.0, 310), (12.0, 400)):
        append(folder, 0, rows([time], [made], returns=[[5.0]], begin=time - 1.0, learners=2))
    monitor.read_last(status(False, False))
    monitor.close()
    assert [step for step, _ in scalars(folder, "learner_00/entropy")] == [200, 400, 600, 620, 800]
    assert [step for step, _ in scalars(folder, "learner_01/entropy")] == [199, 399]
    steps = [step for step, _ in scalars(folder, "charts/episodic_return")]
    assert steps == sorted(steps) == [199, 200, 399, 400, 600, 620, 800]


def test_events_go_forward_when_a_learner_falls_back_to_a_checkpoint_within_a_run(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    monitor = make_monitor(folder)
    append(folder, 0, rows([1.0, 2.0, 3.0], [100, 200, 300], returns=[[1.0]] * 3))
    append(folder, 0, rows([14.0, 15.0], [150, 250], begin=11.0, returns=[[1.0]] * 2))
    monitor(status(True))
    append(folder, 0, rows([16.0], [350], begin=15.0))
    monitor.read_last(status(False))
    monitor.close()
    for name in ("learner_00/entropy", "charts/episodic_return"):
        assert [step for step, _ in scalars(folder, name)] == [100, 150, 250, 350]


def test_the_mean_of_all_is_of_the_games_that_ended_last(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    monitor = make_monitor(folder)
    append(folder, 0, rows([1.0], [10]))
    append(folder, 1, rows([1.0], [10]))
    times = [[float(i) for i in range(2, 202)], [0.5 + i for i in range(2, 202)]]
    for rank, score in enumerate((10.0, 20.0)):
        row = rows([202.0 + rank], [100], returns=[[score] * 200])[0]
        append(folder, rank, [row | {"episode_times": times[rank]}])
        monitor(status(True, True))
        # Until learner 1 has reported its games, the last ones are unknown.
        assert monitor.mean_return == (None if rank == 0 else 15.0)
    monitor.read_last(status(False, False))
    monitor.close()
    assert monitor.mean_return == 15.0
    assert scalars(folder, "charts/episodic_return") == [(100, 15.0), (100, 15.0)]


def test_games_that_are_told_late_are_not_the_last_ones(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    monitor = make_monitor(folder)
    append(folder, 0, rows([201.0], [100], returns=[[10.0] * 200]))
    monitor(status(True, True))
    assert monitor.mean_return == 10.0, "what is known is shown"
    late = rows([203.0], [100], returns=[[20.0] * 200])[0]
    times = [1.0] * 150 + [202.0] * 50
    append(folder, 1, [late | {"episode_times": times}])
    monitor.read_last(status(False, False))
    monitor.close()
    assert monitor.mean_return == 15.0


def test_a_learner_that_is_silent_does_not_keep_the_mean_of_the_others_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    monitor = make_monitor(folder)
    append(folder, 1, rows([1.0], [1], returns=[[1.0]]))
    append(folder, 0, rows([10.0, 61.5], [10, 20], returns=[[2.0], [3.0]]))
    monitor(status(True, True))
    assert monitor.mean_return == 1.0
    append(folder, 0, rows([90.0], [30], returns=[[4.0]], begin=80.0))
    monitor(status(True, True))
    assert monitor.mean_return == pytest.approx((1.0 + 2.0) / 2)
    monitor(status(True, False))
    assert monitor.mean_return == pytest.approx((1.0 + 2.0 + 3.0 + 4.0) / 4)
    monitor.read_last(status(False, False))
    monitor.close()
