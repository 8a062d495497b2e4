"""An agent of GALA: actor, learner and gossip, combined as in Algorithm 1 of the paper."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.actors import ActorProcesses, RemoteActors
from gala_rl.actors.exploration import epsilons_of
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import Simulators, make_simulators, worker_timeouts
from gala_rl.flat import FlatParameters, learned_size
from gala_rl.gossip import Gossip
from gala_rl.gossip.journal import JournalWriter
from gala_rl.gossip.topology import isolated, resolve_when
from gala_rl.gossip.transports import Transport
from gala_rl.graph import graph_of
from gala_rl.learners.learner import Coupling, Learner, RolloutSource, UpdateMetrics, make_learner
from gala_rl.learners.normalizer import Normalizer
from gala_rl.learners.optimizers import state_size
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.models.initial import load_optimizer, with_initial
from gala_rl.models.network import Network
from gala_rl.models.observation_torso import torso_settings
from gala_rl.models.q_network import QNetwork, Support
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.threads import Threads, forward_flop, learner_threads, threads_set_to
from gala_rl.trajectory_source import StopRequested, TrajectorySource, never


@dataclass
class Timings:
    """Total seconds spent in each part of `Agent.step`."""

    rollout_s: float = 0.0
    update_s: float = 0.0
    gossip_s: float = 0.0


class Agent:
    """An actor-learner that gossips.

    "Gossip-based Actor-Learner Architectures for Deep Reinforcement Learning", Assran et al.
    2019, Algorithm 1.

    Attributes:
        source: source of trajectories.
        normalizer: updates the network's running moments, if it has any.
        threads: PyTorch's threads while the network acts and while it learns.
        journal: records updates and mixes for the consensus monitor; None if there is none.
        updates: updates made by the learner, each from one trajectory.
        agent_steps: agent steps made in its own simulators.
        timings: time spent so far.
        should_stop: called between rollout and update; whether to drop the rollout and stop.
    """

    def __init__(
        self,
        source: TrajectorySource,
        learner: Learner,
        gossip: Gossip,
        normalizer: Normalizer,
        threads: Threads,
        journal: JournalWriter | None = None,
    ) -> None:
        self.source = source
        self.learner = learner
        self.gossip = gossip
        self.normalizer = normalizer
        self.threads = threads
        self.journal = journal
        self.updates = 0
        self.agent_steps = 0
        self.timings = Timings()
        self.should_stop: Callable[[], bool] = never

    @property
    def actor(self) -> Actor:
        """The source of trajectories, if it is an actor in this process."""
        if not isinstance(self.source, Actor):
            raise TypeError(f"{type(self.source).__name__} acts in other processes")
        return self.source

    def step(self, learning_rate: float) -> UpdateMetrics:
        """Make one iteration: collect, update, send, and mix if messages have arrived.

        Raises:
            StopRequested: when the learner was asked to stop before the update began.
            FloatingPointError: when the gradient is not finite; the parameters are lost then.
        """
        start = time.perf_counter()
        torch.set_num_threads(self.threads.acting)
        trajectory = self.source.collect()
        if self.should_stop():
            raise StopRequested
        torch.set_num_threads(self.threads.learning)
        self.normalizer.scale_rewards(trajectory)
        acted = time.perf_counter()
        metrics = self.learner.update(trajectory, learning_rate, self._outbox())
        self.updates += 1
        self.agent_steps += trajectory.agent_steps
        if not math.isfinite(metrics.grad_norm):
            raise FloatingPointError(
                f"the gradient of update {self.updates} is not finite: {metrics}"
            )
        learned = time.perf_counter()
        self._exchange(float(metrics.update_norm))
        self.normalizer.absorb(trajectory)
        self.timings.rollout_s += acted - start
        self.timings.update_s += learned - acted
        self.timings.gossip_s += time.perf_counter() - learned
        return metrics

    def _exchange(self, update_norm: float) -> None:
        # An update is in the journal before any other learner can mix it.
        if self.journal is not None:
            self.journal.update(self.updates, update_norm)
        self.gossip.exchange(self.updates)
        if self.journal is not None and self.gossip.last_mixed:
            self.journal.mix(self.updates, self.gossip.last_mixed, self.gossip.mixed_at_s)

    def _outbox(self) -> Tensor | None:
        """Return memory for the new parameters, if a message consists only of them."""
        if self.gossip.parameters is not self.learner.flat.values:
            return None
        return self.gossip.outbox()


def build_model(
    config: ResolvedConfig, observation: ObservationSpec, action: ActionSpec
) -> Network:
    """Return the network with its initial parameters: those of `config.seed`, or `init_from`."""
    # Orthogonal matrices differ in their last bits by the number of threads that compute them.
    with torch.random.fork_rng(devices=[]), threads_set_to(1):
        # Not `torch.manual_seed`, which seeds the generators of GPUs too.
        torch.default_generator.manual_seed(config.seed)
        algorithm, lstm_size = config.algorithm, config.lstm_size or None
        model: Network
        if algorithm.learns_action_values:
            model = QNetwork(
                observation,
                action,
                lstm_size=lstm_size,
                support=None if algorithm.support is None else Support(*algorithm.support),
                bfloat16=config.precision == "bfloat16",
                torso=torso_settings(config),
            )
        else:
            model = ActorCritic(
                observation,
                action,
                lstm_size=lstm_size,
                bfloat16=config.precision == "bfloat16",
                torso=torso_settings(config),
                normalize_observations=algorithm.normalizes_observations,
                normalize_rewards=algorithm.normalizes_rewards,
            )
    return with_initial(config, model)


class InitialParameters(NamedTuple):
    """Initial parameters, equal for all learners of a run, and their sizes.

    Attributes:
        parameters: [P].
        learned: length of the first part of them, which gradients change.
        frames_per_step: environment frames of an agent step.
        parameter_count: number of parameters of the network, without the padding that P includes.
    """

    parameters: Tensor
    learned: int
    frames_per_step: int
    parameter_count: int


def initial_parameters_of(config: ResolvedConfig) -> InitialParameters:
    """Build the network once and return its initial parameters."""
    environment = config.environment
    model = build_model(config, environment.observation, environment.action)
    flat, frames_per_step = FlatParameters(model), environment.frames_per_step
    return InitialParameters(flat.values, learned_size(model), frames_per_step, flat.count)


def message_size(config: ResolvedConfig, parameters: int) -> int:
    """Return the length of a gossip message: P, or P + S with the optimizer's state."""
    if not config.gossip.mix_optimizer:
        return parameters
    return parameters + state_size(config.algorithm, parameters)


