"""Command-line parser: help that fits the terminal, and one line with a remedy per mistake."""

import argparse
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from gala_rl.errors import UserError
from gala_rl.suggestions import closest

_WIDEST = 100
"""Most columns of help text: longer lines are hard to read."""

_SYNONYMS: Mapping[str, str] = {
    "--activation": "activation-fn activation-function act-fn nonlinearity",
    "--actors": "num-actors n-actors",
    "--checkpoint-every": "save-freq save-interval save-every checkpoint-freq checkpoint-interval",
    "--clip-range": "clip-coef clip-eps clip-param clip-ratio cliprange eps-clip",
    "--device": "cuda gpu no-cuda use-cuda use-gpu num-gpus",
    "--discount": "gamma discount-factor",
    "--entropy-cost": "ent-coef entropy-coef entropy-coeff",
    "--env": "env-id env-name environment game gym-id task",
    "--episodes": "eval-episodes n-episodes n-eval-episodes num-episodes games",
    "--evaluate-every": "eval-every eval-freq eval-frequency eval-interval evaluation-interval",
    "--epochs": "n-epochs num-epochs num-sgd-iter ppo-epochs update-epochs",
    "--frame-stack": "n-stack num-stack",
    "--gae-lambda": "lam lambda",
    "--hidden": "hidden-dim hidden-dims hidden-layers hidden-size hidden-sizes hidden-units "
    "layers mlp-layers mlp-units n-hidden net-arch num-units units",
    "--learners": "n-learners n-workers num-learners num-processes num-workers workers",
    "--learning-rate": "lr step-size",
    "--learning-rate-schedule": "anneal-lr linear-lr-decay lr-decay lr-schedule",
    "--log-every": "log-freq log-frequency log-interval",
    "--lstm-size": "lstm recurrent use-lstm use-rnn",
    "--max-grad-norm": "clip-grad grad-clip grad-norm-clipping max-gradient-norm",
    "--network": "encoder feature-extractor features-extractor features-extractor-class "
    "model policy-network torso",
    "--normalize-advantages": "norm-adv normalize-advantage",
    "--normalize-observations": "norm-obs normalize-input normalize-obs",
    "--normalize-rewards": "norm-reward normalize-returns normalize-reward",
    "--out": "exp-name log-dir log-path logdir output output-dir run-name save-dir save-path "
    "tensorboard tensorboard-log train-dir",
    "--policy": "deterministic greedy stochastic",
    "--rollout-steps": "n-steps nsteps num-steps rollout-fragment-length rollout-length "
    "unroll-length",
    "--first-seed": "seed start-seed",
    "--seeds": "n-seeds num-seeds num-trials trials",
    "--shared-torso": "actor-critic-share-weights share-features-extractor shared-encoder "
    "vf-share-layers",
    "--simulators": "envs n-envs nenvs num-env num-environments num-envs num-envs-per-worker",
    "--simulators-total": "envs n-envs nenvs num-env num-environments num-envs",
    "--steps": "frames max-steps n-timesteps num-timesteps timesteps total-steps total-timesteps",
    "--value-clip-range": "clip-range-vf clip-vloss vf-clip-param",
    "--value-cost": "baseline-cost value-coef value-loss-coef vf-coef vf-loss-coeff",
}
"""Names of an option in other packages, by its name here."""

ELSEWHERE: Mapping[str, str] = {
    "--clip-range": "clip_coef",
    "--discount": "gamma",
    "--entropy-cost": "ent_coef",
    "--epochs": "n_epochs, update_epochs",
    "--lstm-size": "use_lstm",
    "--normalize-advantages": "norm_adv",
    "--rollout-steps": "n_steps, num_steps",
    "--simulators": "n_envs, num_envs",
    "--steps": "total_timesteps",
    "--value-cost": "vf_coef",
}
"""Names in other packages that the help of an option shows, so that a search finds it."""

_HINTS: Mapping[str, str] = {
    "algo algorithm alg method": "the method comes first, as in gala train ppo",
    "mini-batch-size minibatch-size n-minibatches num-minibatches sgd-minibatch-size": (
        "--minibatches N divides each rollout of PPO into N"
    ),
    "checkpoint load load-path pretrained trained-agent": (
        "gala resume RUN continues a run; --init-from RUN starts a new one from its parameters"
    ),
    "capture-video render render-mode video": (
        "gala evaluate RUN --video FILE writes a video, and gala watch RUN shows games"
    ),
    "policy policy-kwargs": (
        "the network follows from the observations; --hidden 256,256 sets its layers for vectors, "
        "--network MODULE:FUNCTION builds another one, --lstm-size N adds an LSTM"
    ),
    "n-seeds num-seeds num-trials seeds trials": (
        "a run has one --seed; gala compare trains methods with several"
    ),
    "deterministic-torch torch-deterministic": "a run with --serial repeats bit for bit",
    "csv mlflow track trackio use-wandb wandb wandb-entity wandb-project wandb-project-name": (
        "--log wandb, mlflow, trackio or csv, besides TensorBoard's files: docs/logging.md"
    ),
}

