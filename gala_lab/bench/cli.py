"""The command line of `gala bench`: one command per benchmark, its options and its tables."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from gala_rl.cli.console import print_table, say
from gala_rl.cli.options import add_json, add_settings, options_from
from gala_rl.cli.parser import add_command
from gala_rl.config.settings import setting
from gala_rl.config.train import TrainConfig


def _as_in_train(name: str) -> Any:
    entry = TrainConfig.__dataclass_fields__[name]
    return field(default=entry.default, metadata=entry.metadata)


def _learners(text: str, unset: str) -> Any:
    return setting(None, text, unset=unset, minimum=1)


def _seconds(default: float) -> Any:
    return setting(default, "length of each measurement", above=0, metavar="SECONDS")


def _repeats() -> Any:
    return setting(3, "rounds of all measurements; ratios need at least 3", minimum=1)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of every benchmark of training."""

    env: str = _as_in_train("env")
    simulators: int = setting(16, "simulators per learner", minimum=1)
    device: Literal["auto", "cpu", "cuda"] = _as_in_train("device")
    precision: Literal["float32", "bfloat16"] = _as_in_train("precision")


@dataclass(frozen=True, kw_only=True)
class ThroughputOptions:
    """Options of `gala bench throughput`."""

    learners: int | None = _learners("learners of gala-a2c", "as in gala train")
    seconds: float = _seconds(20.0)
    repeats: int = _repeats()


@dataclass(frozen=True, kw_only=True)
class GossipOptions:
    """Options of `gala bench gossip`."""

    learners: int = setting(64, "1, 2, 4, … up to N learners")
    parameters: tuple[int, ...] = setting(
        (10**6, 10**7, 10**8), "network sizes in parameters", minimum=1, metavar="P"
    )
    seconds: float = _seconds(1.0)
    repeats: int = _repeats()


@dataclass(frozen=True, kw_only=True)
class OverheadOptions:
    """Options of `gala bench overhead`."""

    simulators: tuple[int, ...] = setting(
        (16, 64, 256, 1024), "simulators with the network for vectors", minimum=1, metavar="B"
    )
    image_simulators: tuple[int, ...] = setting(
        (16, 64), "simulators with the convolutional network", minimum=1, metavar="B"
    )
    seconds: float = _seconds(2.0)
    repeats: int = _repeats()


@dataclass(frozen=True, kw_only=True)
class ScalingOptions:
    """Options of `gala bench scaling`."""

    learners: int | None = _learners("1, 2, 4, … up to N learners", "2 x cores")
    seconds: float = _seconds(10.0)
    repeats: int = _repeats()


@dataclass(frozen=True, kw_only=True)
class StragglersOptions:
    """Options of `gala bench stragglers`."""

    learners: int | None = _learners("number of learners, at least 2", "cores")
    method: tuple[str, ...] = setting(
        ("gala-a2c",), "methods to measure in turn; each is compared with the first", metavar="M"
    )
    slowed: tuple[int, ...] | None = setting(
        None, "numbers of slowed learners", unset="0 to all but one"
    )
    seconds: float = _seconds(10.0)
    repeats: int = _repeats()


@dataclass(frozen=True, kw_only=True)
class FaultsOptions:
    """Options of `gala bench faults`."""

    learners: int | None = _learners("learners of methods that have several, at least 2", "cores")
    method: tuple[str, ...] | None = setting(
        None,
        "methods to measure in turn",
        unset="gala-a2c,a2c-allreduce,impala; gala-a2c with --cluster",
        metavar="M",
    )
    plan: str | None = setting(
        None,
        "JSON file of faults, of which the first is measured: docs/faults.md",
        unset="one learner is killed",
        metavar="FILE",
    )
    cluster: str | None = setting(None, "as in gala train: docs/cluster.md", metavar="ADDRESS")
    learners_per_node: int | None = setting(None, "as in gala train", minimum=1, metavar="G")
    seconds: float = _seconds(10.0)
    repeats: int = _repeats()


def add_bench(commands: Any) -> None:
    """Add `bench` to the commands of `gala`."""
    text = "measure how fast this program trains on this machine"
    parser = add_command(commands, "bench", text, None, "gala bench throughput --env CartPole-v1")
    parsers = parser.add_subparsers(title="benchmarks", metavar="WHAT")
    for name, (text, example, kind, measure) in _BENCHMARKS.items():
        own = add_command(parsers, name, text, partial(_run, kind, measure), example)
        if kind not in _WITHOUT_TRAINING:
            add_settings(own, TrainingOptions)
        add_settings(own, kind)
        add_json(own, "tables")