def acts_in_process(config: ResolvedConfig) -> bool:
    """Return whether a learner acts in its own process, between updates."""
    return config.serial or not config.algorithm.acts_in_processes


def simulator_groups(config: ResolvedConfig, device: torch.device) -> int:
    """Return the number of simulator groups: by default 2 if that hides the network's time."""
    if config.simulator_groups is not None:
        return config.simulator_groups
    if config.algorithm.learns_action_values:
        return 1
    both_work = (
        device.type == "cuda" and config.environment.backend == "ale" and config.simulators > 1
    )
    return 2 if both_work else 1


def build_agent(
    config: ResolvedConfig,
    rank: int,
    transport: Transport,
    device: torch.device,
    seed: int,
    journal: JournalWriter | None = None,
    coupling: Coupling | None = None,
    remote_actors: RemoteActors | None = None,
) -> Agent:
    """Build the agent of one learner.

    Args:
        config: config of the run. Its seed determines the initial parameters of all learners.
        rank: rank of the learner.
        transport: sends and receives its messages.
        device: torch device of the learner.
        seed: seed of its simulators and actions.
        journal: records updates and mixes; None: no consensus monitor.
        coupling: coupling to other learners, instead of gossip.
        remote_actors: its actors on other machines.
    """
    simulators = _make_simulators(config, device)
    network = build_model(config, simulators.observation, simulators.action).to(device)
    algorithm = config.algorithm
    learner = make_learner(
        network,
        algorithm,
        initial_learning_rate=config.initial_learning_rate,
        seed=seed,
        coupling=coupling,
        source=RolloutSource(config.simulators, simulators.observation, config.frame_stack),
    )
    load_optimizer(config, learner.optimizer.state)
    source: TrajectorySource
    if acts_in_process(config):
        source = Actor(
            simulators,
            network,
            algorithm.rollout_steps,
            seed,
            with_behaviour=algorithm.needs_behaviour,
            for_replay=algorithm.learns_action_values,
            stagger=config.stagger,
            epsilons=epsilons_of(config, rank, range(config.simulators)),
        )
    else:
        make_model, parameters = partial(build_model, config), learner.flat.values
        source = ActorProcesses(
            config, rank, make_model, parameters, simulators, seed, remote_actors
        )
    gossip = _make_gossip(config, rank, transport, learner, gossips=coupling is None)
    counting: Callable[[], AbstractContextManager[None]] = nullcontext
    if coupling is not None:
        counting = partial(coupling.counting, learner.flat.values[learned_size(network) :])
    normalizer = Normalizer(network, algorithm.discount, source.trajectory, counting)
    flop = forward_flop(network, simulators.observation)
    threads = learner_threads(config, flop, device)
    return Agent(source, learner, gossip, normalizer, threads, journal)


def _make_simulators(config: ResolvedConfig, device: torch.device) -> Simulators:
    """Build the learner's simulators, or one as an example for its actor processes."""
    in_process, processes = acts_in_process(config), config.simulator_processes
    return make_simulators(
        config.source,
        config.simulators if in_process else 1,
        config.simulator_threads or config.threads_per_learner(),
        groups=simulator_groups(config, device) if in_process else 1,
        processes=processes if in_process or processes is None else 1,
        timeouts=worker_timeouts(config),
    )


def _make_gossip(
    config: ResolvedConfig, rank: int, transport: Transport, learner: Learner, *, gossips: bool
) -> Gossip:
    return Gossip(
        learner.state if config.gossip.mix_optimizer else learner.flat.values,
        transport,
        rank,
        graph_of(config, config.learners) if gossips else isolated(config.learners),
        when=resolve_when(config.gossip.when, config.gossip.topology_name),
        max_staleness=config.gossip.max_staleness,
        deadline_s=config.gossip.deadline,
    )
