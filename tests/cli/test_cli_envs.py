"""`gala envs`: counts without a word, names with one, and nothing that lacks a package."""

import importlib.util
import json
from typing import Any

import gymnasium
import pytest

from gala_lab.main import main
from gala_rl.envs import catalogue, envpool


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Packages that seem to be installed: those of this set."""
    packages = {"mujoco", "pgx", "jax"}
    find = importlib.util.find_spec

    def found(name: str) -> Any:
        known = {"mujoco", "pgx", "jax", "flax", "Box2D", "envpool"}
        return name in packages or None if name in known else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    return packages


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, str]]:
    assert main(["envs", *arguments, "--json"]) == 0
    rows: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    return rows


def test_without_a_word_backends_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) < 15
    assert "CartPole-v1" not in out
    assert "gym-vec" in out
    assert "gala envs --all" in out


def test_all_names_are_listed_if_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs", "--all"]) == 0
    listed = capsys.readouterr().out
    names = [row["env"] for row in document(capsys)]
    assert "pgx:minatar-breakout" in names
    assert [name for name in names if name not in listed] == []


def test_few_names_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["env"]: row for row in document(capsys, "cartpole-v1")}
    assert list(rows) == ["CartPole-v1", "gym-vec:CartPole-v1"]
    assert rows["CartPole-v1"] == {
        "env": "CartPole-v1",
        "backend": "gymnasium",
        "observation": "vector 4",
        "action": "one of 2",
        "on_resume": "new episodes",
    }


def test_names_that_lack_a_package_are_left_out_with_notice(
    capsys: pytest.CaptureFixture[str], installed: set[str]
) -> None:
    assert main(["envs", "cartpole"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "phys2d" not in out
    assert "left out, as they need flax (pip install 'gymnasium[jax]'), envpool (pip" in out
    assert main(["envs", "phys2d"]) == 2
    assert (
        "no environment on this machine has 'phys2d' in its name; left out, as they need flax"
        in (capsys.readouterr().err)
    )
    installed.add("flax")
    names, missing = catalogue.environment_names("phys2d/cart")
    assert names == [
        *("phys2d/CartPole-v0", "phys2d/CartPole-v1"),
        *("gym-vec:phys2d/CartPole-v0", "gym-vec:phys2d/CartPole-v1"),
    ]
    assert missing == ["envpool"]


def test_an_id_that_only_says_where_it_went_is_left_out() -> None:
    assert "HalfCheetah-v2" in gymnasium.registry
    assert catalogue.environment_names("halfcheetah-v2")[0] == []


@pytest.mark.backends
def test_envpools_families_without_their_library_are_left_out(
    monkeypatch: pytest.MonkeyPatch, installed: set[str]
) -> None:
    package = pytest.importorskip("envpool")
    make_spec = package.make_spec

    def fail(name: str, **options: Any) -> Any:
        if "MiniGrid" in name or "BabyAI" in name:
            raise ImportError("needs Qt")
        return make_spec(name, **options)

    installed.add("envpool")
    monkeypatch.setattr(package, "make_spec", fail)
    names, missing = catalogue.environment_names("minigrid")
    assert names == []
    assert len(missing) == 1
    assert missing[0].startswith("a library of the system for envpool.minigrid (")
    assert "envpool:CartPole-v1" in catalogue.environment_names("cartpole-v1")[0]
    assert len(envpool.names()) > 1_000
