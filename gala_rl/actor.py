"""Actor: steps simulators with the learner's current policy, and fills a trajectory."""

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.cuda_graphs import Captured
from gala_rl.envs import Episode, Simulators, Transition
from gala_rl.models.network import Network
from gala_rl.pinned_memory import host_twin
from gala_rl.processes.heartbeat import beat
from gala_rl.threads import threads_set_to
from gala_rl.trajectory import Activations, Trajectory
from gala_rl.trajectory_source import StopRequested, never

_SIMULATORS = "simulators."


class _Answers(NamedTuple):
    """Where simulators' answers are written first, as arrays that share a trajectory's memory.

    NumPy writes a few numbers in a fifth of the time that PyTorch takes.
    """

    observations: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    is_first: NDArray[np.bool_]


class _Step(NamedTuple):
    """What a group's network reads and writes at one step: views of a trajectory, made once."""

    observations: Tensor
    actions: Tensor
    state: Tensor
    log_probs: Tensor | None
    values: Tensor | None
    action_values: Tensor | None
    activations: Activations | None
    past_state: Tensor | None


class Actor:
    """Collects trajectories in B simulators with a network; see `TrajectorySource`.

    The trajectory is written into storage that is allocated once; `collect` returns the same
    object each time, valid until the next call.

    Args:
        simulators: simulators to act in.
        network: the policy; shared with the learner, so always current.
        rollout_steps: T.
        seed: seed of action sampling and, through it, of the simulators.
        with_behaviour: whether trajectories have `log_probs` and `values`, and `action_values` if
            the network has them.
        for_replay: whether trajectories have `final_observations` and, with memory, `states`.
        stagger: most random agent steps of each simulator before the first rollout.
        epsilons: from total agent steps to the probability [B] of random actions; None: the policy
            is random itself.

    Attributes:
        network: the policy that acts.
        episodes: see `TrajectorySource`.
        should_stop: see `TrajectorySource`.
        total_agent_steps: see `TrajectorySource`.
        generator: random state of action sampling.
    """

    def __init__(
        self,
        simulators: Simulators,
        network: Network,
        rollout_steps: int,
        seed: int,
        *,
        with_behaviour: bool = False,
        for_replay: bool = False,
        stagger: int = 0,
        epsilons: Callable[[int], Tensor] | None = None,
    ) -> None:
        self.simulators = simulators
        self.episodes: deque[Episode] = deque()
        self.should_stop: Callable[[], bool] = never
        self.network = network
        self.total_agent_steps = 0
        self._epsilons = epsilons
        self._is_recurrent = network.state_size > 0
        self._device = next(network.parameters()).device
        streams = np.random.SeedSequence(seed).generate_state(2, dtype=np.uint64)
        self.generator = torch.Generator(self._device).manual_seed(int(streams[0] >> 1))
        try:
            observations = simulators.reset(int(streams[1] % 2**31), stagger)
        except BaseException:
            simulators.close()
            raise
        self._explore()
        first = torch.from_numpy(observations).to(self._device)
        state = network.initial_state(len(first))
        with torch.no_grad():
            # A separate generator, since an example action must not advance the actor's own.
            action = network.act(first, torch.Generator(self._device), state)
        # An update that needs the behaviour policy evaluates actions with newer parameters, for
        # which recorded activations are wrong.
        activations = None if with_behaviour else network.allocate_activations(rollout_steps, first)
        self.trajectory = Trajectory.allocate(
            rollout_steps,
            first,
            action,
            state,
            self._device,
            activations=activations,
            with_behaviour=with_behaviour,
            has_resets=simulators.resets_on_next_step,
        )
        if with_behaviour and network.has_action_values:
            self.trajectory = self.trajectory.with_action_values()
        if for_replay:
            self.trajectory = self.trajectory.with_replay_fields()
        self.trajectory.observations[-1].copy_(first)
        self.trajectory.is_first[-1].fill_(True)
        self._host = host_twin(self.trajectory)
        self._answers = _Answers._make(getattr(self._host, x).numpy() for x in _Answers._fields)
        self._policies = [
            [self._policy(t, rows) for rows in simulators.groups] for t in range(rollout_steps)
        ]

    @torch.no_grad()
    def collect(self) -> Trajectory:
        """Make T agent steps in every simulator.

        A group's simulators step while the network acts for the other groups.
        """
        if len(self.simulators.groups) == 1 or self._device.type != "cpu":
            return self._collect()
        # The other half of the cores is for the simulators that step meanwhile.
        with threads_set_to(max(1, torch.get_num_threads() // 2)):
            return self._collect()

    def _collect(self) -> Trajectory:
        self._explore()
        storage, groups = self.trajectory, len(self.simulators.groups)
        storage.observations[0].copy_(storage.observations[-1])
        storage.is_first[0].copy_(storage.is_first[-1])
        if self._is_recurrent:
            storage.initial_state.copy_(storage.final_state)
        storage.truncation_values.zero_()
        steps = len(storage.rewards)
        for t in range(steps):
            if t > 0 and self.should_stop():
                self._abort(t)
            for group in range(groups):
                if t > 0:
                    self._store(t - 1, group)
                actions = self.act(t, group)
                # The only wait for the device: nothing else can be done until actions are known.
                self.simulators.send(actions.cpu().numpy(), group)
        for group in range(groups):
            self._store(steps - 1, group)
        for name in ("rewards", "terminated", "truncated"):
            there, here = getattr(storage, name), getattr(self._host, name)
            if there is not here:
                there.copy_(here, non_blocking=True)
        return storage

    def _explore(self) -> None:
        if self._epsilons is not None:
            self.network.explore(self._epsilons(self.total_agent_steps))

    def _abort(self, t: int) -> NoReturn:
        """End a rollout before step t, so that the next one begins there."""
        storage = self.trajectory
        for group in range(len(self.simulators.groups)):
            self._store(t - 1, group)
        storage.observations[-1].copy_(storage.observations[t])
        storage.is_first[-1].copy_(storage.is_first[t])
        raise StopRequested

    def act(self, t: int, group: int) -> Tensor:
        """Return actions [b] or [b, A] for a group's simulators at step t of the rollout."""
        return self._policies[t][group]()

    def _policy(self, t: int, rows: slice) -> Captured[Tensor]:
        sample = partial(self._sample_actions, _step_of(self.trajectory, t, rows))
        return Captured(sample, self._device, self.generator)

    def _sample_actions(self, step: _Step) -> Tensor:
        """Choose actions on the trajectory's memory alone, so that a CUDA graph can record it."""
        observations, actions, state, log_probs, values, action_values, record, past_state = step
        if past_state is not None:
            past_state.copy_(state)
        if log_probs is None or values is None:
            return actions.copy_(self.network.act(observations, self.generator, state, record))
        output = self.network.act_and_evaluate(observations, self.generator, state)
        log_probs.copy_(output.log_probs)
        values.copy_(output.values)
        if action_values is not None and output.action_values is not None:
            action_values.copy_(output.action_values)
        return actions.copy_(output.actions)

    def _store(self, t: int, group: int) -> None:
        """Wait for a group's simulators and store the results of the actions of step t."""
        storage, host, answers = self.trajectory, self._host, self._answers
        rows = self.simulators.groups[group]
        transition: Transition = self.simulators.recv(group)
        beat()
        answers.observations[t + 1, rows] = transition.observations
        if host is not storage:
            following = host.observations[t + 1, rows]
            storage.observations[t + 1, rows].copy_(following, non_blocking=True)
        answers.rewards[t, rows] = transition.rewards
        answers.terminated[t, rows] = transition.terminated
        answers.truncated[t, rows] = transition.truncated
        if self._is_recurrent:
            self.network.observe_rewards(host.rewards[t, rows], storage.final_state[rows])
        if transition.final_observations is not None:
            self._bootstrap_truncated(t, rows, transition.truncated, transition.final_observations)
        self._reset_ended(t, rows)
        self.episodes.extend(transition.episodes)

    def _bootstrap_truncated(
        self, t: int, rows: slice, truncated: NDArray[np.bool_], finals: NDArray[np.generic]
    ) -> None:
        cut = torch.from_numpy(np.flatnonzero(truncated) + rows.start).to(self._device)
        observations = torch.from_numpy(finals[truncated]).to(self._device)
        values = self.network.values(observations, self.trajectory.final_state[cut])
        self.trajectory.truncation_values[t, cut] = values
        if self.trajectory.final_observations is not None:
            self.trajectory.final_observations[t, cut] = observations

    def _reset_ended(self, t: int, rows: slice) -> None:
        """Mark the first observations of new episodes, and reset the recurrent state there."""
        storage, host, answers = self.trajectory, self._host, self._answers
        np.logical_or(
            answers.terminated[t, rows],
            answers.truncated[t, rows],
            out=answers.is_first[t + 1, rows],
        )
        if host is not storage:
            is_first = host.is_first[t + 1, rows]
            storage.is_first[t + 1, rows].copy_(is_first, non_blocking=True)
        if self._is_recurrent:
            begins = storage.is_first[t + 1, rows].unsqueeze(-1)
            storage.final_state[rows].masked_fill_(begins, 0.0)

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
            tensors |= self._resume_point()
            for name, array in simulators.items():
                tensors[_SIMULATORS + name] = torch.from_numpy(np.array(array))
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `TrajectorySource`."""
        if "observations" not in tensors:
            return
        for name, tensor in self._resume_point().items():
            tensor.copy_(tensors[name])
        self.generator.set_state(tensors["generator"])
        self.simulators.set_state(
            {
                name.removeprefix(_SIMULATORS): tensor.numpy()
                for name, tensor in tensors.items()
                if name.startswith(_SIMULATORS)
            }
        )

    def _resume_point(self) -> dict[str, Tensor]:
        """Return where the last rollout stopped, by its names in checkpoints, as views."""
        storage = self.trajectory
        point = {"observations": storage.observations[-1]}
        if self._is_recurrent:
            point["state"] = storage.final_state
        if self._is_recurrent or storage.final_observations is not None:
            point["begins"] = storage.is_first[-1]
        return point

    def close(self) -> None:
        """See `TrajectorySource`."""
        self.simulators.close()


def _step_of(storage: Trajectory, t: int, rows: slice) -> _Step:
    return _Step(
        storage.observations[t, rows],
        storage.actions[t, rows],
        # During a rollout this is the state before the next observation.
        storage.final_state[rows],
        None if storage.log_probs is None else storage.log_probs[t, rows],
        None if storage.values is None else storage.values[t, rows],
        None if storage.action_values is None else storage.action_values[t, rows],
        None if storage.activations is None else storage.activations.at(t, rows),
        None if storage.states is None else storage.states[t, rows],
    )
