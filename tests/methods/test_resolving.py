"""Methods fill in what a config leaves open and refuse what they cannot do."""

import dataclasses
from typing import Any

import pytest

from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods import find, resolving
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.ppo import PPOSettings


@pytest.mark.parametrize(("cores", "learners"), [(1, 2), (2, 2), (6, 6), (8, 8), (96, 8)])
def test_gala_has_a_learner_for_each_core_within_reason(
    monkeypatch: pytest.MonkeyPatch, cores: int, learners: int
) -> None:
    monkeypatch.setattr(resolving, "usable_cores", lambda: cores)
    assert resolving.resolve(TrainConfig(method="gala-a2c")).learners == learners


def test_a2c_has_one_learner_on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "usable_cores", lambda: 96)
    assert resolving.resolve(TrainConfig(method="a2c")).learners == 1


@pytest.mark.parametrize("learners", [1, 3, 16])
def test_a_given_number_of_learners_stays(learners: int) -> None:
    assert resolving.resolve(TrainConfig(method="gala-a2c", learners=learners)).learners == learners


def test_nothing_else_is_changed_and_the_given_config_stays_as_it_was() -> None:
    config = TrainConfig(method="a2c", seed=9, env="CartPole-v1")
    resolved = resolving.resolve(config)
    left_open = {"steps", "learners", "simulators", "algorithm", "stagger", "lstm_size"}
    for entry in dataclasses.fields(TrainConfig):
        if entry.name not in left_open:
            assert getattr(resolved, entry.name) == getattr(config, entry.name)
    assert config.learners is None


def test_a2c_with_several_learners_is_refused_with_the_remedy() -> None:
    with pytest.raises(UserError, match=r"learners 4 is too many: a2c.*gala-a2c trains several"):
        resolving.resolve(TrainConfig(method="a2c", learners=4))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gala-a2", "did you mean gala-a2c?"),
        ("A2C", "did you mean a2c?"),
        ("SAC", "learn on-policy or Q(x, a); choose one of gala-a2c, a2c"),
        ("", "choose one of gala-a2c, a2c"),
    ],
)
def test_an_unknown_method_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(UserError) as refusal:
        resolving.resolve(TrainConfig(method=name))
    assert f"method {name!r} is unknown" in str(refusal.value)
    assert hint in str(refusal.value)


def test_some_settings_are_changed_and_the_rest_stay_the_methods_own_there() -> None:
    config = TrainConfig(method="ppo", env="CartPole-v1")
    changed = resolving.with_settings(config, {"epochs": 4})
    preset: Any = find("ppo").settings("discrete")
    assert changed.algorithm == dataclasses.replace(preset, epochs=4)
    assert changed.algorithm != PPOSettings(epochs=4), "Atari's, which a config of its own has"
    again = resolving.with_settings(changed, {"discount": 0.9}).algorithm
    assert again == dataclasses.replace(preset, epochs=4, discount=0.9)


def test_a_setting_of_no_method_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        UserError, match=r"lr is not a setting of a2c: it has rollout_steps, .*rate"
    ):
        resolving.with_settings(TrainConfig(method="a2c", env="CartPole-v1"), {"lr": 1e-3})


