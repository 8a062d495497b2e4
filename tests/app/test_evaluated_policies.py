"""Evaluation plays with the parameters that it was asked for, as they were trained."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from gala_rl import evaluate, load_network
from gala_rl.app.train import train
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.flat import FlatParameters
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import LearnerState
from gala_rl.records.run_folder import RunFolder
from gala_rl.spaces import ActionSpec, ObservationSpec
from tests.support.games import (
    LENGTH,
    NO,
    YES,
    make_run,
    parameters,
    save,
    scores,
)

pytestmark = pytest.mark.usefixtures("games")


class Metronome(ActorCritic):
    """Chooses 0 and 1 in turn, as it remembers."""

    def __init__(self) -> None:
        super().__init__(ObservationSpec((2,), False), ActionSpec(2, True), lstm_size=1)

    def greedy(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        assert state is not None
        actions = state[:, 0].long() % 2
        state[:, 0] += 1.0
        return actions

    def act(
        self,
        observations: Tensor,
        generator: torch.Generator,
        state: Tensor | None = None,
        record: object = None,
    ) -> Tensor:
        return self.greedy(observations, state)


class Contrary(Metronome):
    """Chooses 1 unless its last reward was 1."""

    def greedy(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        assert state is not None
        return 1 - state[:, 0].long()

    def observe_rewards(self, rewards: Tensor, state: Tensor) -> None:
        state[:, 0] = rewards


def test_each_learner_is_played_with_its_own_parameters(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", NO, YES, NO)
    expected = {"0": [0.0, 0.0], "1": [7.0, 7.0], "2": [0.0, 0.0]}
    assert scores(run, learner="all", episodes=2) == expected
    for name, returns in expected.items():
        assert scores(run, learner=name, episodes=2) == {name: returns}


@pytest.mark.parametrize(
    ("learners", "score"),
    [
        # The mean of the parameters says 1 though most learners, and the first, say 0.
        ([(1.0, 0.0), (1.0, 0.0), (0.0, 3.0)], 7.0),
        # The mean says 0 though the last learner says 1.
        ([(2.0, 0.0), (2.0, 0.0), (0.0, 3.0)], 0.0),
    ],
)
def test_the_mean_is_the_average_of_all_parameters(
    tmp_path: Path, learners: list[tuple[float, float]], score: float
) -> None:
    run = make_run(tmp_path / "run", *learners)
    assert scores(run, episodes=1) == {"mean": [score]}


def test_greedy_is_the_most_probable_action_and_sample_follows_the_probabilities(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", (0.0, 0.5))
    assert set(scores(run, episodes=20)["mean"]) == {7.0}
    sampled = scores(run, episodes=200, policy="sample")["mean"]
    probability = 1 / (1 + np.exp(-0.5))
    error = np.sqrt(probability * (1 - probability) / (200 * LENGTH))
    assert abs(np.mean(sampled) / LENGTH - probability) < 5 * error


def test_the_newest_whole_checkpoint_is_played(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", NO)
    save(run, 200, YES, env="Obedient-v0")
    assert evaluate(run, episodes=1)["agent_steps"] == 200
    assert scores(run, episodes=1) == {"mean": [7.0]}
    manifest = RunFolder(run).checkpoints / "step_000000000200" / "manifest.json"
    manifest.write_text("{")
    assert evaluate(run, episodes=1)["checkpoint"] == "step_000000000100"
    assert scores(run, episodes=1) == {"mean": [0.0]}


def test_a_learner_that_is_not_in_the_checkpoint_cannot_be_played(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    config = resolve(TrainConfig(env="Obedient-v0", learners=2))
    run.create(config)
    partial = checkpoint.partial_folder(run.checkpoints, "test")
    tensors = {"parameters": parameters(config, YES)}
    checkpoint.write_part(partial, 0, LearnerState(tensors, {}))
    checkpoint.complete(partial, 100, [100, 0], 3)
    with pytest.raises(UserError, match=r"'1' is not in .*choose one of 0, all or mean"):
        evaluate(run.path, learner="1")


def test_without_a_checkpoint_there_is_nothing_to_play(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").create(TrainConfig(env="Obedient-v0", learners=1))
    with pytest.raises(UserError, match="no checkpoint yet"):
        evaluate(tmp_path / "run")


@pytest.mark.parametrize(
    ("learner", "logits"), [("0", NO), ("1", (2.0, 5.0)), ("mean", (5.5, 2.5))]
)
def test_a_network_is_loaded_with_the_parameters_of_who_was_named(
    tmp_path: Path, learner: str, logits: tuple[float, float]
) -> None:
    network = load_network(make_run(tmp_path / "run", NO, (2.0, 5.0)), learner)
    expected = parameters(resolve(TrainConfig(env="Obedient-v0", learners=2)), logits)
    assert torch.equal(FlatParameters(network).values, expected)
    assert network.greedy(torch.zeros(3, 2)).tolist() == [int(logits[1] > logits[0])] * 3


def test_all_learners_are_no_network(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'all' are several networks: give a rank or mean"):
        load_network(make_run(tmp_path / "run", NO, YES), "all")


@pytest.mark.parametrize("policy", ["greedy", "sample"])
def test_a_recurrent_policy_remembers_within_a_game_and_forgets_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    run = make_run(tmp_path / "run", YES, env="Alternating-v0")
    monkeypatch.setattr("gala_rl.app.games.build_model", lambda *_: Metronome())
    monkeypatch.setattr(FlatParameters, "load", lambda self, values: None)
    assert scores(run, episodes=40, policy=policy)["mean"] == [float(LENGTH)] * 40


def test_a_policy_may_see_the_rewards_of_its_game_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", YES)
    monkeypatch.setattr("gala_rl.app.games.build_model", lambda *_: Contrary())
    monkeypatch.setattr(FlatParameters, "load", lambda self, values: None)
    # 1, 0, 1, 0, 1, 0, 1 in every game: the last reward of a game is 1 and must be forgotten.
    assert scores(run, episodes=40)["mean"] == [4.0] * 40


def test_a_policy_sees_by_the_moments_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.config.resolved.usable_cores", lambda: 1)
    settings = A2CSettings(
        rollout_steps=10, entropy_cost=0.0, normalize_observations=True, normalize_rewards=True
    )
    config = TrainConfig(
        method="gala-a2c",
        env="tests.environments:Unscaled-v0",
        learners=2,
        simulators=4,
        steps=16_000,
        serial=True,
        out=str(tmp_path / "run"),
        algorithm=replace(settings, learning_rate=5e-3, learning_rate_schedule="linear"),
    )
    train(config, Console(file=io.StringIO()))
    # Without them it would see the same in every game: one side of it would pay nothing.
    for returns in scores(tmp_path / "run", learner="all", episodes=40).values():
        assert np.mean(returns) > 4500
    assert np.mean(scores(tmp_path / "run", episodes=40)["mean"]) > 4500
