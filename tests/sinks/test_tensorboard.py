"""What TensorBoard shows besides curves: settings, hyper-parameters, charts of several numbers."""

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from gala_rl.config.train import TrainConfig, to_dict
from gala_rl.methods.ppo import PPOSettings
from gala_rl.sinks.settings import flat_settings
from gala_rl.sinks.tensorboard import TensorBoardSink

CONFIG = to_dict(TrainConfig(method="ppo", algorithm=PPOSettings(epochs=7), log=("csv", "wandb")))


def events_of(folder: Path, *rows: dict[str, float]) -> EventAccumulator:
    sink = TensorBoardSink(folder, None)
    sink.start(CONFIG)
    for row in rows:
        sink.row(row)
    sink.close()
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_settings_are_one_flat_table_without_those_that_are_unset() -> None:
    flat = flat_settings(CONFIG)
    assert flat["algorithm.epochs"] == 7
    assert flat["gossip.when"] == "auto"
    assert flat["log"] == "csv,wandb"
    assert "out" not in flat
    assert not any(isinstance(value, dict | list | tuple) for value in flat.values())


def test_settings_are_shown_as_text_and_as_hyper_parameters(tmp_path: Path) -> None:
    events = events_of(tmp_path)
    (text,) = events.Tensors("config/text_summary")
    assert b"|algorithm.epochs|7|" in text.tensor_proto.string_val[0]
    start: Any = plugin_data_pb2.HParamsPluginData.FromString(
        events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    )
    assert start.session_start_info.hparams["algorithm.epochs"].number_value == 7
    assert start.session_start_info.hparams["method"].string_value == "ppo"
    experiment: Any = plugin_data_pb2.HParamsPluginData.FromString(
        events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    )
    (metric,) = experiment.experiment.metric_infos
    assert metric.name.tag == "charts/episodic_return"
    assert events.SummaryMetadata("_hparams_/session_end_info").plugin_data.content


def test_distance_and_bound_are_in_one_chart(tmp_path: Path) -> None:
    (event,) = events_of(tmp_path).Tensors("custom_scalars__config__")
    layout: Any = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
    assert ["consensus/rms", "consensus/rms_bound"] in charts.values()


def test_a_learner_that_falls_back_repeats_its_steps(tmp_path: Path) -> None:
    made = [
        {"total_agent_steps": 10 * n, "time": 1.0 * i, "learner_00/agent_steps": 10 * n}
        for i, n in enumerate((1, 2, 3, 2, 3))
    ]
    events = events_of(tmp_path, *made)
    found = [(event.step, event.wall_time) for event in events.Scalars("learner_00/agent_steps")]
    assert found == [(10, 0.0), (20, 3.0), (30, 4.0)]
