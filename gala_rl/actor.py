"""The actor: runs its simulators with the learner's current policy and fills a trajectory."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NoReturn, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.cuda_graphs import Captured
from gala_rl.envs import Episode, Simulators, Transition
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.processes.heartbeat import beat
from gala_rl.threads import threads_set_to
from gala_rl.trajectory import Trajectory

_SIMULATORS = "simulators."


class StopRequested(Exception):
    """A learner was asked to stop in the middle of an update; its rollout is dropped."""


def never() -> bool:
    """Answer that no stop is asked for: the default of `wants_stop`."""
    return False


class TrajectorySource(Protocol):
    """Where a learner's trajectories come from: an actor in its own process, or several in theirs.

    Attributes:
        trajectory: what `collect` returns.
        episodes: finished full games that nobody has taken yet, oldest first.
        wants_stop: whether to raise `StopRequested`; asked at every step.
    """

    trajectory: Trajectory
    episodes: deque[Episode]
    wants_stop: Callable[[], bool]

    @property
    def frames_per_step(self) -> int:
        """Emulator frames in an agent step; 1 where there is no emulator."""

    @property
    def failures(self) -> int:
        """Simulators that raised, died or were silent and were built anew, so far."""

    def collect(self) -> Trajectory:
        """The next trajectory to learn from; always the same object.

        Raises:
            StopRequested: when the learner was asked to stop meanwhile; the trajectory is dropped.
        """

    def take_metrics(self) -> dict[str, float]:
        """What only this source has to tell of the time since the last call, by column."""

    def state(self) -> dict[str, Tensor]:
        """All it takes to continue, by name; less, where simulators cannot be saved."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a `state`; what is not in it starts anew."""

    def close(self) -> None:
        """Release simulators and processes."""