def _run(kind: Any, measure: Callable[[TrainConfig, Any], Any], given: argparse.Namespace) -> int:
    options = options_from(given, kind)
    config = TrainConfig()
    if kind not in _WITHOUT_TRAINING:
        training = vars(options_from(given, TrainingOptions))
        config = TrainConfig(**training, learners=options.learners)
    result = measure(config, options)
    if given.json:
        given.document = json.dumps(result, indent=2, allow_nan=False)
        return 0
    from gala_lab.bench import result_tables

    for table in result_tables.tables(result):
        print_table(*table)
    for note in result_tables.notes(result):
        say(note)
    return 0


# Plans are made before PyTorch is imported, which takes seconds: mistakes are reported at once.


def _throughput(config: TrainConfig, options: ThroughputOptions) -> dict[str, Any]:
    from gala_rl.checks.config import check_config

    resolved = check_config(config)
    from gala_lab.bench.throughput_benchmark import bench_throughput

    return bench_throughput(resolved, options.seconds, options.repeats)


def _gossip(_: TrainConfig, options: GossipOptions) -> dict[str, Any]:
    from gala_lab.bench import benchmark_plans

    benchmark_plans.check_gossip(options.learners, options.parameters)
    from gala_lab.bench.gossip_benchmark import bench_gossip

    return bench_gossip(options.learners, options.parameters, options.seconds, options.repeats)


def _overhead(_: TrainConfig, options: OverheadOptions) -> dict[str, Any]:
    from gala_lab.bench.overhead_benchmark import bench_overhead

    return bench_overhead(
        options.simulators, options.image_simulators, options.seconds, options.repeats
    )


def _scaling(config: TrainConfig, options: ScalingOptions) -> dict[str, Any]:
    from gala_lab.bench import benchmark_plans

    plan = benchmark_plans.scaling(config)
    from gala_lab.bench.scaling_benchmark import bench_scaling

    return bench_scaling(plan, options.seconds, options.repeats)


def _stragglers(config: TrainConfig, options: StragglersOptions) -> dict[str, Any]:
    from gala_lab.bench import benchmark_plans

    configs, slowed = benchmark_plans.stragglers(config, options.method, options.slowed)
    from gala_lab.bench.straggler_benchmark import bench_stragglers

    return bench_stragglers(configs, slowed, options.seconds, options.repeats)


def _faults(config: TrainConfig, options: FaultsOptions) -> dict[str, Any]:
    from gala_lab.bench import benchmark_plans

    config = replace(
        config,
        cluster=options.cluster,
        learners_per_node=options.learners_per_node,
        fault_plan=options.plan,
    )
    configs = benchmark_plans.faults(config, options.method)
    from gala_lab.bench.fault_benchmark import bench_faults

    return bench_faults(configs, options.seconds, options.repeats)


_WITHOUT_TRAINING = (GossipOptions, OverheadOptions)
"""Options of benchmarks that do not train in an environment."""

_BENCHMARKS: dict[str, tuple[str, str, Any, Callable[[TrainConfig, Any], dict[str, Any]]]] = {
    "throughput": (
        "measure the parts of training alone and together, beside simulators and plain PyTorch",
        "gala bench throughput --env CartPole-v1 --learners 2 --seconds 5",
        ThroughputOptions,
        _throughput,
    ),
    "gossip": (
        "measure send, poll and mix of a learner in a ring, beside a plain copy",
        "gala bench gossip --learners 8 --parameters 1M",
        GossipOptions,
        _gossip,
    ),
    "overhead": (
        "measure a learner by part on simulators that do nothing, beside plain PyTorch",
        "gala bench overhead --simulators 64 --image-simulators 16",
        OverheadOptions,
        _overhead,
    ),
    "scaling": (
        "measure training with 1, 2, 4, … learners, with equal simulators in total and per learner",
        "gala bench scaling --env CartPole-v1 --learners 4",
        ScalingOptions,
        _scaling,
    ),
    "stragglers": (
        "measure training while some learners run 2 and 4 times slower",
        "gala bench stragglers --method gala-a2c,a2c-allreduce --learners 4",
        StragglersOptions,
        _stragglers,
    ),
    "faults": (
        "measure what training loses when a learner is killed or a planned fault occurs",
        "gala bench faults --method gala-a2c --env CartPole-v1 --learners 2",
        FaultsOptions,
        _faults,
    ),
}
"""Per command: description, example, options, and the function that measures."""
