"""Shows games of a run's policy in a window, at the speed at which a person would play."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from gala_rl.app.caller import unchanged_caller
from gala_rl.app.game_limit import game_limit
from gala_rl.app.policies import MEAN, network_of, selected_checkpoint
from gala_rl.app.preflight import Policy, check_evaluation
from gala_rl.app.window import Window
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import make_simulators, preserve_working_directory, seeded_generators
from gala_rl.envs.screens import Image, Screen, open_screen
from gala_rl.models.network import Network
from gala_rl.records.metrics import score_text


@unchanged_caller()
def watch(
    run: str | Path,
    *,
    episodes: int | None = None,
    policy: Policy = "greedy",
    learner: str = MEAN,
    seed: int = 0,
) -> list[float]:
    """Show games in a window until it is closed, each with the checkpoint that is newest then.

    Args:
        run: folder of the run, which may be in training.
        episodes: number of games; default: no end.
        policy: "greedy" or "sample", as in `evaluate`.
        learner: a rank, or "mean" for the average of the learners' parameters.
        seed: seed of the first game and of random actions.

    Returns:
        The scores of the games that were over.

    Raises:
        UserError: when there is no such run, checkpoint or learner, no display, or the environment
            has no screen.
    """
    check_evaluation(run, episodes or 1, learner, seed)
    config, saved = selected_checkpoint(run)
    network_of(config, saved, learner)
    window = Window(config.env, f"make a video with gala evaluate {run} --video game.mp4")
    scores: list[float] = []
    try:
        with seeded_generators(seed), preserve_working_directory():
            screen = open_screen(config.source)
            try:
                while window.is_open and (episodes is None or len(scores) < episodes):
                    config, saved = selected_checkpoint(run)
                    network = network_of(config, saved, learner)
                    score = _show_game(config, network, screen, window, policy, seed + len(scores))
                    if score is None:
                        break
                    scores.append(score)
            finally:
                screen.close()
    finally:
        window.close()
    return scores


def _show_game(
    config: ResolvedConfig,
    network: Network,
    screen: Screen,
    window: Window,
    policy: Policy,
    seed: int,
) -> float | None:
    """Return the score of a game; None if the window was closed before its end."""
    score, due = 0.0, time.monotonic()
    for image, reward in _play(config, network, screen, policy, seed):
        score += reward
        window.show(image, f"{config.env}, score {score_text(score)}")
        if not window.is_open:
            return None
        due = max(due + 1 / screen.images_per_second, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
    return score


@torch.no_grad()
def _play(
    config: ResolvedConfig, network: Network, screen: Screen, policy: Policy, seed: int
) -> Iterator[tuple[Image, float]]:
    """Yield images and rewards of one game: a simulator for the network, and one with a screen."""
    simulators = make_simulators(config.source, 1, 1, training=False)
    generator = torch.Generator().manual_seed(seed)
    choose = network.greedy if policy == "greedy" else partial(network.act, generator=generator)
    try:
        observations, state = simulators.reset(seed), network.initial_state(1)
        yield screen.reset(seed)[-1], 0.0
        for _ in range(game_limit(config, None)):
            actions = choose(torch.from_numpy(observations), state=state)
            transition = simulators.step(actions.numpy())
            network.observe_rewards(torch.from_numpy(transition.rewards), state)
            observations = transition.observations
            for image in screen.step(actions[0].numpy())[0]:
                yield image, float(transition.rewards[0])
            if transition.episodes:
                return
            state[torch.from_numpy(transition.terminated | transition.truncated)] = 0.0
    finally:
        simulators.close()