class Actor:
    """B simulators and the network that plays them.

    The trajectory is written into storage that is allocated once; `collect` returns the same
    object each time, valid until the next call.

    Args:
        simulators: what to act in.
        model: the policy; shared with the learner, so always the newest.
        rollout_steps: T.
        seed: of action sampling and, through it, of the simulators.
        keep_choices: whether trajectories tell `log_probs` and `values`.

    Attributes:
        model: the policy that plays.
        episodes: finished full games that nobody has taken yet, oldest first.
        wants_stop: see `TrajectorySource`.
        generator: random state of action sampling.
    """

    def __init__(
        self,
        simulators: Simulators,
        model: ActorCritic,
        rollout_steps: int,
        seed: int,
        *,
        keep_choices: bool = False,
    ) -> None:
        self.simulators = simulators
        self.episodes: deque[Episode] = deque()
        self.wants_stop: Callable[[], bool] = never
        self.model = model
        self._device = next(model.parameters()).device
        streams = np.random.SeedSequence(seed).generate_state(2, dtype=np.uint64)
        self.generator = torch.Generator(self._device).manual_seed(int(streams[0] >> 1))
        try:
            observations = simulators.reset(int(streams[1] % 2**31))
        except BaseException:
            simulators.close()
            raise
        first = torch.from_numpy(observations).to(self._device)
        state = model.initial_state(len(first))
        with torch.no_grad():
            # A generator of its own: an example action must not advance the real one.
            action = model.sample(first, torch.Generator(self._device), state=state)
        # Who asks for choices evaluates them under other parameters than those that acted.
        activations = None if keep_choices else model.allocate_activations(rollout_steps, first)
        self.trajectory = Trajectory.allocate(
            rollout_steps,
            first,
            action,
            self._device,
            activations,
            state,
            keep_choices=keep_choices,
        )
        self.trajectory.observations[-1].copy_(first)
        if self.trajectory.begins is not None:
            self.trajectory.begins[-1].fill_(True)
        self._host = _on_the_host(self.trajectory)
        self._policies = [
            [
                Captured(partial(self._choose, t, rows), self._device, self.generator)
                for rows in simulators.groups
            ]
            for t in range(rollout_steps)
        ]

    @torch.no_grad()
    def collect(self) -> Trajectory:
        """Make T agent steps in every simulator.

        A group's simulators step while the network acts for the other groups.
        """
        if len(self.simulators.groups) == 1 or self._device.type != "cpu":
            return self._collect()
        # The network leaves the other half of its cores to the simulators that step meanwhile.
        with threads_set_to(max(1, torch.get_num_threads() // 2)):
            return self._collect()

    def _collect(self) -> Trajectory:
        storage, groups = self.trajectory, len(self.simulators.groups)
        moment = self.moment()
        storage.observations[0].copy_(moment["observations"])
        if (past := storage.past()) is not None:
            past.state.copy_(moment["state"])
            past.begins[0].copy_(moment["begins"])
        storage.truncation_values.zero_()
        steps = len(storage.rewards)
        for t in range(steps):
            if t > 0 and self.wants_stop():
                self._break_off(t)
            for group in range(groups):
                if t > 0:
                    self._store(t - 1, group)
                actions = self.act(t, group)
                # The one wait for the device: nothing is left to do until actions are there.
                self.simulators.send(actions.cpu().numpy(), group)
        for group in range(groups):
            self._store(steps - 1, group)
        for name in ("rewards", "terminated", "truncated"):
            there, here = getattr(storage, name), getattr(self._host, name)
            if there is not here:
                there.copy_(here, non_blocking=True)
        return storage

    def _break_off(self, t: int) -> NoReturn:
        """End a rollout before step t, so that the next one begins there."""
        storage = self.trajectory
        for group in range(len(self.simulators.groups)):
            self._store(t - 1, group)
        storage.observations[-1].copy_(storage.observations[t])
        if storage.begins is not None:
            storage.begins[-1].copy_(storage.begins[t])
        raise StopRequested

    def moment(self) -> dict[str, Tensor]:
        """Where the last rollout stopped and the next begins, as views to be read or overwritten.

        Returns:
            observations [B, ...] and, of a recurrent network, `state` [B, S] and `begins` [B].
        """
        storage = self.trajectory
        moment = {"observations": storage.observations[-1]}
        if storage.final_state is not None and storage.begins is not None:
            moment |= {"state": storage.final_state, "begins": storage.begins[-1]}
        return moment

    def act(self, t: int, group: int) -> Tensor:
        """Actions [b] or [b, A] of a group's simulators at step t of the rollout."""
        return self._policies[t][group]()

    def _choose(self, t: int, rows: slice) -> Tensor:
        """`act`, as a device can record it: all memory is the trajectory's."""
        storage = self.trajectory
        record = None if storage.activations is None else storage.activations.at(t, rows)
        observations, actions = storage.observations[t, rows], storage.actions[t, rows]
        # During a rollout it is the state before the observation that comes next.
        state = None if storage.final_state is None else storage.final_state[rows]
        if storage.log_probs is None or storage.values is None:
            return actions.copy_(self.model.sample(observations, self.generator, record, state))
        choice = self.model.choose(observations, self.generator, record, state)
        storage.log_probs[t, rows] = choice.log_probs
        storage.values[t, rows] = choice.values
        return actions.copy_(choice.actions)

    def _store(self, t: int, group: int) -> None:
        """Wait for a group's simulators and keep their answer to the actions of step t."""
        storage, host = self.trajectory, self._host
        rows = self.simulators.groups[group]
        transition: Transition = self.simulators.recv(group)
        beat()
        seen = host.observations[t + 1, rows]
        seen.copy_(torch.from_numpy(transition.observations))
        if host is not storage:
            storage.observations[t + 1, rows].copy_(seen, non_blocking=True)
        host.rewards[t, rows] = torch.from_numpy(transition.rewards)
        host.terminated[t, rows] = torch.from_numpy(transition.terminated)
        host.truncated[t, rows] = torch.from_numpy(transition.truncated)
        if transition.final_observations is not None:
            self._value_what_was_cut(t, rows, transition.truncated, transition.final_observations)
        self._forget_what_ended(t, rows)
        self.episodes.extend(transition.episodes)

    def _value_what_was_cut(
        self, t: int, rows: slice, truncated: NDArray[np.bool_], finals: NDArray[np.generic]
    ) -> None:
        cut = torch.from_numpy(np.flatnonzero(truncated) + rows.start).to(self._device)
        state = self.trajectory.final_state
        values = self.model.values(
            torch.from_numpy(finals[truncated]).to(self._device),
            None if state is None else state[cut],
        )
        self.trajectory.truncation_values[t, cut] = values

    def _forget_what_ended(self, t: int, rows: slice) -> None:
        storage, host = self.trajectory, self._host
        if storage.final_state is None or storage.begins is None or host.begins is None:
            return
        over = host.terminated[t, rows] | host.truncated[t, rows]
        begins = host.begins[t + 1, rows].copy_(over)
        if host is not storage:
            begins = storage.begins[t + 1, rows].copy_(begins, non_blocking=True)
        storage.final_state[rows].masked_fill_(begins.unsqueeze(-1), 0.0)

    @property
    def frames_per_step(self) -> int:
        """See `TrajectorySource`."""
        return self.simulators.frames_per_step

    @property
    def failures(self) -> int:
        """See `TrajectorySource`."""
        return self.simulators.failures

    def take_metrics(self) -> dict[str, float]:
        """See `TrajectorySource`."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """See `TrajectorySource`."""
        tensors = {"generator": self.generator.get_state()}
        if (simulators := self.simulators.get_state()) is not None:
            tensors |= self.moment()
            for name, array in simulators.items():
                tensors[_SIMULATORS + name] = torch.from_numpy(np.array(array))
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `TrajectorySource`."""
        if "observations" not in tensors:
            return
        for name, tensor in self.moment().items():
            tensor.copy_(tensors[name])
        self.generator.set_state(tensors["generator"])
        self.simulators.set_state(
            {
                name.removeprefix(_SIMULATORS): tensor.numpy()
                for name, tensor in tensors.items()
                if name.startswith(_SIMULATORS)
            }
        )

    def close(self) -> None:
        """See `TrajectorySource`."""
        self.simulators.close()


def _on_the_host(storage: Trajectory) -> Trajectory:
    """Where simulators' answers go first: the storage itself, or for a GPU pinned twins of it.

    Every step has a place of its own, so that no upload is overwritten before it is done.
    """
    if not storage.rewards.is_cuda:
        return storage

    def twin(tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, device="cpu", pin_memory=True)

    return replace(
        storage,
        observations=twin(storage.observations),
        rewards=twin(storage.rewards),
        terminated=twin(storage.terminated),
        truncated=twin(storage.truncated),
        begins=None if storage.begins is None else twin(storage.begins),
    )
