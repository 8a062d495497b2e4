"""Evaluation plays the games it was asked for, with the parameters it was asked for."""

import io
import json
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from gala_lab.main import main
from gala_rl import evaluate, load_network
from gala_rl.agent import build_model
from gala_rl.app.evaluate import MAX_SIMULATORS
from gala_rl.app.game_limit import game_limit
from gala_rl.app.train import train
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.settings import AtariProtocol
from gala_rl.config.train import TrainConfig
from gala_rl.envs import make_simulators
from gala_rl.errors import UserError
from gala_rl.flat import FlatParameters
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import LearnerState
from gala_rl.records.run_folder import RunFolder
from gala_rl.spaces import ActionSpec, ObservationSpec

LENGTH = 7


class Obedient(gymnasium.Env[NDArray[np.float32], int]):
    """Reward 1 for action 1 and 0 for action 0, seven steps a game: the score is the policy."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)  # type: ignore[assignment]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.left = self.length()
        return np.zeros(2, dtype=np.float32), {}

    def length(self) -> int:
        return LENGTH

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return np.zeros(2, dtype=np.float32), float(action), self.left == 0, False, {}


class ShortOrLong(Obedient):
    """Games of 1 or of 60 steps, as chance has it."""

    def length(self) -> int:
        return int(self.np_random.choice([1, 60]))


class Endless(Obedient):
    """Games whose end nobody lives to see."""

    def length(self) -> int:
        return 10**9


class Interrupted(Obedient):
    """As if the user pressed Ctrl-C in the third game of each simulator."""

    game = 0

    def length(self) -> int:
        self.game += 1
        return LENGTH

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self.game == 3:
            signal.raise_signal(signal.SIGINT)
        return super().step(action)


class Crashing(Obedient):
    """Raises at the third step of every other game, as chance has it."""

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self.left == LENGTH - 2 and self.np_random.random() < 0.5:
            raise RuntimeError("as it does now and then")
        return super().step(action)


class Alternating(Obedient):
    """Reward 1 for a 0 at the first step of a game, a 1 at the second, and so on in turn.

    Games end, or are cut, after an odd number of steps: whoever goes on counting is wrong.
    """

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        right = action == (LENGTH - self.left) % 2
        self.left -= 1
        ends, cut = self.np_random.permutation([self.left == 0, False])
        return np.zeros(2, dtype=np.float32), float(right), bool(ends), bool(cut), {}


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


KINDS = {
    "Obedient-v0": Obedient,
    "ShortOrLong-v0": ShortOrLong,
    "Alternating-v0": Alternating,
    "Crashing-v0": Crashing,
    "Endless-v0": Endless,
    "Interrupted-v0": Interrupted,
}


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    threads = torch.get_num_threads()
    for name, kind in KINDS.items():
        gymnasium.register(name, kind, disable_env_checker=True)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gala_rl.app.evaluate.usable_cores", lambda: 1)
        yield
    for name in KINDS:
        del gymnasium.registry[name]
    torch.set_num_threads(threads)


def parameters(config: ResolvedConfig, biases: tuple[float, float]) -> torch.Tensor:
    """A network that looks at nothing and has these logits."""
    simulators = make_simulators(config.env, 1, 1, AtariProtocol())
    model = build_model(config, simulators.observation, simulators.action)
    simulators.close()
    flat = FlatParameters(model)
    flat.values.zero_()
    logits = [p for p in model.parameters() if p.shape == (2,)]
    assert len(logits) == 1
    with torch.no_grad():
        logits[0].copy_(torch.tensor(biases))
    return flat.values


def save(folder: Path, agent_steps: int, *learners: tuple[float, float], env: str) -> None:
    config = resolve(TrainConfig(env=env, learners=len(learners)))
    run = RunFolder(folder)
    if not run.exists:
        run.create(config)
    partial = checkpoint.partial_folder(run.checkpoints, "test")
    for rank, biases in enumerate(learners):
        tensors = {"parameters": parameters(config, biases)}
        checkpoint.write_part(partial, rank, LearnerState(tensors, {}))
    checkpoint.complete(partial, agent_steps, [agent_steps] * len(learners), 3)


def make_run(folder: Path, *learners: tuple[float, float], env: str = "Obedient-v0") -> Path:
    save(folder, 100, *learners, env=env)
    return folder


def scores(run: Path, **options: Any) -> dict[str, list[float]]:
    return {r["learner"]: r["returns"] for r in evaluate(run, **options)["results"]}


NO, YES = (9.0, 0.0), (0.0, 9.0)


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


@pytest.mark.parametrize("episodes", [1, 5, MAX_SIMULATORS, 2 * MAX_SIMULATORS + 3])
def test_as_many_games_are_played_as_were_asked_for(tmp_path: Path, episodes: int) -> None:
    run = make_run(tmp_path / "run", YES, NO)
    result = evaluate(run, episodes=episodes, learner="all")
    assert [len(row["returns"]) for row in result["results"]] == [episodes, episodes]
    assert result["episodes"] == episodes


def test_short_games_are_not_favoured(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", YES, env="ShortOrLong-v0")
    returns = scores(run, episodes=MAX_SIMULATORS)["mean"]
    assert set(returns) == {1.0, 60.0}
    # The first sixteen games to end would nearly all be short.
    assert returns.count(60.0) >= 5


def test_greedy_is_the_most_probable_action_and_sample_follows_the_probabilities(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", (0.0, 0.5))
    assert set(scores(run, episodes=20)["mean"]) == {7.0}
    sampled = scores(run, episodes=200, policy="sample")["mean"]
    probability = 1 / (1 + np.exp(-0.5))
    error = np.sqrt(probability * (1 - probability) / (200 * LENGTH))
    assert abs(np.mean(sampled) / LENGTH - probability) < 5 * error


def test_games_that_a_simulator_s_failure_ended_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One simulator, so that no game is played that is not asked for.
    monkeypatch.setattr("gala_rl.app.evaluate.MAX_SIMULATORS", 1)
    run = make_run(tmp_path / "run", YES, env="Crashing-v0")
    (result,) = evaluate(run, episodes=20)["results"]
    assert set(result["returns"]) == {2.0, 7.0}
    assert result["simulator_failures"] == result["returns"].count(2.0)
    assert main(["evaluate", str(run), "--episodes", "20"]) == 0
    assert f"simulator failures: {result['simulator_failures']};" in capsys.readouterr().out
    sound = make_run(tmp_path / "sound", YES)
    assert evaluate(sound, episodes=2)["results"][0]["simulator_failures"] == 0
    assert main(["evaluate", str(sound), "--episodes", "2"]) == 0
    assert "failures" not in capsys.readouterr().out


@pytest.mark.parametrize("episodes", [3, MAX_SIMULATORS + 3])
def test_games_that_do_not_end_are_cut_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], episodes: int
) -> None:
    run = make_run(tmp_path / "run", YES, env="Endless-v0")
    result = evaluate(run, episodes=episodes, max_steps=50)
    assert result["max_steps"] == 50
    assert result["results"][0]["returns"] == [50.0] * episodes
    assert result["results"][0]["games_cut"] == episodes
    command = ["evaluate", str(run), "--episodes", str(episodes), "--max-steps", "50"]
    assert main(command) == 0
    assert f"games cut after 50 agent steps (--max-steps): {episodes};" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result


def test_games_that_end_are_not_cut_though_others_are(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", YES, env="ShortOrLong-v0")
    (result,) = evaluate(run, episodes=2 * MAX_SIMULATORS + 3, max_steps=30)["results"]
    assert len(result["returns"]) == 2 * MAX_SIMULATORS + 3
    assert set(result["returns"]) == {1.0, 30.0}
    assert result["games_cut"] == result["returns"].count(30.0)
    (whole,) = evaluate(run, episodes=MAX_SIMULATORS, max_steps=60)["results"]
    assert (set(whole["returns"]), whole["games_cut"]) == ({1.0, 60.0}, 0)


def test_by_default_games_have_as_many_steps_as_the_emulator_gives_them() -> None:
    long = replace(AtariProtocol(), frame_skip=3, max_episode_frames=1_000)
    atari = TrainConfig(env="ALE/Pong-v5", atari=long)
    assert game_limit(atari, None) == 334
    assert game_limit(atari, 5) == 5
    assert game_limit(TrainConfig(env="ALE/Pong-v5"), None) == 27_000
    assert game_limit(TrainConfig(env="Endless-v0", atari=long), None) == 27_000


def test_ctrl_c_shows_the_games_that_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gala_rl.app.evaluate.MAX_SIMULATORS", 1)
    run = make_run(tmp_path / "run", YES, NO, env="Interrupted-v0")
    result = evaluate(run, episodes=20, learner="all")
    assert result["interrupted"]
    assert [(row["learner"], row["returns"]) for row in result["results"]] == [("0", [7.0, 7.0])]
    assert main(["evaluate", str(run), "--learner", "0", "--episodes", "20"]) == 130
    printed = capsys.readouterr().out
    assert "stopped before all 20 games of each policy were over: long games are missing" in printed
    assert "7.00" in printed
    assert main(["evaluate", str(run), "--learner", "0", "--episodes", "2"]) == 0
    assert "stopped" not in capsys.readouterr().out


def test_ctrl_c_in_the_first_game_says_that_none_was_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Interrupted, "game", 2)
    run = make_run(tmp_path / "run", YES, env="Interrupted-v0")
    assert main(["evaluate", str(run), "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["results"] == []
    assert main(["evaluate", str(run)]) == 130
    assert capsys.readouterr().out == (
        "stopped before all 10 games of each policy were over: --max-steps cuts long ones\n"
    )


@pytest.mark.parametrize("terminal", [False, True])
def test_an_evaluation_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr("gala_rl.app.progress._PLAIN_LINE_EVERY_S", 0.0)
    monkeypatch.setattr("gala_rl.app.progress._REDRAW_EVERY_S", 0.0)
    run = make_run(tmp_path / "run", YES, NO)
    file = io.StringIO()
    evaluate(run, episodes=2, learner="all", console=Console(file=file, force_terminal=terminal))
    assert "0 of 4 games over | agent steps 2 | " in file.getvalue() or terminal
    for words in ("2 of 4 games over | agent steps 14 | ", "4 of 4 games over | agent steps 28 |"):
        assert words in file.getvalue() or terminal
    assert "games over" in file.getvalue() or "playing" in file.getvalue()


def test_a_short_evaluation_prints_nothing_but_its_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(make_run(tmp_path / "run", YES)), "--episodes", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "games" in printed.out


def test_the_seed_decides_the_games(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0.0, 0.0))
    options: dict[str, Any] = {"episodes": 20, "policy": "sample"}
    first = scores(run, seed=1, **options)
    assert scores(run, seed=1, **options) == first
    assert scores(run, seed=2, **options) != first


def test_statistics_fit_the_returns(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0.0, 0.0))
    result = evaluate(run, episodes=9, policy="sample")["results"][0]
    returns = result["returns"]
    assert result["mean_return"] == pytest.approx(np.mean(returns))
    assert result["standard_error"] == pytest.approx(np.std(returns, ddof=1) / 3)
    assert (result["min"], result["max"]) == (min(returns), max(returns))


def test_one_game_has_no_spread(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", YES)
    assert evaluate(run, episodes=1)["results"][0]["standard_error"] is None


def test_the_newest_whole_checkpoint_is_played(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", NO)
    save(run, 200, YES, env="Obedient-v0")
    assert evaluate(run, episodes=1)["agent_steps"] == 200
    assert scores(run, episodes=1) == {"mean": [7.0]}
    manifest = RunFolder(run).checkpoints / "step_000000000200" / "manifest.json"
    manifest.write_text("{")
    assert evaluate(run, episodes=1)["checkpoint"] == "step_000000000100"
    assert scores(run, episodes=1) == {"mean": [0.0]}


def test_nothing_is_written_by_playing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", YES)
    before = sorted(run.rglob("*"))
    evaluate(run, episodes=1)
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learner": "2"}, "'2' is unknown: choose 0, 1, all or mean"),
        ({"episodes": 0}, "episodes 0 is too small"),
        ({"seed": -1}, "seed -1 is impossible"),
        ({"max_steps": 0}, "max_steps 0 is too small"),
    ],
)
def test_what_cannot_be_played_is_refused(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    run = make_run(tmp_path / "run", YES, NO)
    with pytest.raises(UserError, match=words):
        evaluate(run, **options)


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
    monkeypatch.setattr("gala_rl.app.evaluate.build_model", lambda *_: Metronome())
    monkeypatch.setattr(FlatParameters, "load", lambda self, values: None)
    assert scores(run, episodes=40, policy=policy)["mean"] == [float(LENGTH)] * 40


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


def test_games_that_draw_from_global_generators_are_the_same_twice_and_disturb_nobody(
    tmp_path: Path,
) -> None:
    config = TrainConfig(
        method="a2c",
        env="tests.environments:DrawingGlobally-v0",
        simulators=2,
        steps=20,
        serial=True,
        out=str(tmp_path / "run"),
    )
    before = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    train(config, Console(file=io.StringIO()))
    load_network(tmp_path / "run")
    first = scores(tmp_path / "run", episodes=4, seed=1)
    assert (random.getstate(), repr(np.random.get_state())) == before  # noqa: NPY002
    random.random()
    assert scores(tmp_path / "run", episodes=4, seed=1) == first
    assert scores(tmp_path / "run", episodes=4, seed=2) != first