@pytest.mark.parametrize(("cores", "workers"), [(1, 4), (6, 6), (96, 16)])
def test_a3c_has_a_worker_a_core_with_one_simulator_each(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr(resolving, "usable_cores", lambda: cores)
    config = resolving.resolve(TrainConfig(method="a3c"))
    assert (config.learners, config.simulators) == (workers, 1)


def test_a_learning_rate_grows_with_the_batch_of_a_step_and_not_with_who_else_steps() -> None:
    def rate(method: str, learners: int) -> float:
        config = TrainConfig(method=method, learners=learners)
        return resolving.resolve(config).initial_learning_rate

    assert rate("a2c-allreduce", 4) == 2 * rate("a2c-allreduce", 1)
    for method in ("a2c-async", "a3c"):
        assert rate(method, 4) == rate(method, 1)


def test_the_paper_preset_has_the_rule_of_the_paper_and_replaces_nothing_else() -> None:
    own, paper = (
        resolving.resolve(TrainConfig(method="gala-a2c", learners=4, preset=preset))
        for preset in ("tuned", "paper")
    )
    assert own.initial_learning_rate == pytest.approx(4 * 7e-4)
    assert paper.initial_learning_rate == pytest.approx(2 * 7e-4)
    assert own.algorithm == dataclasses.replace(
        paper.algorithm, learning_rate_rule="linear", bias_correction=True
    )
    assert own.learning_rate_at(0) == pytest.approx(paper.initial_learning_rate)
    assert paper.learning_rate_at(0) == paper.initial_learning_rate
    given = resolving.resolve(TrainConfig(method="gala-a2c", preset="paper"), {"discount": 0.9})
    assert (given.algorithm.discount, given.algorithm.learning_rate_rule) == (0.9, "sqrt")


def test_presets_are_the_same_where_a_method_is_as_in_its_paper() -> None:
    for method in ("a2c", "ppo", "impala", "a2c-allreduce"):
        own, paper = (
            resolving.resolve(TrainConfig(method=method, env="CartPole-v1", preset=preset))
            for preset in ("tuned", "paper")
        )
        assert own.algorithm == paper.algorithm


def test_one_gossiping_learner_has_the_settings_of_the_plain_algorithm_in_effect() -> None:
    for simulators in (1, 16, 50):
        plain, gossip = (
            resolving.resolve(TrainConfig(method=method, learners=1, simulators=simulators))
            for method in ("a2c", "gala-a2c")
        )
        for agent_steps in (0, 80, 10_000):
            assert plain.learning_rate_at(agent_steps) == gossip.learning_rate_at(agent_steps)


def test_a_setting_that_contradicts_the_preset_is_refused() -> None:
    config = TrainConfig(method="gala-a2c", preset="paper", env="CartPole-v1")
    linear = A2CSettings(learning_rate_rule="linear")
    message = "learning_rate_rule linear contradicts preset paper, which sets it to sqrt"
    with pytest.raises(UserError, match=message):
        resolving.resolve(config, {"learning_rate_rule": "linear"})
    with pytest.raises(UserError, match=message):
        resolving.resolve(dataclasses.replace(config, algorithm=linear))
    resolving.resolve(config, {"learning_rate_rule": "sqrt"})


@pytest.mark.parametrize(
    ("learners", "optimizer", "message"),
    [
        (2, "adam", "bias_correction has no effect on optimizer adam: leave it out"),
        (1, "rmsprop", "bias_correction has no effect on one learner: leave it out"),
    ],
)
def test_a_correction_without_effect_is_refused(
    learners: int, optimizer: str, message: str
) -> None:
    config = TrainConfig(method="gala-a2c", learners=learners)
    assert resolving.resolve(config, {"optimizer": optimizer}).learners == learners
    with pytest.raises(UserError, match=message):
        resolving.resolve(config, {"optimizer": optimizer, "bias_correction": True})


@pytest.mark.parametrize("method", ["gala-ppo", "ppo-allreduce", "ppo-async"])
@pytest.mark.parametrize("env", ["PongNoFrameskip-v4", "CartPole-v1", "Pendulum-v1"])
def test_learners_of_ppo_have_the_settings_of_ppo_however_they_share(method: str, env: str) -> None:
    config, plain = (resolving.resolve(TrainConfig(method=m, env=env)) for m in (method, "ppo"))
    assert config.algorithm == plain.algorithm
    assert config.algorithm.normalizes_observations == (env == "Pendulum-v1")


@pytest.mark.parametrize(
    ("method", "env", "simulators", "agent_steps", "optimizer_steps"),
    [
        ("a2c", "PongNoFrameskip-v4", 16, 80, 1),
        ("ppo", "PongNoFrameskip-v4", 8, 1024, 16),
        ("gala-ppo", "CartPole-v1", 8, 1024, 40),
        ("ppo", "Pendulum-v1", 1, 2048, 320),
    ],
)
def test_the_size_of_an_update_is_that_of_the_papers(
    method: str, env: str, simulators: int, agent_steps: int, optimizer_steps: int
) -> None:
    config = resolving.resolve(TrainConfig(method=method, env=env, preset="paper"))
    algorithm = config.algorithm
    assert config.simulators == simulators
    assert algorithm.rollout_steps * simulators == agent_steps
    if isinstance(algorithm, PPOSettings):
        assert algorithm.epochs * algorithm.minibatches == optimizer_steps


@pytest.mark.parametrize(
    ("cores", "learners", "actors"), [(1, 2, 1), (2, 2, 1), (4, 2, 1), (12, 6, 1), (96, 8, 8)]
)
def test_gossiping_impala_shares_the_cores_out(
    monkeypatch: pytest.MonkeyPatch, cores: int, learners: int, actors: int
) -> None:
    monkeypatch.setattr(resolving, "usable_cores", lambda: cores)
    config = resolving.resolve(TrainConfig(method="gala-impala"))
    algorithm = config.algorithm
    assert isinstance(algorithm, ImpalaSettings)
    assert (config.learners, algorithm.actors, algorithm.batch_rollouts) == (
        learners,
        actors,
        actors,
    )
    # The paper's batch, however many actors it comes from.
    assert config.update_agent_steps == 20 * 32


def test_a_batch_of_impala_is_of_so_many_rollouts_as_are_asked_for() -> None:
    settings = ImpalaSettings(actors=4, batch_rollouts=3)
    config = resolving.resolve(TrainConfig(method="impala", simulators=8, algorithm=settings))
    assert config.update_agent_steps == 20 * 2 * 3


def test_serial_impala_acts_itself() -> None:
    config = resolving.resolve(TrainConfig(method="impala", serial=True))
    algorithm = config.algorithm
    assert isinstance(algorithm, ImpalaSettings)
    assert (algorithm.actors, algorithm.batch_rollouts) == (1, 1)


@pytest.mark.parametrize(
    ("method", "simulators", "log_every"), [("a2c", 16, 100), ("a2c", 2, 100), ("ppo", 8, 8)]
)
def test_a_row_of_metrics_is_due_after_some_thousand_agent_steps(
    method: str, simulators: int, log_every: int
) -> None:
    config = TrainConfig(method=method, env="CartPole-v1", simulators=simulators)
    assert resolving.resolve(config).updates_per_row == log_every
    assert resolving.resolve(dataclasses.replace(config, log_every=7)).updates_per_row == 7


def test_minibatches_of_one_sample_are_refused_where_they_would_be_normalized_to_nothing() -> None:
    algorithm = PPOSettings(rollout_steps=4, minibatches=8)
    config = TrainConfig(method="ppo", env="CartPole-v1", simulators=2, algorithm=algorithm)
    with pytest.raises(UserError, match="minibatches 8 is too many for 8 agent steps"):
        resolving.resolve(config)
    raw = dataclasses.replace(algorithm, normalize_advantages=False)
    assert resolving.resolve(dataclasses.replace(config, algorithm=raw)).algorithm == raw
