"""The command line of `gala bench`: a command for each benchmark, its options and its tables."""

import argparse
import dataclasses
import json
from typing import Any, get_args, get_type_hints

from gala_rl.cli.console import print_table, say
from gala_rl.cli.options import count, counts
from gala_rl.cli.parser import add_command
from gala_rl.config.run import TrainConfig

_FAULTS_METHODS = ["gala-a2c", "a2c-allreduce", "impala"]


def add_bench(commands: Any) -> None:
    """Add `bench` to the commands of `gala`."""
    text = "measure this machine and this program on it"
    parser = add_command(commands, "bench", text, None, "gala bench throughput --env CartPole-v1")
    benchmarks = parser.add_subparsers(title="benchmarks", metavar="WHAT")
    _add_throughput(benchmarks)
    _add_gossip(benchmarks)
    _add_scaling(benchmarks)
    _add_stragglers(benchmarks)
    _add_faults(benchmarks)


def _add_throughput(benchmarks: Any) -> None:
    text = "measure parts of training alone and together, beside bare simulators and plain PyTorch"
    example = "gala bench throughput --env CartPole-v1 --learners 2 --seconds 5"
    parser = add_command(benchmarks, "throughput", text, _throughput, example)
    _add_training(parser, "learners of gala-a2c (default: as in train)")
    _add_rounds(parser, 20.0)


def _add_gossip(benchmarks: Any) -> None:
    text = "measure send, poll and mix of a learner in a ring, beside a plain copy"
    example = "gala bench gossip --learners 8 --parameters 1M"
    parser = add_command(benchmarks, "gossip", text, _gossip, example)
    parser.add_argument(
        "--learners", type=count, default=64, metavar="N", help="1, 2, 4, … up to N (default: 64)"
    )
    parser.add_argument(
        "--parameters",
        type=counts,
        default=[10**6, 10**7, 10**8],
        metavar="P,…",
        help="sizes of network (default: 1M,10M,100M)",
    )
    _add_rounds(parser, 1.0)


def _add_scaling(benchmarks: Any) -> None:
    text = "measure training with 1, 2, 4, … learners, at equal simulators in all and per learner"
    example = "gala bench scaling --env CartPole-v1 --learners 4"
    parser = add_command(benchmarks, "scaling", text, _scaling, example)
    _add_training(parser, "1, 2, 4, … up to N (default: 2 x cores)")
    _add_rounds(parser, 10.0)


def _add_stragglers(benchmarks: Any) -> None:
    text = "measure training while some learners are slowed down, 2x and 4x, from outside"
    example = "gala bench stragglers --method gala-a2c,a2c-allreduce --learners 4"
    parser = add_command(benchmarks, "stragglers", text, _stragglers, example)
    _add_training(parser, "learners, 2 at least (default: cores)")
    parser.add_argument(
        "--method",
        type=lambda text: text.split(","),
        default=["gala-a2c"],
        metavar="M,…",
        help="methods to measure in turn, each beside the first (default: gala-a2c)",
    )
    parser.add_argument(
        "--slowed",
        type=counts,
        metavar="N,…",
        help="numbers of slowed learners (default: 0 to all but one)",
    )
    _add_rounds(parser, 10.0)


def _add_faults(benchmarks: Any) -> None:
    text = "measure what training loses when a learner is killed, or by a plan of faults"
    example = "gala bench faults --method gala-a2c --env CartPole-v1 --learners 2"
    parser = add_command(benchmarks, "faults", text, _faults, example)
    _add_training(parser, "learners of methods with several, 2 at least (default: cores)")
    parser.add_argument(
        "--method",
        type=lambda text: text.split(","),
        metavar="M,…",
        help="methods to measure in turn (default: gala-a2c,a2c-allreduce,impala; gala-a2c with "
        "--cluster)",
    )
    parser.add_argument(
        "--plan",
        metavar="FILE",
        help="faults, of which the first is measured: docs/faults.md (default: a kill)",
    )
    parser.add_argument("--cluster", metavar="ADDRESS", help="as in train: docs/cluster.md")
    parser.add_argument("--learners-per-node", type=count, metavar="G", help="as in train")
    _add_rounds(parser, 10.0)


