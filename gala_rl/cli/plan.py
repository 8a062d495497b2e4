"""The command `gala plan`: measures briefly, and advises how many learners and simulators."""

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from gala_rl.cli.console import print_table, say
from gala_rl.cli.options import add_json, add_settings, options_from
from gala_rl.cli.parser import add_command
from gala_rl.plan.options import PlanOptions, check_method

if TYPE_CHECKING:
    from gala_rl.plan.advice import Advice, Prediction
    from gala_rl.plan.measuring import Measurement

_COLUMNS = [
    "",
    "learners",
    "simulators\neach",
    "steps\nper s",
    "relative\ntime",
    "learning\nrate",
    "topology",
    "ball",
    "ρ",
]
_WIDTH = 100
_NOTE = (
    "steps: agent steps of all learners; relative time: until equal progress, default = 1; ball: "
    "typical distance of learners from their mean, in updates; ρ: step of their mean beside that "
    "of one large batch. The model and its limits: docs/plan.md."
)


def add_plan(commands: Any) -> None:
    """Add `plan` to the commands of `gala`."""
    parser = add_command(
        commands,
        "plan",
        "measure this machine briefly and advise how many learners and simulators to use",
        _plan,
        "gala plan --env CartPole-v1",
        "gala plan --env PongNoFrameskip-v4 --method gala-ppo --cores 64 --seconds 60",
    )
    add_settings(parser, PlanOptions)
    add_json(parser)


def _plan(given: argparse.Namespace) -> int:
    options = options_from(given, PlanOptions)
    check_method(options.method)
    from gala_rl.plan.candidates import default_config, machine_of

    machine = machine_of(options)
    default = default_config(options, machine)
    say(
        f"measuring {default.method} on {default.env} for {options.seconds:g} s, and building "
        f"simulators"
    )
    # Imported after the checks, since PyTorch takes seconds to import.
    from gala_rl.plan.advice import advise
    from gala_rl.plan.explanation import command, notes, reasons
    from gala_rl.plan.measuring import measure

    measured = measure(default, options.seconds)
    advice = advise(default, machine, measured)
    why, train = [*reasons(advice, measured), *notes(machine, measured)], command(advice, machine)
    if given.json:
        content = {
            "env": default.env,
            "method": default.method,
            "cores": machine.cores,
            "gpus": machine.gpus,
            "measured": _measured(advice, measured),
            "rows": [_row(prediction, advice) for prediction in _rows(advice)],
            "why": why,
            "command": train,
        }
        given.document = json.dumps(content, indent=2, allow_nan=False)
        return 0
    cells = [_cells(prediction, advice) for prediction in _rows(advice)]
    print_table("plans: the default, then the best per number of learners", _COLUMNS, cells, _WIDTH)
    for line in (_NOTE, *why, f"next: {train}"):
        say(line)
    return 0


def _rows(advice: "Advice") -> list["Prediction"]:
    """Return the default, and the best that differ from it."""
    others = [p for p in advice.best if p.config != advice.default.config]
    return [advice.default, *others]


def _names(prediction: "Prediction", advice: "Advice") -> list[str]:
    named = {"default": advice.default, "advised": advice.advised}
    return [name for name, other in named.items() if prediction.config == other.config]


def _cells(prediction: "Prediction", advice: "Advice") -> list[str]:
    config = prediction.config
    return [
        "\n".join(_names(prediction, advice)),
        f"{config.learners:,}",
        str(config.simulators),
        f"{prediction.agent_steps_per_s:,.0f}",
        f"{prediction.relative_time:.2f}",
        f"{config.initial_learning_rate:.2e}",
        config.gossip.topology_name if config.learners > 1 else "none",
        f"{prediction.ball_radius:.2f}",
        "unknown" if prediction.rho is None else f"{prediction.rho:.2f}",
    ]


def _row(prediction: "Prediction", advice: "Advice") -> dict[str, Any]:
    config, names = prediction.config, _names(prediction, advice)
    return {
        "default": "default" in names,
        "advised": "advised" in names,
        "method": config.method,
        "learners": config.learners,
        "simulators": config.simulators,
        "agent_steps_per_s": prediction.agent_steps_per_s,
        "relative_agent_steps": prediction.relative_agent_steps,
        "relative_time": prediction.relative_time,
        "learning_rate": config.initial_learning_rate,
        "topology": config.gossip.topology_name if config.learners > 1 else None,
        "ball_radius": prediction.ball_radius,
        "rho": prediction.rho,
    }


def _measured(advice: "Advice", measured: "Measurement") -> dict[str, Any]:
    scale = advice.noise_scale
    return {
        "timings": [
            {"simulators": t.simulators, "rollout_s": t.rollout_s, "update_s": t.update_s}
            for t in measured.timings.values()
        ],
        "simulators_left_out": list(measured.left_out),
        "noise_share": measured.noise_share,
        "least_noise_share": measured.least_noise_share,
        "rounds": measured.rounds,
        # Infinite if gradients were all noise.
        "noise_scale": None if scale == math.inf else scale,
    }
