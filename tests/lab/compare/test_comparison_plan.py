"""Plans: equal budgets for all methods, and one line for every mistake, before anything starts."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from gala_lab.compare.compare_options import CompareOptions
from gala_lab.compare.comparison_plan import (
    Plan,
    Settings,
    check,
    configs_of,
    record,
    with_many_rows,
)
from gala_lab.main import main
from gala_rl.config.settings import AlgorithmSettings, GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods import METHODS, find
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.records.files import read_json
from tests.support.run_folders import tree

BASE = TrainConfig(env="CartPole-v1", steps=1000)
THREE = dataclasses.replace(BASE, learners=3)
BOTH = ["a2c", "gala-a2c"]


@pytest.fixture(autouse=True)
def _three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gala_rl.methods.resolving.usable_cores", lambda: 3)


def plan_in(folder: Path, **changes: Any) -> Plan:
    values: dict[str, Any] = {"configs": configs_of(THREE, BOTH, simulators_total=18)}
    return Plan(folder=folder, **{**values, "options": CompareOptions(seeds=2), **changes})


def test_all_methods_have_as_many_simulators_in_all() -> None:
    alone, several = configs_of(BASE, BOTH, simulators_total=48)
    assert (alone.learners, alone.simulators) == (1, 48)
    assert (several.learners, several.simulators) == (3, 16)
    four = dataclasses.replace(BASE, learners=4)
    assert [c.learners for c in configs_of(four, BOTH, simulators_total=16)] == [1, 4]
    assert [c.simulators for c in configs_of(four, BOTH, simulators_total=16)] == [16, 4]


def test_the_default_is_sixteen_or_what_all_learners_divide() -> None:
    assert [c.total_simulators for c in configs_of(BASE, BOTH, simulators_total=None)] == [18, 18]
    assert [c.total_simulators for c in configs_of(BASE, ["a2c"], simulators_total=None)] == [16]
    many = dataclasses.replace(BASE, learners=20)
    assert [c.total_simulators for c in configs_of(many, BOTH, simulators_total=None)] == [20, 20]


@pytest.mark.parametrize("cores", [1, 2, 8, 33, 64])
@pytest.mark.parametrize("settings", ["published", "equal"])
def test_actors_fit_the_simulators_that_a_learner_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, cores: int
) -> None:
    monkeypatch.setattr("gala_rl.methods.resolving.usable_cores", lambda: cores)
    for methods in (["impala", "gala-impala"], ["impala", "a2c"]):
        given = THREE if "gala-impala" in methods else BASE
        plan = plan_in(tmp_path / "there", configs=configs_of(given, methods, settings=settings))
        check(plan)
        for config in plan.configs:
            if isinstance(config.algorithm, ImpalaSettings):
                actors = config.algorithm.actors
                assert actors == config.algorithm.batch_rollouts
                assert actors is not None
                assert config.simulators % actors == 0
                assert actors <= max(1, cores // config.learners - 1)
    (given_three,) = configs_of(BASE, ["impala"], simulators_total=18, algorithm={"actors": 3})
    assert isinstance(given_three.algorithm, ImpalaSettings)
    assert (given_three.algorithm.actors, given_three.algorithm.batch_rollouts) == (3, 3)


def test_edges_of_ones_own_are_for_those_that_have_several_learners(tmp_path: Path) -> None:
    edges = tmp_path / "edges.json"
    edges.write_text("[[0, 1], [1, 2], [2, 0], [0, 2]]")
    gossip = GossipSettings(topology=str(edges))
    given = dataclasses.replace(THREE, gossip=gossip)
    plan = plan_in(tmp_path / "there", configs=configs_of(given, BOTH, simulators_total=18))
    check(plan)
    assert plan.configs[1].gossip == gossip


def test_so_are_nodes(tmp_path: Path) -> None:
    gossip = GossipSettings(topology="hierarchical")
    given = dataclasses.replace(THREE, learners_per_node=2, gossip=gossip)
    plan = plan_in(tmp_path / "there", configs=configs_of(given, BOTH, simulators_total=18))
    check(plan)
    alone, several = plan.configs
    assert (alone.learners_per_node, alone.gossip) == (None, GossipSettings())
    assert (several.learners_per_node, several.gossip) == (2, gossip)


def test_methods_take_turns_within_each_seed(tmp_path: Path) -> None:
    runs = plan_in(tmp_path).runs
    assert [(run.method, run.seed) for run in runs] == [
        ("a2c", 0), ("gala-a2c", 0), ("a2c", 1), ("gala-a2c", 1),
    ]  # fmt: skip
    assert len({run.out for run in runs}) == 4


def test_settings_hold_for_all_methods() -> None:
    for settings in ("published", "equal"):
        for config in configs_of(BASE, BOTH, settings=settings, algorithm={"discount": 0.5}):
            assert config.algorithm.discount == 0.5
            assert (config.steps, config.env, config.atari) == (1000, "CartPole-v1", BASE.atari)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherSettings(AlgorithmSettings):
    """An algorithm with values of its own, and a setting that A2C has not."""

    name = "other"
    learning_rate: float = 1.0
    clip: float = 0.2


@pytest.fixture
def _other_method(monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(find("a2c"), name="other", settings=lambda kind: OtherSettings())
    monkeypatch.setattr("gala_rl.methods.METHODS", (*METHODS, other))


def algorithms(settings: Settings, methods: list[str], **given: Any) -> list[Any]:
    found = configs_of(BASE, methods, settings=settings, algorithm=given)
    return [config.algorithm for config in found]


@pytest.mark.usefixtures("_other_method")
def test_published_settings_are_each_method_s_own_but_for_what_is_given() -> None:
    a2c, other = algorithms("published", ["a2c", "other"], discount=0.5, clip=0.3)
    assert a2c == A2CSettings(discount=0.5)
    assert other == OtherSettings(discount=0.5, clip=0.3)
    with pytest.raises(UserError, match="clip is not a setting of a2c"):
        algorithms("published", BOTH, clip=0.3)


@pytest.mark.usefixtures("_other_method")
def test_equal_settings_are_those_of_the_first_method_where_both_have_them() -> None:
    a2c, other = algorithms("equal", ["a2c", "other"], discount=0.5, clip=0.3)
    assert a2c == A2CSettings(discount=0.5)
    assert other == OtherSettings(discount=0.5, learning_rate=7e-4, clip=0.3)
    other, a2c = algorithms("equal", ["other", "a2c"])
    assert (other, a2c) == (OtherSettings(), A2CSettings(learning_rate=1.0))


def test_small_budgets_have_rows_more_often() -> None:
    (config,) = configs_of(dataclasses.replace(BASE, steps=160_000), ["a2c"], simulators_total=16)
    assert with_many_rows(config).log_every == 10
    assert with_many_rows(dataclasses.replace(config, steps=100)).log_every == 1
    assert with_many_rows(dataclasses.replace(config, steps=10**9)).log_every == 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ("METHOD",)),
        (["a2c", "--max-steps", "5"], ("max_steps 5", "--episodes")),
        (["a2c", "--episodes", "2", "--max-steps", "0"], ("max_steps 0", "at least 1")),
        (["a2c", "gala-a2d"], ("'gala-a2d'", "did you mean gala-a2c?")),
        (["a2c", "gala-a2c", "a2c"], ("'a2c' is named twice",)),
        (["a2c", "--seeds", "0"], ("seeds 0", "from 1 to")),
        (["a2c", "--seeds", "1M"], ("seeds 1,000,000", "1,000")),
        (["a2c", "--seeds", "99e17"], ("seeds 9,900,000,000,000,000,000", "1,000")),
        (["a2c", "--first-seed", "-1"], ("seed -1 is too small",)),
        (["a2c", "--first-seed", "2147483647", "--seeds", "2"], ("seed 2147483648",)),
        (["a2c", "--steps", "15"], ("steps 15 is too small", "16 simulators")),
        (["a2c", "--steps", "0"], ("steps 0 is too small",)),
        (["a2c", "--threshold", "nan"], ("threshold nan is not finite",)),
        (["a2c", "--threshold", "inf"], ("threshold inf is not finite",)),
        (["a2c", "--episodes", "-1"], ("episodes -1",)),
        (["a2c", "--at-once", "0"], ("at_once 0",)),
        (["a2c", "--simulators-total", "0"], ("simulators_total 0",)),
        (["gala-a2c", "--simulators-total", "16"], ("16 cannot be shared by the 3 learners of",
                                                    "gala-a2c", "multiple of 3")),
        (["a2c", "--learners", "2"], ("learners 2", "a2c has one learner")),
        (["a2c", "--learners", "0"], ("learners 0",)),
        (["a2c", "--simulators", "8"], ("--simulators", "did you mean --simulators-total?")),
        (["a2c", "--num-envs", "8"], ("--num-envs", "it is --simulators-total here")),
        (["a2c", "--seed", "8"], ("option --seed is unknown: it is --first-seed here",)),
        (["a2c", "--env", "CartPol-v1"], ("'CartPol-v1'", "CartPole-v1")),
        (["a2c", "--threshold", "x"], ("--threshold 'x' is not a number such as 0.5",)),
        (["a2c", "--settings", "best"], ("'best'", "published")),
        (["a2c", "--discount", "2"], ("discount 2.0",)),
        (["a2c", "gala-a2c", "--topology", "star"], ("'star'",)),
        (["a2c", "--out", "full"], ("full is not empty",)),
        (["a2c", "--out", "file.txt"], ("file.txt",)),
        (["a2c", "--out", "broken"], ("compare.json", "cannot be read")),
        (["a2c", "--out", "foreign"], ("compare.json is not that of a comparison",)),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_nothing_is_started_or_written(
    arguments: list[str],
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, file, text in (
        ("full", "thesis.txt", "precious"),
        ("broken", "compare.json", "{"),
        ("foreign", "compare.json", "{}"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    (tmp_path / "file.txt").write_text("precious")
    before = tree(tmp_path)
    defaults = ["--env", "CartPole-v1", "--out", "new"]
    assert main(["compare", *defaults, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    for word in words:
        assert word in captured.err
    assert tree(tmp_path) == before


def test_out_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a2c"]) == 2
    assert "--out" in capsys.readouterr().err


def recorded(tmp_path: Path) -> Plan:
    plan = plan_in(tmp_path / "there")
    plan.folder.mkdir()
    record(plan)
    return plan


def test_the_same_question_more_seeds_and_more_methods_are_welcome(tmp_path: Path) -> None:
    plan = recorded(tmp_path)
    check(plan)
    check(dataclasses.replace(plan, options=CompareOptions(seeds=5)))
    other = dataclasses.replace(plan.options, threshold=3.0, episodes=1, at_once=2)
    check(dataclasses.replace(plan, options=other))
    check(dataclasses.replace(plan, configs=plan.configs[::-1]))
    (plan.folder / "compare.json").unlink()
    record(dataclasses.replace(plan, configs=plan.configs[:1]))
    check(plan)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": CompareOptions(seeds=1)}, "seed 1 is left out"),
        ({"options": CompareOptions(seeds=3, first_seed=1)}, "seed 0 is left out"),
        (
            {"configs": configs_of(BASE, ["a2c"], simulators_total=18)},
            "method gala-a2c is left out",
        ),
        (
            {
                "configs": configs_of(
                    dataclasses.replace(THREE, steps=2000), BOTH, simulators_total=18
                )
            },
            "steps 2000 of a2c is not what comparison",
        ),
        (
            {"configs": configs_of(THREE, BOTH, simulators_total=36)},
            "simulators 36 of a2c is not what",
        ),
        (
            {"configs": configs_of(THREE, BOTH, algorithm={"entropy_cost": 0.5})},
            "algorithm.entropy_cost 0.5 of a2c is not what",
        ),
    ],
)
def test_another_question_in_the_same_folder_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    plan = recorded(tmp_path)
    with pytest.raises(UserError, match=words):
        check(dataclasses.replace(plan, **changes))


def test_what_was_asked_is_on_record_with_where_and_with_what(tmp_path: Path) -> None:
    plan = recorded(tmp_path)
    record(dataclasses.replace(plan, options=CompareOptions(seeds=3, at_once=2)))
    content = read_json(plan.folder / "compare.json")
    assert list(content["methods"]) == BOTH
    assert content["seeds"] == [0, 1, 2]
    assert [call["at_once"] for call in content["calls"]] == [1, 2]
    for call in content["calls"]:
        assert {"versions", "machine", "commit", "started"} <= set(call)
    json.dumps(content, allow_nan=False)
