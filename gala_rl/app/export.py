"""Exports the policy of a run for other runtimes, and compares it with the original."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.app.caller import check_may_play, unchanged_caller
from gala_rl.app.export_formats import Call, load, write
from gala_rl.app.exported_policy import ExportedPolicy
from gala_rl.app.policies import MEAN, in_float32, network_of, selected_checkpoint
from gala_rl.app.preflight import ExportFormat, check_export
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import make_simulators, preserve_working_directory, seeded_generators
from gala_rl.envs.action_space import action_space_of
from gala_rl.envs.actions import ActionDecoder
from gala_rl.errors import StorageError, UserError
from gala_rl.models.network import Network

TOLERANCE = 1e-4
"""Largest difference of outputs, relative to the largest one: runtimes add in different orders."""

_SIMULATORS, _STEPS = 4, 64


@unchanged_caller()
def export(
    run: str | Path, file: str | Path, *, format: ExportFormat = "onnx", learner: str = MEAN
) -> dict[str, Any]:
    """Write the greedy policy of a run's newest checkpoint for another runtime.

    The file is written only if its outputs are those of the network, on observations of games.

    Args:
        run: folder of the run.
        file: file to write; it replaces one of that name.
        format: "onnx", or "torch" for a program of `torch.export`.
        learner: a rank, or "mean" for the average of the learners' parameters.

    Returns:
        What was exported, types and shapes of `inputs` and `outputs` by name, the number of
        `observations` on which it was compared, and the `largest_difference` of outputs.

    Raises:
        UserError: when there is no such run or learner, a package is missing, or the policy cannot
            be exported.
        StorageError: when the file cannot be written.
    """
    check_export(run, file, format, learner)
    config, saved = selected_checkpoint(run)
    check_may_play(config)
    config = in_float32(config)
    network = network_of(config, saved, learner)
    with seeded_generators(0), preserve_working_directory():
        decode = ActionDecoder(action_space_of(config.source, config.environment))
        recorded = _record(config, network)
    policy = ExportedPolicy(_with_own_memory(network), decode).eval()
    about = {
        "env": config.env,
        "method": config.method,
        "agent_steps": saved.agent_steps,
        "learner": learner,
    }
    difference = _write(policy, recorded, Path(file), format, about)
    inputs = recorded.inputs(slice(None))
    return {
        "file": str(file),
        "format": format,
        **about,
        "inputs": _described(dict(zip(policy.input_names, inputs, strict=True))),
        "outputs": _described(dict(zip(policy.output_names, _call(policy, inputs), strict=True))),
        "observations": len(recorded.observations),
        "largest_difference": difference,
    }


def _with_own_memory(network: Network) -> Network:
    """Give each parameter memory of its own: views of one vector would be written whole each."""
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
    return network


class _Recorded(NamedTuple):
    """Observations [M, ...] of games, and the states [M, S] before them."""

    observations: Tensor
    states: Tensor

    def inputs(self, rows: slice) -> tuple[Tensor, ...]:
        """Return the arguments of a policy; a network without memory has no state."""
        observations = self.observations[rows]
        return (observations, self.states[rows]) if self.states.shape[1] else (observations,)


@torch.no_grad()
def _record(config: ResolvedConfig, network: Network) -> _Recorded:
    """Play greedily for some steps."""
    simulators = make_simulators(config.source, _SIMULATORS, 1, training=False)
    observations, states = [], []
    try:
        seen, state = simulators.reset(0), network.initial_state(_SIMULATORS)
        for _ in range(_STEPS):
            observations.append(torch.from_numpy(seen.copy()))
            states.append(state.clone())
            transition = simulators.step(network.greedy(observations[-1], state).numpy())
            network.observe_rewards(torch.from_numpy(transition.rewards), state)
            state[torch.from_numpy(transition.terminated | transition.truncated)] = 0.0
            seen = transition.observations
    finally:
        simulators.close()
    return _Recorded(torch.cat(observations), torch.cat(states))


@torch.no_grad()
def _call(policy: ExportedPolicy, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    outputs: tuple[Tensor, ...] = policy(*inputs)
    return outputs


def _write(
    policy: ExportedPolicy,
    recorded: _Recorded,
    file: Path,
    format: ExportFormat,
    about: Mapping[str, Any],
) -> float:
    """Write the file once its content is compared; return the largest difference."""
    partial = file.with_name(f".{file.stem}.partial{file.suffix}")
    try:
        write(policy, recorded.inputs(slice(0, 2)), format, about, partial)
        exported = load(partial, format)
        # One observation too, since the number of them may have become part of a graph.
        difference = max(
            _difference(policy, exported, recorded.inputs(rows))
            for rows in (slice(None), slice(0, 1))
        )
        if not difference <= TOLERANCE:  # NaN is a difference too.
            raise UserError(
                f"the exported policy differs from the network by {difference:.1e}, so {file} is "
                f"not written: try another --format"
            )
        partial.replace(file)
    except OSError as error:
        raise StorageError(f"{file} cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return difference


def _difference(policy: ExportedPolicy, exported: Call, inputs: tuple[Tensor, ...]) -> float:
    """Return the largest difference of an output, relative to its largest number or 1.

    Actions count as different only where rounding cannot have changed them.
    """
    mine = [tensor.numpy() for tensor in _call(policy, inputs)]
    theirs = exported([tensor.numpy() for tensor in inputs])
    found = [
        float(np.abs(a - b).max()) / max(1.0, float(np.abs(a).max()))
        for a, b in zip(mine[1:], theirs[1:], strict=True)
    ]
    actions = np.abs(mine[0].astype(np.float64) - theirs[0].astype(np.float64))
    if policy.is_discrete:
        actions = actions[_is_apart(mine[1])]
    elif mine[0].dtype.kind != "f":
        actions = np.maximum(actions - 1.0, 0.0)  # Rounded to the next integer.
    scale = 1.0 if policy.is_discrete else max(1.0, float(np.abs(mine[0]).max()))
    return max(*found, float(actions.max(initial=0.0)) / scale)


def _is_apart(outputs: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return [N], whether the best of discrete actions is clearly better than the second."""
    if outputs.shape[-1] == 1:
        return np.ones(len(outputs), dtype=np.bool_)
    second, best = np.moveaxis(np.sort(outputs, axis=-1)[..., -2:], -1, 0)
    apart = best - second > 2 * TOLERANCE * max(1.0, float(np.abs(outputs).max()))
    every: NDArray[np.bool_] = apart.reshape(len(outputs), -1).all(axis=1)
    return every


def _described(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return type and shape by name, such as "float32 [N, 4]"."""
    return {
        name: f"{str(tensor.dtype).removeprefix('torch.')} "
        f"[{', '.join(['N', *map(str, tensor.shape[1:])])}]"
        for name, tensor in tensors.items()
    }
