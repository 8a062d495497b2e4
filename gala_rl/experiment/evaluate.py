"""Evaluation: full games with the network of a checkpoint, scored by raw rewards."""

import math
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gala_rl.agent import beginning_of, build_model
from gala_rl.config import TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.envs import Simulators, make_simulators, seeded_generators
from gala_rl.errors import UserError
from gala_rl.experiment.caller import check_may_play, unchanged_caller
from gala_rl.experiment.preflight import check_evaluation
from gala_rl.flat import FlatParameters
from gala_rl.methods import resolve
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.saved import check_vector
from gala_rl.threads import forward_flop, threads_for

MAX_SIMULATORS = 16
MEAN = "mean"


@unchanged_caller()
def evaluate(
    run: str | Path,
    *,
    episodes: int = 10,
    policy: Literal["greedy", "sample"] = "greedy",
    learner: str = MEAN,
    seed: int = 0,
) -> dict[str, Any]:
    """Play full games with the policy of a run's newest checkpoint.

    Args:
        run: folder of the run.
        episodes: games a policy.
        policy: most probable actions, or random ones as in training.
        learner: a rank, "all" for each learner, or "mean" for the average of their parameters.
        seed: of games and actions.

    Returns:
        `results`, one entry a policy, with `mean_return`, `standard_error`, all `returns` (raw,
        full games) and `simulator_failures`, which end games as they stand, and what was evaluated.

    Raises:
        UserError: when there is no such run, checkpoint or learner, or nothing to play.
    """
    check_evaluation(run, episodes, learner, seed)
    config, saved = _newest(run)
    check_may_play(config)
    results = []
    size = beginning_of(config).parameters.numel()
    for name, parameters in _policies(saved, learner, size).items():
        with seeded_generators(seed):
            returns, failures = _play(config, parameters, episodes, policy == "greedy", seed)
        spread = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
        results.append(
            {
                "learner": name,
                "mean_return": float(np.mean(returns)),
                "standard_error": spread / math.sqrt(len(returns)),
                "min": min(returns),
                "max": max(returns),
                "returns": returns,
                "simulator_failures": failures,
            }
        )
    return {
        "run": str(run),
        "method": config.method,
        "env": config.env,
        "checkpoint": saved.path.name,
        "agent_steps": saved.agent_steps,
        "policy": policy,
        "episodes": episodes,
        "seed": seed,
        "results": results,
    }


@unchanged_caller()
def load_network(run: str | Path, learner: str = MEAN) -> ActorCritic:
    """The network of a run as its newest checkpoint has it, to act with.

    Args:
        run: folder of the run.
        learner: a rank, or "mean" for the average of the learners' parameters.

    Returns:
        The network, on the CPU. Its `greedy` and `sample` take observations [N, ...] as the run's
        simulators give them; `gala_rl.envs.actions.Decoder` makes an environment's action of one
        of theirs, which count from 0 if discrete and span a continuous space by -1 … 1.

    Raises:
        UserError: when there is no such run, checkpoint or learner.
    """
    check_evaluation(run, 1, learner)
    config, saved = _newest(run)
    if learner == "all":
        raise UserError("learner 'all' are several networks: give a rank or mean")
    with (
        seeded_generators(config.seed),
        closing(make_simulators(config.env, 1, 1, config.atari)) as simulators,
    ):
        network = build_model(config, simulators.observation, simulators.action)
    flat = FlatParameters(network)
    flat.load(_policies(saved, learner, flat.values.numel())[learner])
    return network


def _newest(run: str | Path) -> tuple[TrainConfig, Checkpoint]:
    folder = RunFolder(Path(run))
    config = resolve(folder.read_config())
    saved = checkpoint.newest(folder.checkpoints)
    if saved is None:
        raise UserError(f"{run} has no checkpoint yet: nothing to play")
    return config, saved


def _policies(saved: Checkpoint, learner: str, size: int) -> dict[str, Tensor]:
    """Parameter vectors [P], P = `size`, by the name under which they are reported."""
    ranks = saved.learners()

    def parameters_of(rank: int) -> Tensor:
        tensors = saved.load(rank).tensors
        check_vector(saved, tensors, "parameters", size)
        return tensors["parameters"]

    if learner == MEAN:
        return {MEAN: torch.stack([parameters_of(rank) for rank in ranks]).mean(dim=0)}
    if learner == "all":
        return {str(rank): parameters_of(rank) for rank in ranks}
    if not learner.isdigit() or int(learner) not in ranks:
        raise UserError(
            f"learner {learner!r} is not in {saved.path}: choose one of "
            f"{', '.join(map(str, ranks))}, all or mean"
        )
    return {learner: parameters_of(int(learner))}


def _play(
    config: TrainConfig, parameters: Tensor, episodes: int, greedy: bool, seed: int
) -> tuple[list[float], int]:
    """Returns of the games, and how many failures of simulators there were meanwhile."""
    count = min(episodes, MAX_SIMULATORS)
    processes = config.simulator_processes
    simulators = make_simulators(
        config.env,
        count,
        usable_cores(),
        config.atari,
        training=False,
        processes=None if processes is None else min(processes, count),
        deadline_s=config.simulator_deadline,
    )
    try:
        model = build_model(config, simulators.observation, simulators.action)
        FlatParameters(model).load(parameters)
        flop = count * forward_flop(model, simulators.observation)
        torch.set_num_threads(config.network_threads or threads_for(flop, usable_cores()))
        # Every simulator plays its share: taking the first games to end would favour short ones.
        shares = [episodes // count + (i < episodes % count) for i in range(count)]
        return _play_shares(simulators, model, shares, greedy, seed), simulators.failures
    finally:
        simulators.close()


@torch.no_grad()
def _play_shares(
    simulators: Simulators, model: ActorCritic, shares: list[int], greedy: bool, seed: int
) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    observations = simulators.reset(seed)
    state = model.initial_state(len(observations))
    returns: list[list[float]] = [[] for _ in shares]
    while any(len(played) < share for played, share in zip(returns, shares, strict=True)):
        batch = torch.from_numpy(observations)
        if greedy:
            actions = model.greedy(batch, state)
        else:
            actions = model.sample(batch, generator, state=state)
        transition = simulators.step(actions.numpy())
        if state is not None:
            state[torch.from_numpy(transition.terminated | transition.truncated)] = 0.0
        observations = transition.observations
        for episode in transition.episodes:
            if len(returns[episode.simulator]) < shares[episode.simulator]:
                returns[episode.simulator].append(episode.score)
    return [score for played in returns for score in played]
