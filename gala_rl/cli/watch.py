"""The command `gala watch`: shows games of a trained policy in a window."""

import argparse
from typing import Any

from gala_rl.cli.console import say
from gala_rl.cli.options import count
from gala_rl.cli.parser import add_command


def add_watch(commands: Any) -> None:
    """Add `watch` to the commands of `gala`."""
    parser = add_command(
        commands,
        "watch",
        "show games of a trained policy in a window, also while it trains",
        _watch,
        "gala watch runs/pong",
    )
    parser.add_argument("run", metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--episodes", type=count, metavar="N", help="games (default: until the window is closed)"
    )
    add_player(parser, "I|mean", "one learner, or the averaged parameters of all (default: mean)")


def add_player(parser: argparse.ArgumentParser, learners: str, text: str) -> None:
    """Add the options that say who plays, and the seed of the games.

    Args:
        parser: the command's.
        learners: values of `--learner`.
        text: help of `--learner`.
    """
    parser.add_argument(
        "--policy",
        choices=("greedy", "sample"),
        default="greedy",
        help="greedy: most probable actions; sample: random ones as in training (default: greedy)",
    )
    parser.add_argument("--learner", default="mean", metavar=learners, help=text)
    parser.add_argument(
        "--seed", type=count, default=0, metavar="N", help="seed of the games (default: 0)"
    )


def _watch(options: argparse.Namespace) -> int:
    from gala_rl.app import preflight

    preflight.check_evaluation(options.run, options.episodes or 1, options.learner, options.seed)
    from gala_rl.app.watch import watch
    from gala_rl.records.metrics import mean, score_text

    scores = watch(
        options.run,
        episodes=options.episodes,
        policy=options.policy,
        learner=options.learner,
        seed=options.seed,
    )
    say(f"{len(scores)} games: mean return {score_text(mean(scores))}")
    return 0
