"""The policy as one graph for other runtimes: observations in, the environment's actions out."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gala_rl.envs.actions import ActionDecoder
from gala_rl.models.network import Network


class ExportedPolicy(nn.Module):
    """Best actions for observations [N, ...], in operations that every runtime has.

    Normalisation of observations and the scale of actions are part of the graph. A recurrent
    network takes a state [N, S] and returns the next one; zeros begin an episode.

    Args:
        network: the policy, on the CPU and in float32.
        decode: converts its actions to the environment's.

    Attributes:
        is_discrete: whether actions are chosen by the largest output.
        input_names: names of the arguments of `forward`.
        output_names: names of what it returns.
    """

    def __init__(self, network: Network, decode: ActionDecoder) -> None:
        super().__init__()
        self.network = network
        self.decode = _Decoding(decode)
        self.is_discrete = not isinstance(decode.space, spaces.Box)
        chosen_by = "logits" if self.is_discrete else "means"
        chosen_by = "q_values" if network.has_action_values else chosen_by
        self.input_names, self.output_names = ["observations"], ["actions", chosen_by]
        if network.state_size:
            self.input_names.append("state")
            self.output_names.append("next_state")

    def forward(self, observations: Tensor, state: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return actions of the environment, what they are chosen by, and the next state, if any.

        Args:
            observations: [N, ...].
            state: [N, S], left as it is; None for a network without memory.
        """
        after = None if state is None else state.clone()
        actions, outputs = self.network.decide(observations, after)
        decoded = self.decode(actions)
        return (decoded, outputs) if after is None else (decoded, outputs, after)


class _Decoding(nn.Module):
    """What `ActionDecoder.batch` does, in PyTorch: [N] or [N, A] → [N, *shape of the space]."""

    def __init__(self, decode: ActionDecoder) -> None:
        super().__init__()
        space = decode.space
        self._space = space
        numbers: dict[str, Any] = {}
        if isinstance(space, spaces.Box):
            names = ("centre", "half_range", "low", "high")
            numbers = {name: getattr(decode, name) for name in names}
        elif isinstance(space, spaces.MultiDiscrete):
            numbers = {"start": np.asarray(space.start, dtype=np.int64)}
        for name, array in numbers.items():
            self.register_buffer(name, torch.from_numpy(np.array(array)))
        self._shape = space.shape or ()
        self._dtype = torch.from_numpy(np.zeros(0, dtype=space.dtype)).dtype

    def forward(self, actions: Tensor) -> Tensor:
        """Convert actions to the environment's."""
        if isinstance(self._space, spaces.Discrete):
            return actions + int(self._space.start)
        if isinstance(self._space, spaces.Box):
            scaled = self.get_buffer("centre") + self.get_buffer("half_range") * actions.double()
            low, high = self.get_buffer("low"), self.get_buffer("high")
            actions = torch.minimum(torch.maximum(scaled, low), high)
            if not self._dtype.is_floating_point:
                actions = actions.round()
        actions = actions.reshape(-1, *self._shape)
        if isinstance(self._space, spaces.MultiDiscrete):
            actions = actions + self.get_buffer("start")
        return actions.to(self._dtype)
