"""The command line: parses, calls the package, prints, and turns errors into exit codes."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from gala_rl.config import TrainConfig
from gala_rl.errors import LearnerFailure, StorageError, UserError
from gala_rl.options import Formatter, Parser, add_settings, config_from, count, given


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 when all went well, 1 when a learner or the disk gave out, 2 for a user's mistake, 130
        when interrupted.
    """
    try:
        options = _parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except UserError as error:
        print(f"gala: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return 2
    except (LearnerFailure, StorageError) as error:
        print(f"gala: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        print("gala: stopped at once", file=sys.stderr)  # noqa: T201
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="gala",
        description="Gossip-based actor-learner reinforcement learning.",
        epilog="Start with: gala train gala-a2c --env PongNoFrameskip-v4 --steps 6M",
    )
    parser.add_argument("--version", action="version", version=f"gala-rl {version('gala-rl')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_resume(commands)
    _add_evaluate(commands)
    _add_bench(commands)
    _add_methods(commands)
    return parser


def _command(commands: Any, name: str, text: str, call: Callable[..., int]) -> Any:
    parser = commands.add_parser(
        name, help=text, description=text, formatter_class=Formatter, allow_abbrev=False
    )
    parser.set_defaults(command=call)
    return parser


def _add_train(commands: Any) -> None:
    parser = _command(commands, "train", "train a method on an environment", _train)
    parser.usage = "gala train METHOD [options]"
    parser.add_argument("method", metavar="METHOD", help="gala-a2c, a2c, …: see gala methods")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out if there is one, start it if not",
    )
    add_settings(parser, TrainConfig)


def _add_resume(commands: Any) -> None:
    parser = _command(commands, "resume", "continue a stopped run", _resume)
    parser.add_argument("run", metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--steps", type=count, metavar="STEPS", help="new total of agent steps; default: as before"
    )


def _add_evaluate(commands: Any) -> None:
    parser = _command(
        commands, "evaluate", "play full games with a trained policy, raw returns", _evaluate
    )
    parser.add_argument("run", metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--episodes", type=count, default=10, metavar="N", help="games a policy (default: 10)"
    )
    parser.add_argument(
        "--policy",
        choices=("greedy", "sample"),
        default="greedy",
        help="most probable actions, or random ones as in training (default: greedy)",
    )
    parser.add_argument(
        "--learner",
        default="mean",
        metavar="I|all|mean",
        help="one learner, each of them, or their averaged parameters (default: mean)",
    )
    parser.add_argument("--seed", type=count, default=0, help="of the games (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_bench(commands: Any) -> None:
    parser = _command(commands, "bench", "measure this machine and this program on it", _bench)
    parser.add_argument("what", choices=("throughput",), metavar="WHAT", help="throughput")
    parser.add_argument("--env", default="PongNoFrameskip-v4", help="Gymnasium id")
    parser.add_argument(
        "--learners", type=count, metavar="N", help="learners of gala-a2c (default: as in train)"
    )
    parser.add_argument(
        "--simulators", type=count, default=16, metavar="N", help="a learner (default: 16)"
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="of each measurement (default: 20)"
    )
    parser.add_argument(
        "--repeats", type=count, default=3, metavar="N", help="rounds of all of them (default: 3)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_methods(commands: Any) -> None:
    _command(commands, "methods", "list the methods with their papers", _methods)


def _train(options: argparse.Namespace) -> int:
    from gala_rl.experiment import preflight

    config = config_from(options)
    if options.resume and preflight.is_started(config):
        assert config.out is not None
        preflight.check_unchanged(config.out, config, given(options))
        return _resume_run(config.out, config.steps if "steps" in given(options) else None)
    preflight.check_start(config)
    from gala_rl.experiment.train import train

    return _report(train(config), config.out)


def _resume(options: argparse.Namespace) -> int:
    return _resume_run(options.run, options.steps)


def _resume_run(run: str, steps: int | None) -> int:
    from gala_rl.experiment import preflight

    preflight.check_resume(run, steps)
    from gala_rl.experiment.train import resume

    return _report(resume(run, steps), run)


def _report(summary: dict[str, Any], run: str | None) -> int:
    run = run or summary["run"]
    score = summary["mean_return"]
    _say(
        f"{summary['agent_steps']:,} agent steps at {summary['agent_steps_per_s']:,.0f} a second, "
        + ("no game over yet" if score is None else f"mean return {score:.1f}")
    )
    if summary["interrupted"]:
        made = summary["updates"] > 0
        _say(f"stopped; continue with: gala resume {run}" if made else "stopped before any update")
        return 130
    _say(f"next: gala evaluate {run}")
    return 0


def _say(line: str) -> None:
    print(line)  # noqa: T201


def _evaluate(options: argparse.Namespace) -> int:
    from gala_rl.experiment import preflight

    preflight.check_evaluation(options.run, options.episodes, options.learner, options.seed)
    from gala_rl.experiment.evaluate import evaluate

    result = evaluate(
        options.run,
        episodes=options.episodes,
        policy=options.policy,
        learner=options.learner,
        seed=options.seed,
    )
    if options.json:
        _say(json.dumps(result, indent=2))
        return 0
    games = "most probable actions" if options.policy == "greedy" else "sampled actions"
    _table(
        f"{result['env']}, {result['agent_steps']:,} agent steps, {games}, "
        f"{result['episodes']} full games, raw returns",
        ["learner", "mean", "standard error", "min", "max"],
        [
            [
                row["learner"],
                f"{row['mean_return']:.1f}",
                f"{row['standard_error']:.1f}",
                f"{row['min']:.0f}",
                f"{row['max']:.0f}",
            ]
            for row in result["results"]
        ],
    )
    return 0


def _bench(options: argparse.Namespace) -> int:
    from gala_rl.experiment import preflight

    config = TrainConfig(
        env=options.env, learners=options.learners, simulators=options.simulators, device="cpu"
    )
    preflight.check_bench(config, options.seconds, options.repeats)
    from gala_rl.experiment.bench import bench_throughput

    result = bench_throughput(config, options.seconds, options.repeats)
    if options.json:
        _say(json.dumps(result, indent=2))
        return 0
    _table(
        f"{result['method']} on {result['env']}, {result['learners']} learners x "
        f"{result['simulators']} simulators: medians of {options.repeats} rounds",
        ["", "median", "rounds"],
        [
            [
                text,
                form.format(result[key]),
                "  ".join(form.format(r[key]) for r in result["rounds"]),
            ]
            for key, text, form in (
                ("simulators_only_sps", "simulators alone, agent steps/s", "{:,.0f}"),
                ("network_only_sps", "network alone, agent steps/s", "{:,.0f}"),
                ("ceiling_sps", "ceiling of both, agent steps/s", "{:,.0f}"),
                ("achieved_sps", "training, agent steps/s", "{:,.0f}"),
                ("achieved_over_ceiling", "training / ceiling", "{:.2f}"),
                ("a2c_sps", "a2c on all cores, agent steps/s", "{:,.0f}"),
                ("achieved_over_a2c", "training / a2c", "{:.2f}"),
                ("gossip_share", "gossip's share of a learner's time", "{:.2%}"),
                ("rss_mb_per_learner", "resident memory a learner, MiB", "{:,.0f}"),
            )
        ],
    )
    return 0


def _methods(options: argparse.Namespace) -> int:
    from gala_rl.methods import METHODS

    _table(
        "methods",
        ["name", "what it is", "paper"],
        [[method.name, method.title, method.paper] for method in METHODS],
    )
    return 0


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