def _add_training(parser: Any, learners: str) -> None:
    devices = get_args(get_type_hints(TrainConfig)["device"])
    parser.add_argument(
        "--env",
        default="PongNoFrameskip-v4",
        metavar="ID",
        help="Gymnasium id of the environment (default: PongNoFrameskip-v4)",
    )
    parser.add_argument("--learners", type=count, metavar="N", help=learners)
    parser.add_argument(
        "--simulators",
        type=count,
        default=16,
        metavar="N",
        help="simulators per learner (default: 16)",
    )
    parser.add_argument(
        "--device",
        choices=devices,
        default="auto",
        help="auto: cuda if there is a GPU (default: auto)",
    )
    precisions = get_args(get_type_hints(TrainConfig)["precision"])
    parser.add_argument(
        "--precision", choices=precisions, default="float32", help="as in train (default: float32)"
    )


def _add_rounds(parser: Any, seconds: float) -> None:
    parser.add_argument(
        "--seconds",
        type=float,
        default=seconds,
        metavar="SECONDS",
        help=f"length of each measurement (default: {seconds:g})",
    )
    parser.add_argument(
        "--repeats",
        type=count,
        default=3,
        metavar="N",
        help="rounds of all measurements; ratios need 3 (default: 3)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _config(options: argparse.Namespace) -> TrainConfig:
    return TrainConfig(
        env=options.env,
        learners=options.learners,
        simulators=options.simulators,
        device=options.device,
        precision=options.precision,
    )


def _throughput(options: argparse.Namespace) -> int:
    from gala_rl.app import preflight

    config = _config(options)
    preflight.check_bench([config], options.seconds, options.repeats)
    from gala_lab.bench.throughput import bench_throughput

    return _report(bench_throughput(config, options.seconds, options.repeats), options)


def _gossip(options: argparse.Namespace) -> int:
    from gala_lab.bench import plans
    from gala_rl.app import preflight

    preflight.check_bench([], options.seconds, options.repeats)
    plans.check_gossip(options.learners, options.parameters)
    from gala_lab.bench.gossip import bench_gossip

    return _report(
        bench_gossip(options.learners, options.parameters, options.seconds, options.repeats),
        options,
    )


def _scaling(options: argparse.Namespace) -> int:
    from gala_lab.bench import plans
    from gala_rl.app import preflight

    config = _config(options)
    preflight.check_bench([config], options.seconds, options.repeats)
    cases = [planned.config for planned in plans.scaling(config) if planned.skipped is None]
    preflight.check_bench(cases, options.seconds, options.repeats)
    from gala_lab.bench.scaling import bench_scaling

    return _report(bench_scaling(config, options.seconds, options.repeats), options)


def _stragglers(options: argparse.Namespace) -> int:
    from gala_lab.bench import plans
    from gala_rl.app import preflight

    config, slowed = plans.stragglers(_config(options), options.slowed)
    configs = [dataclasses.replace(config, method=method) for method in options.method]
    preflight.check_bench(configs, options.seconds, options.repeats)
    from gala_lab.bench.stragglers import bench_stragglers

    result = bench_stragglers(config, slowed, options.seconds, options.repeats, options.method)
    return _report(result, options)


def _faults(options: argparse.Namespace) -> int:
    from gala_lab.bench import plans
    from gala_rl.app import preflight

    config = dataclasses.replace(
        _config(options), cluster=options.cluster, learners_per_node=options.learners_per_node
    )
    if config.cluster is None or config.learners is not None:
        config, _ = plans.stragglers(config, None)
    preflight.check_bench([], options.seconds, options.repeats)
    methods = options.method or (_FAULTS_METHODS if config.cluster is None else ["gala-a2c"])
    configs = [plans.disturbed(config, method, options.plan) for method in methods]
    preflight.check_bench(configs, options.seconds, options.repeats)
    from gala_lab.bench.faults import bench_faults

    arguments = methods, options.plan, options.seconds, options.repeats
    return _report(bench_faults(config, *arguments), options)


def _report(result: dict[str, Any], options: argparse.Namespace) -> int:
    if options.json:
        options.document = json.dumps(result, indent=2, allow_nan=False)
        return 0
    from gala_lab.bench import tables

    for table in tables.tables(result):
        print_table(*table)
    for note in tables.notes(result):
        say(note)
    return 0
