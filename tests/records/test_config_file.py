"""Settings in a file: where they may stand, and one line per mistake that names file and key."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from gala_rl.config.settings import AtariProtocol, GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.config.values import from_values, to_values
from gala_rl.errors import UserError
from gala_rl.methods import ALGORITHMS
from gala_rl.methods.ppo import PPOSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records import config_file
from gala_rl.records.config_file import read_config, read_config_file
from gala_rl.records.run_folder import RunFolder

TOML = """
method = "gala-ppo"   # a comment
env = "CartPole-v1"
steps = 2e5
wrappers = ["module:first", "module:second"]
epochs = 3

[gossip]
max_staleness = 5

[algorithm]
learning_rate = 1e-3

[env_args]
max_episode_steps = 100
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def written(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_gives_settings_in_tables_and_without(file: Path) -> None:
    assert read_config_file(written(file, TOML)).values == {
        "method": "gala-ppo",
        "env": "CartPole-v1",
        "steps": 200_000,
        "wrappers": ("module:first", "module:second"),
        "algorithm.epochs": 3,
        "gossip.max_staleness": 5,
        "algorithm.learning_rate": 1e-3,
        "env_args": {"max_episode_steps": 100},
    }


def test_python_reads_the_config_with_the_other_settings_of_the_method(file: Path) -> None:
    config = read_config(written(file, TOML.replace("wrappers", "# wrappers")))
    assert isinstance(config.algorithm, PPOSettings)
    assert (config.algorithm.epochs, config.algorithm.learning_rate) == (3, 1e-3)
    assert config.algorithm.clip_range == 0.2, "the value for discrete actions"
    assert config.gossip == GossipSettings(max_staleness=5)
    assert config.env_args == {"max_episode_steps": 100}
    without = "method = 'a2c'\nenv = 'CartPole-v1'\n"
    assert read_config(written(file, without)) == TrainConfig(method="a2c", env="CartPole-v1")


def test_every_setting_has_one_name_without_a_table() -> None:
    kinds = [TrainConfig, GossipSettings, AtariProtocol, *ALGORITHMS.values()]
    names = {entry.name for kind in kinds for entry in dataclasses.fields(kind)}
    own = config_file._settings(ALGORITHMS)
    assert set(own) == names - {"atari", "gossip", "algorithm"}
    plain = {entry.name for entry in dataclasses.fields(TrainConfig)}
    grouped = {entry.name for kind in kinds[1:] for entry in dataclasses.fields(kind)}
    assert not plain & grouped
    assert len(GossipSettings.__dataclass_fields__.keys() & AtariProtocol.__dataclass_fields__) == 0


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("\nlerning_rate = 1", 2, "setting lerning_rate is unknown: did you mean learning_rate?"),
        ("learning-rate = 1", 1, "setting learning-rate is unknown: did you mean learning_rate?"),
        ("xyzzy = 1", 1, "setting xyzzy is unknown: gala train --help"),
        ("a = [\n 1,\n 2]", 1, "setting a is unknown"),
        ("wrappers = [\n 'a',\n]\n\n# b\n[gossip]\nwhen_ = 'x'", 7, "did you mean when?"),
        ("[gossip]\nseed = 1", 2, "seed is no setting in [gossip]: it is above all tables"),
        ("[gossip]\nepochs = 1", 2, "epochs is no setting in [gossip]: it is in [algorithm]"),
        ("[algorithm]\nname = 'ppo'", 2, "setting name in [algorithm] is unknown"),
        ("epochs = 2\n[algorithm]\nepochs = 2", 3, "epochs is there twice"),
        ("seed = 'x'", 1, "seed 'x' has the wrong type: it must be int"),
        ("seed = true", 1, "seed True has the wrong type"),
        ("\n\nsteps = 2.5", 3, "steps 2.5 has the wrong type"),
        ("steps = 0", 1, "steps 0 is too small"),
        ("gossip.when = 'now'", 1, "when 'now' is unknown: choose one of auto, all, any"),
        ("[env_args]\na = 1979-05-27", 1, "env_args"),
        ("[seed]\na = 1", 1, "seed is a table, but must be one value"),
        ("gossip = 3", 1, "setting gossip is unknown"),
        ("learners = []", 1, "learners [] has the wrong type"),
        ("wrappers = 'a:b'", 1, "wrappers 'a:b' has the wrong type"),
        ("wrappers = [1]", 1, "wrappers 1 has the wrong type"),
        ("learning_rate = nan", 1, "learning_rate nan is not finite"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(
    file: Path, text: str, line: int, message: str
) -> None:
    with pytest.raises(UserError) as error:
        read_config_file(written(file, text))
    assert str(error.value).startswith(f"{file}, line {line}: ")
    assert message in str(error.value)


def test_what_is_no_toml_is_one_line(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not TOML: .*line 2"):
        read_config_file(written(file, "a = 1\na b"))
    with pytest.raises(UserError, match="is not TOML"):
        read_config_file(written(file, "a = " + "[" * 10_000))
    file.write_bytes(b"\xff")
    with pytest.raises(UserError, match="is not TOML"):
        read_config_file(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_config_file(tmp_path / "nothing.toml")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    config = TrainConfig(method="ppo", env="CartPole-v1", steps=400, out=str(tmp_path / "run"))
    RunFolder(tmp_path / "run").create(resolve(config, {"epochs": 3}))
    return RunFolder(tmp_path / "run")


def test_a_run_gives_all_its_settings_but_its_folder(run: RunFolder, tmp_path: Path) -> None:
    copy = tmp_path / "best.json"
    shutil.copyfile(run.config_file, copy)
    expected = dataclasses.replace(run.read_config(), out=None)
    for path in (run.path, run.config_file, copy):
        assert read_config(path) == expected
        assert resolve(read_config(path)).algorithm == expected.algorithm


def test_a_run_keeps_its_copy_of_a_file_of_edges(tmp_path: Path) -> None:
    edges, run = tmp_path / "edges.json", RunFolder(tmp_path / "run")
    edges.write_text("[[0, 1], [1, 0]]", encoding="utf-8")
    gossip = GossipSettings(topology=str(edges))
    config = TrainConfig(env="CartPole-v1", learners=2, gossip=gossip, out=str(run.path))
    run.create(resolve(config))
    edges.unlink()
    assert read_config(run.path).gossip.topology == str(run.topology_file)
    assert read_config(run.config_file).gossip.topology == str(run.topology_file)


def test_mistakes_in_the_config_of_a_run_name_file_and_key(run: RunFolder, tmp_path: Path) -> None:
    content = json.loads(run.config_file.read_text(encoding="utf-8"))
    content["config"]["leaners"] = 3
    run.config_file.write_text(json.dumps(content), encoding="utf-8")
    for path in (run.path, run.config_file):
        with pytest.raises(UserError) as error:
            read_config(path)
        assert "'leaners': did you mean learners?" in str(error.value)
        assert str(run.config_file) in str(error.value)
    other = tmp_path / "other.json"
    other.write_text('{"seed": 3}', encoding="utf-8")
    with pytest.raises(UserError, match=r"other.json: .* has a key 'config'"):
        read_config(other)
    with pytest.raises(UserError, match="holds no run"):
        read_config(tmp_path)


def test_values_by_name_are_the_config_that_they_came_from() -> None:
    config = TrainConfig(seed=3, gossip=GossipSettings(when="any"))
    assert from_values(to_values(config)) == (config, {})
    assert from_values({"algorithm.epochs": 2, "atari.frame_stack": 1}) == (
        TrainConfig(atari=AtariProtocol(frame_stack=1)),
        {"epochs": 2},
    )
