"""What every system is asked to do, as measured on the objects it built, and how it reports.

Standard library only: each runner imports this inside the virtual environment of its own system.
"""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ENV = "PongNoFrameskip-v4"
FRAME_SKIP = 4
FRAME_STACK = 4
IMAGE_SIZE = 84
NOOP_MAX = 30


@dataclass(frozen=True, kw_only=True)
class Work:
    """Everything that must be the same for two speeds to be comparable; all else is a setting.

    Attributes:
        env: Gymnasium id of the game.
        simulators: of all processes together.
        observation: extents of one observation, sorted: systems order their axes differently.
        frame_skip: emulator frames an agent step.
        sticky_actions: probability that the last action repeats.
        protocol: what can only be declared: `PROTOCOL`, by code that builds simulators by it.
        network: its layers, sorted: systems build them in different orders.
        parameters: trained numbers.
    """

    env: str
    simulators: int
    observation: tuple[int, ...]
    frame_skip: int
    sticky_actions: float
    protocol: tuple[str, ...]
    network: tuple[str, ...]
    parameters: int


PROTOCOL = (
    "max-pool of the last 2 frames",
    f"grey {IMAGE_SIZE}x{IMAGE_SIZE} images",
    f"up to {NOOP_MAX} no-ops",
    "fire at reset",
    "a lost life ends the return",
    "rewards clipped to their sign",
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one run of one system measured: the JSON line that a runner prints last.

    Attributes:
        system: name in the table.
        version: of its package.
        work: what it did.
        settings: what it chose itself: rollouts, processes, threads.
        notes: how it differs, in words.
        agent_steps: made in the window and trained on (an agent step is 4 emulator frames).
        seconds: length of the window.
        resident_mib: of all its processes, pages that they share counted once.
        cpu_utilisation: share of the machine's cores kept busy in the window, 0 … 1.
    """

    system: str
    version: str
    work: Work
    settings: Mapping[str, str | int | float]
    notes: tuple[str, ...]
    agent_steps: int
    seconds: float
    resident_mib: float
    cpu_utilisation: float

    @property
    def agent_steps_per_s(self) -> float:
        """The speed."""
        return self.agent_steps / self.seconds


def measured_work(
    *,
    env: str,
    simulators: int,
    observation: Iterable[int],
    frame_skip: int,
    sticky_actions: float,
    model: Any,
) -> Work:
    """The work of a system whose network is a PyTorch module."""
    return Work(
        env=env,
        simulators=simulators,
        observation=tuple(sorted(int(extent) for extent in observation)),
        frame_skip=frame_skip,
        sticky_actions=round(sticky_actions, 6),
        protocol=PROTOCOL,
        network=layers_of(model),
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


def layers_of(model: Any) -> tuple[str, ...]:
    """The convolutions and linear layers of a PyTorch module; one that is shared counts once."""
    layers = []
    for module in model.modules():
        kind = type(module).__name__
        if "Conv2d" in kind:
            kernel, stride = module.kernel_size[0], module.stride[0]
            layers.append(f"conv {module.in_channels}>{module.out_channels} {kernel}/{stride}")
        elif "Linear" in kind:
            layers.append(f"linear {module.in_features}>{module.out_features}")
    return tuple(sorted(layers))


def measured_protocol(env: Any) -> tuple[int, float]:
    """Emulator frames of one step, and stickiness, of a wrapped Gymnasium environment of ALE."""
    ale = env.unwrapped.ale
    env.reset(seed=0)
    before = ale.getEpisodeFrameNumber()
    env.step(0)
    frames = int(ale.getEpisodeFrameNumber() - before)
    return frames, float(ale.getFloat("repeat_action_probability"))


def write_line(result: Result) -> None:
    """Print the result as the last line of standard output."""
    content = dataclasses.asdict(result) | {"agent_steps_per_s": result.agent_steps_per_s}
    sys.stdout.flush()
    print(json.dumps(content, allow_nan=False), flush=True)


def read_line(text: str) -> Result:
    """The result in the last line of what a runner printed.

    Raises:
        ValueError: when there is none, or it does not follow the schema.
    """
    lines = text.strip().splitlines()
    try:
        content = json.loads(lines[-1])
        del content["agent_steps_per_s"]
        work = Work(**{name: _frozen(value) for name, value in content.pop("work").items()})
        result = Result(work=work, **{name: _frozen(value) for name, value in content.items()})
        fits = result.agent_steps > 0 and result.seconds > 0
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError("it printed no result line") from error
    if not fits:
        raise ValueError("it reported that it trained on nothing")
    return result


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
