"""A method outside of the package is refused with one line that says what is wrong with it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gala_rl.checks.config import check_config
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods import ALGORITHMS, algorithms_of, find
from gala_rl.methods.method import Method

MODULE = """
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from gala_rl.config.settings import ActorCriticSettings, setting
from gala_rl.learners.a2c import make_learner
from gala_rl.methods import Method


@dataclass(frozen=True, kw_only=True)
class MySettings(ActorCriticSettings):
    name = "mine"
    learner = __name__
    depth: int = setting(3, "how deep")


def settings(kind):
    return MySettings(rollout_steps=7)


METHOD = Method(
    name="mine",
    title="",
    paper="",
    sharing="nothing",
    default_learners=lambda cores: 1,
    default_simulators=lambda kind: 4,
    settings=settings,
)
"""
"""A method that is right."""

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """Write a module; return its name, which no other test has."""
    name = f"own_method_{abs(hash(request.node.nodeid))}"
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return name

    return write


def test_a_method_is_found_by_its_module_and_its_name(write: Write) -> None:
    module = write(MODULE)
    method = find(f"{module}:METHOD")
    assert isinstance(method, Method)
    assert find(f"{module}:METHOD") is method
    config = check_config(TrainConfig(method=f"{module}:METHOD", env="CartPole-v1"))
    assert config.algorithm.rollout_steps == 7
    assert config.algorithm.learner == module
    algorithms = algorithms_of({"method": f"{module}:METHOD"})
    assert algorithms == {**ALGORITHMS, "mine": type(config.algorithm)}
    others: tuple[object, ...] = (None, [], {}, {"method": 3}, {"method": "a2c"})
    for values in others:
        assert algorithms_of(values) is ALGORITHMS


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("METHOD = Method(", "OTHER = Method(", "has no METHOD"),
        ("METHOD = Method(", "METHOD = dict(", "is dict, not a gala_rl.methods.Method"),
        ("METHOD = Method(", "METHOD = Method((", "cannot be imported: SyntaxError"),
        ("\n\nMETHOD = Method(", "\n1 / 0\nMETHOD = Method(", "cannot be imported: ZeroDivision"),
        ('sharing="nothing"', 'sharing="all"', "has sharing 'all': choose one of nothing, gossip"),
        ("return MySettings(rollout_steps=7)", "raise KeyError(kind)", "raised KeyError: 'atari'"),
        ("return MySettings(rollout_steps=7)", "return None", "has settings of type NoneType"),
        ("lambda cores: 1", "lambda cores: 0", "no positive numbers by default: [0, 4]"),
        ("lambda kind: 4", "lambda: 4", "takes 0 positional arguments"),
        (
            "return MySettings(rollout_steps=7)",
            "return MySettings() if kind == 'atari' else A2CSettings()",
            "has settings of several classes: A2CSettings, MySettings",
        ),
        ("@dataclass(frozen=True, kw_only=True)\n", "", "MySettings, which is no dataclass"),
        ('    name = "mine"\n', "", "has settings MySettings without a name: set one, such as"),
        ("    learner = __name__\n", "", "without a learner: set the module whose make_learner"),
        ('setting(3, "how deep")', "3", "whose depth has no help text: define it by"),
        ("depth: int", "depth: dict[str, int]", "whose depth is no option of a command"),
        ("depth: int", "depth: Literl[3]", "whose types cannot be read: NameError"),
        ('title=""', 'title="", paper_settings={"no": 1}', "has no no, as paper_settings say"),
    ],
)
def test_a_mistake_is_named_in_one_line(write: Write, before: str, after: str, words: str) -> None:
    assert MODULE.count(before) == 1
    text = MODULE.replace(before, after)
    if "A2CSettings" in after:
        text = f"from gala_rl.methods.a2c import A2CSettings\n{text}"
    if "Literl" in after:
        text = f"from __future__ import annotations\n{text}"
    name = f"{write(text)}:METHOD"
    with pytest.raises(UserError) as refused:
        find(name)
    assert str(refused.value).startswith(f"method {name!r}")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("learner = __name__", 'learner = "no_such_module"', "'no_such_module' of MySettings can"),
        ("import make_learner", "import a2c_loss", "has no make_learner: give it one, such as"),
    ],
)
def test_the_module_of_its_learners_is_tried(
    write: Write, before: str, after: str, words: str
) -> None:
    assert MODULE.count(before) == 1
    name = f"{write(MODULE.replace(before, after))}:METHOD"
    find(name)
    with pytest.raises(UserError) as refused:
        check_config(TrainConfig(method=name, env="CartPole-v1"))
    assert words in str(refused.value)


def test_the_main_program_has_none_that_others_could_import() -> None:
    with pytest.raises(UserError, match="is in the main program"):
        find("__main__:METHOD")