_COMMANDS: Mapping[str, str] = {
    "benchmark": "bench",
    "continue": "resume",
    "enjoy": "watch",
    "eval": "evaluate",
    "list": "methods",
    "play": "evaluate",
    "render": "watch",
    "run": "train",
    "show": "watch",
    "test": "evaluate",
}


class Parser(argparse.ArgumentParser):
    """Reports a mistake as one line that names the value and the remedy.

    Attributes:
        help_for: returns the help, given the arguments before `--help`.
        explain_unknown: returns the line for an option that this command does not have, None if it
            has nothing to say about it.
        prepare: called with all arguments before they are parsed: adds options that depend on them.
    """

    explain_unknown: Callable[[str], str | None] | None = None

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments, add_help=False)
        self.help_for: Callable[[argparse.Namespace], str] = lambda _: self.format_help()
        self.prepare: Callable[[Sequence[str]], None] = lambda _: None
        self.add_argument("-h", "--help", action=_Help, help="show this help and exit")

    def error(self, message: str) -> NoReturn:
        """Raise a UserError; argparse calls this for a wrong value or a missing argument."""
        raise UserError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse a (sub)command's arguments; report unknown ones with a remedy."""
        self.prepare(sys.argv[1:] if args is None else args)
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown and unknown[0].startswith("-"):
            option = unknown[0].partition("=")[0]
            reason = None if self.explain_unknown is None else self.explain_unknown(option)
            raise UserError(reason or f"option {option} is unknown: {self._remedy(option)}")
        if unknown:
            raise UserError(
                f"argument {unknown[0]!r} is one too many: give values after their options, as "
                f"{self.prog} --help shows"
            )
        return namespace, unknown

    def _remedy(self, option: str) -> str:
        word = option.lower().replace("_", "-").strip("-")
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for name, synonyms in _SYNONYMS.items():
            if word in synonyms.split() and name in known:
                return f"it is {name} here"
        for words, hint in _HINTS.items():
            if word in words.split():
                return hint
        longer = [name for name in known if word and name.startswith(f"--{word}")]
        guess = longer[0] if len(longer) == 1 else closest(option, known)
        return f"did you mean {guess}?" if guess else f"see {self.prog} --help"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Check a choice; report an unknown command with a remedy."""
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            guess = _COMMANDS.get(value) or closest(value, action.choices)
            remedy = (
                f"did you mean {guess}?" if guess in action.choices else f"see {self.prog} --help"
            )
            raise UserError(f"command {value!r} is unknown: {remedy}")
        if action.choices is not None and value not in action.choices:
            choices = ", ".join(map(str, action.choices))
            raise UserError(f"{_name(action)} {value!r} is unknown: choose one of {choices}")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Convert a value; report one of the wrong type in the words of its conversion."""
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            raise UserError(f"{_name(action)} {error.message}") from error


class _Help(argparse.Action):
    """Print the help of a parser and exit."""

    def __init__(self, option_strings: Sequence[str], dest: str, **arguments: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **arguments)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Print the help for the arguments so far."""
        assert isinstance(parser, Parser)
        sys.stdout.write(parser.help_for(namespace))
        parser.exit()


def _name(action: argparse.Action) -> str:
    """Return the name of an argument, as it is given on the command line."""
    return action.option_strings[-1] if action.option_strings else str(action.metavar)


class Formatter(argparse.HelpFormatter):
    """Wraps help to the terminal's width, without splitting words or changing indented lines."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._width = min(self._width, _WIDEST)
        self._max_help_position = 30 if self._width >= _WIDEST else 24

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = (
            [line] if line.startswith(" ") else self._split_lines(line, width)
            for line in text.splitlines()
        )
        return "\n".join(f"{indent}{part}" for split in lines for part in split)


def add_command(
    commands: Any, name: str, text: str, call: Callable[..., int] | None, *examples: str
) -> Any:
    """Add and return the parser of a command.

    Args:
        commands: result of `ArgumentParser.add_subparsers`.
        name: name of the command.
        text: description of the command.
        call: function of the parsed options that returns the exit code; None if the command has
            subcommands: without one of them, help is printed.
        examples: command lines, for the end of the help.
    """
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=example_lines(*examples),
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=call or help_of(parser))
    return parser


def example_lines(*examples: str) -> str:
    """Format command lines as the end of a help text."""
    return "\n".join(
        ["examples:" if len(examples) > 1 else "example:", *map("  {}".format, examples)]
    )


def help_of(parser: argparse.ArgumentParser) -> Callable[..., int]:
    """Return a function that prints a command's help and returns the exit code of a mistake."""

    def call(_: argparse.Namespace) -> int:
        parser.print_help(sys.stderr)
        return 2

    return call
