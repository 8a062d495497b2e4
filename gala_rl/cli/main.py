"""The command `gala`: parses options, calls the package, prints results, sets exit codes."""

import argparse
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gala_rl.cli.changes import add_changes
from gala_rl.cli.chosen import chosen
from gala_rl.cli.completion import PrintCompletion
from gala_rl.cli.console import foreign_output_on_stderr, ignore_output_errors, print_table, say
from gala_rl.cli.dashboard import add_dashboard, shown, with_folder
from gala_rl.cli.dry_run import check_dry_run, show_dry_run
from gala_rl.cli.envs import add_envs
from gala_rl.cli.evaluate import add_evaluate
from gala_rl.cli.export import add_export
from gala_rl.cli.options import add_checkpoint, count, given
from gala_rl.cli.parser import Formatter, Parser, add_command, example_lines, help_of
from gala_rl.cli.plan import add_plan
from gala_rl.cli.runs import add_runs
from gala_rl.cli.theory import add_theory
from gala_rl.cli.train_options import add_train_arguments
from gala_rl.cli.watch import add_watch
from gala_rl.errors import (
    LearnerFailure,
    SimulatorFailure,
    StorageError,
    SupervisorFailure,
    UserError,
    counted,
    escape_unencodable_output,
)
from gala_rl.methods import METHODS
from gala_rl.records.metrics import score_text

_BROKEN_PIPE = 128 + signal.SIGPIPE


def main(
    arguments: Sequence[str] | None = None, more_commands: Sequence[Callable[[Any], None]] = ()
) -> int:
    """Run the command line.

    Args:
        arguments: command-line arguments; default: those of this process.
        more_commands: functions that add commands of other packages.

    Returns:
        0 for success, 1 when a learner or the disk failed, 2 for a user's mistake, 130 when
        interrupted, 141 when the program that read the output has ended, as `head` does.
    """
    if "" not in sys.path:
        # So that `--env my_env:Game-v0` finds my_env.py in the current folder; last, so that no
        # file there shadows an installed module. Learners inherit the path.
        sys.path.append("")
    escape_unencodable_output()
    try:
        options = _parser(more_commands).parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = options.command
        code = _print_document(options) if getattr(options, "json", False) else command(options)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        with ignore_output_errors():
            return _BROKEN_PIPE
    except UserError as error:
        return _fail(error, 2)
    except (LearnerFailure, SimulatorFailure, StorageError, SupervisorFailure) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("stopped at once", 130)


def _print_document(options: argparse.Namespace) -> int:
    """Run a command and print only the JSON that it stores in `options.document`."""
    options.document = None
    with foreign_output_on_stderr():
        code: int = options.command(options)
    if options.document is not None:
        say(options.document)
    return code


def _fail(why: object, code: int) -> int:
    """Print the reason on standard error; return the exit code."""
    with ignore_output_errors():
        print(f"gala: {why}", file=sys.stderr)  # noqa: T201
    return code


def _parser(more_commands: Sequence[Callable[[Any], None]]) -> argparse.ArgumentParser:
    parser = Parser(
        prog="gala",
        description="Gossip-based actor-learner reinforcement learning.",
        epilog=example_lines(
            "gala train ppo --env CartPole-v1 --steps 100k --out runs/first",
            "gala evaluate runs/first",
            "gala train --help",
        ),
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=help_of(parser))
    parser.add_argument("--version", action="version", version=f"gala-rl {version('gala-rl')}")
    parser.add_argument("--print-completion", action=PrintCompletion)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_train(commands)
    _add_resume(commands)
    _add_scale(commands)
    add_evaluate(commands)
    add_watch(commands)
    add_dashboard(commands)
    add_export(commands)
    add_runs(commands)
    add_plan(commands)
    add_theory(commands)
    _add_methods(commands)
    add_envs(commands)
    for add in more_commands:
        add(commands)
    return parser


def _add_train(commands: Any) -> None:
    parser = add_command(
        commands,
        "train",
        "train a method on an environment",
        _train,
        "gala train ppo --env CartPole-v1 --steps 100k",
        "gala train gala-a2c --env PongNoFrameskip-v4 --steps 6M --out runs/pong",
        "gala train ppo --env HalfCheetah-v5 --learning-rate 1e-4 --simulators 8",
        "gala train ppo --env Acrobot-v1 --seed 1 --dry-run",
        "gala train ppo --help",
    )
    add_train_arguments(parser)


