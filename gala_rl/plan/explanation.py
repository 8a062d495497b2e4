"""Says in sentences why a plan is advised, what it leaves out, and how to follow it."""

import math
import shlex

import torch

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.settings import GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.errors import counted
from gala_rl.methods.resolving import resolve
from gala_rl.plan.advice import Advice
from gala_rl.plan.candidates import Machine
from gala_rl.plan.measuring import Measurement

_FEW_ROUNDS = 10
"""With fewer, the measured noise depends on chance."""


def reasons(advice: Advice, measured: Measurement) -> list[str]:
    """Return sentences that say why the advised config is advised."""
    return [_noise(advice, measured), _speed(advice), *_gossip(advice)]


def _noise(advice: Advice, measured: Measurement) -> str:
    share, least, scale = measured.noise_share, measured.least_noise_share, advice.noise_scale
    if share is None or scale is None:
        return "All gradients were zero, so their noise is unknown: ranked by speed alone."
    batch = f"With {counted(advice.default.config.simulators, 'simulator')} per learner, "
    if scale == math.inf:
        return f"{batch}gradients were all noise: ranked by speed alone."
    return (
        f"{batch}{least:.0%} or more of a gradient's second moment is noise ({share:.0%} "
        f"measured). A batch of {scale:,.0f} simulators is then half noise; larger ones need ever "
        f"more agent steps."
    )


def _speed(advice: Advice) -> str:
    config, default = advice.advised.config, advice.default
    plan = f"{counted(config.learners, 'learner')} x {counted(config.simulators, 'simulator')}"
    if config == default.config:
        return f"The default, {plan}: nothing else is clearly faster with as few simulators."
    faster = advice.advised.agent_steps_per_s / default.agent_steps_per_s
    return (
        f"{plan}: {faster:.2f} times as many agent steps per second as the default, of which "
        f"equal progress needs {advice.advised.relative_agent_steps:.2f} times as many."
    )


def _gossip(advice: Advice) -> list[str]:
    config, rho = advice.advised.config, advice.advised.rho
    if config.learners == 1:
        return []
    is_default = config.gossip.topology_name == GossipSettings().topology_name
    why = "as in the paper" if is_default else "since many learners drift apart on a ring"
    text = (
        f"Topology {config.gossip.topology_name}, {why}: learners are typically "
        f"{advice.advised.ball_radius:.2f} updates from their mean"
    )
    if rho is None:
        return [f"{text}."]
    # docs/theory.md, "The learning rate".
    rule = f"; the linear rule assumes {config.learners**-0.5:.2f}"
    is_linear = config.algorithm.learning_rate_rule == "linear"
    return [
        f"{text}, which moves {rho:.2f} (ρ) times as far as one large batch would at this learning "
        f"rate{rule if is_linear else ''}."
    ]


def notes(machine: Machine, measured: Measurement) -> list[str]:
    """Return sentences about what the predictions leave out on this machine."""
    lines = []
    if machine.is_larger_than_this:
        lines.append(
            f"Predicted for {counted(machine.cores, 'core')} from measurements on one core of this "
            f"machine, which has {usable_cores():,}."
        )
    if machine.gpus > 1:
        lines.append(
            f"gala train uses one GPU of a machine: for {machine.gpus}, make each a node of a "
            f"cluster (docs/cluster.md)."
        )
    if measured.noise_share is not None and measured.rounds < _FEW_ROUNDS:
        rounds = counted(measured.rounds, "update")
        lines.append(f"The noise is that of {rounds} only; --seconds measures more.")
    if measured.left_out:
        lines.append(
            f"Not measured, for lack of time or memory: {', '.join(map(str, measured.left_out))} "
            f"simulators per learner; --seconds gives more time."
        )
    return lines


def command(advice: Advice, machine: Machine) -> str:
    """Return the `gala train` command of the advised config."""
    config = advice.advised.config
    words = ["gala", "train", config.method, "--env", config.env]
    if config.learners > 1:
        words += ["--learners", str(config.learners)]
    words += ["--simulators", str(config.simulators)]
    if config.gossip.topology_name != GossipSettings().topology_name:
        words += ["--topology", config.gossip.topology_name]
    words += _network_options(config)
    if not machine.gpus and torch.cuda.is_available():
        words += ["--device", "cpu"]
    return shlex.join(words)


def _network_options(config: ResolvedConfig) -> list[str]:
    """Return the options of the network that differ from what is taken without them."""
    default = resolve(TrainConfig(env=config.env), environment=config.environment)
    words = []
    if config.network != default.network:
        words += ["--network", config.network]
    if config.hidden != default.hidden:
        words += ["--hidden", ",".join(map(str, config.hidden))]
    if config.activation != default.activation:
        words += ["--activation", config.activation]
    if config.shared_torso is not None:
        words.append("--shared-torso" if config.shared_torso else "--no-shared-torso")
    return words