def _add_resume(commands: Any) -> None:
    text, example = (
        "continue a stopped run",
        "gala resume runs/pong --steps 10M --learning-rate 1e-4",
    )
    parser = add_command(commands, "resume", text, _resume, example)
    parser.add_argument("run", metavar="RUN", help="folder of the run")
    add_checkpoint(parser, "from which it continues; later ones are moved into the folder earlier")
    add_changes(parser)


def _add_scale(commands: Any) -> None:
    text = "change the number of learners of a run while it trains"
    parser = add_command(commands, "scale", text, _scale, "gala scale runs/pong --learners 8")
    parser.add_argument("run", metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--learners", type=count, required=True, metavar="N", help="new number of learners"
    )


def _add_methods(commands: Any) -> None:
    text = "list the methods with their papers"
    add_command(commands, "methods", text, _methods, "gala methods")


def _train(options: argparse.Namespace) -> int:
    from gala_rl.app import preflight, restart

    check_dry_run(options)
    choice = chosen(options)
    config, settings, values = choice.config, choice.settings, choice.values
    if "method" not in values:
        raise UserError("METHOD is missing: gala methods lists them, as in gala train ppo")
    if options.dry_run:
        return show_dry_run(options, preflight.check_start(config, settings))
    if not options.resume or not restart.is_started(config):
        return _start(preflight.check_start(config, settings), dashboard=options.dashboard)
    assert config.out is not None
    preflight.check_unchanged(config.out, config, values)
    steps = values.get("steps")
    if restart.is_resumable(config.out):
        changes = {} if steps is None else {"steps": steps}
        return _resume_run(config.out, changes, dashboard=options.dashboard)
    checked, aside = restart.start_anew(config, settings, steps)
    say(f"no whole checkpoint in {config.out}: it starts anew; what was there is in {aside}")
    return _start(checked, dashboard=options.dashboard)


def _start(config: Any, *, dashboard: bool) -> int:
    # Imported after the checks, since PyTorch takes seconds to import.
    from gala_rl.app.train import train_checked

    config = with_folder(config) if dashboard else config
    with shown(config.out, is_wanted=dashboard):
        return _report(train_checked(config), config.out)


def _resume(options: argparse.Namespace) -> int:
    return _resume_run(options.run, given(options), options.checkpoint)


def _resume_run(
    run: str, changes: Mapping[str, Any], checkpoint: str = "newest", *, dashboard: bool = False
) -> int:
    from gala_rl.app import preflight

    config = preflight.check_resume(run, changes, checkpoint)
    from gala_rl.app.train import resume_checked

    with shown(run, is_wanted=dashboard):
        return _report(resume_checked(run, config, checkpoint=checkpoint), run)


def _report(summary: dict[str, Any], run: str | None) -> int:
    from gala_rl.records.run_folder import RunFolder

    run = run or summary["run"]
    score = summary["mean_return"]
    following = f"next: gala evaluate {run}"
    if summary["interrupted"]:
        killed = summary["killed"]
        how = f"stopped, {killed} of the learners killed unsaved" if killed else "stopped"
        how = how if summary["updates"] else "stopped before any update"
        following = f"{how}; continue with: {RunFolder(Path(run)).command_to_continue()}"
    with ignore_output_errors():
        say(
            f"{summary['agent_steps']:,} agent steps at {summary['agent_steps_per_s']:,.0f} per "
            f"second, " + ("" if score is None else "mean return ") + score_text(score)
        )
        say(following)
    return 130 if summary["interrupted"] else 0


def _scale(options: argparse.Namespace) -> int:
    from gala_rl.app.scale import scale

    change = scale(options.run, options.learners)
    say(
        f"{counted(change['from'], 'learner')} before, {change['to']} now, "
        f"at {change['agent_steps']:,} agent steps"
    )
    return 0


def _methods(options: argparse.Namespace) -> int:
    print_table(
        "methods",
        ["name", "what it is", "paper"],
        [[method.name, method.title, method.paper] for method in METHODS],
        file_width=100,
    )
    return 0
