"""Building an environment: the meaning of its id, and errors when it cannot be built."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import pytest
import torch
from ale_py import roms

from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.settings import AtariProtocol
from gala_rl.envs import is_atari, make_simulators, read_environment
from gala_rl.envs.make import make_environment
from gala_rl.errors import UserError
from tests.environments import Counting

PROTOCOL = AtariProtocol()
Register = Callable[..., None]


@pytest.fixture
def register() -> Iterator[Register]:
    """Registers environments until the test ends."""
    ids: list[str] = []

    def register(env_id: str, entry_point: Any, **kwargs: Any) -> None:
        gymnasium.register(env_id, entry_point, disable_env_checker=True, kwargs=kwargs)
        ids.append(env_id)

    yield register
    for env_id in ids:
        del gymnasium.registry[env_id]


def refusal_of(env_id: str) -> UserError:
    with pytest.raises(UserError) as refusal:
        make_environment(EnvironmentSource(env_id))
    assert repr(env_id) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    return refusal.value


@pytest.mark.parametrize(
    "error",
    [
        ValueError("grid size 3 is below 5"),
        TypeError("'int' object is not iterable"),
        KeyError("map"),
        RuntimeError("no display"),
        AssertionError(),
        ImportError("Old has moved to another project"),
        gymnasium.error.Error("the map is broken"),
        gymnasium.error.UnregisteredEnv("no level 3"),
    ],
)
def test_a_constructor_that_raises_is_reported_with_its_cause_and_is_not_unknown(
    register: Register, error: Exception
) -> None:
    def build() -> Any:
        raise error

    register("Raising-v0", build)
    refusal = refusal_of("Raising-v0")
    assert f"cannot be built: {type(error).__name__}" in str(refusal)
    assert str(error) in str(refusal)
    assert type(refusal.__cause__) is type(error)


@pytest.mark.parametrize("code", [0, 3, "no licence"])
def test_a_constructor_that_ends_the_program_is_reported(register: Register, code: object) -> None:
    register("Leaving-v0", lambda: sys.exit(code))  # type: ignore[arg-type]
    refusal = refusal_of("Leaving-v0")
    assert isinstance(refusal.__cause__, SystemExit)
    assert f"cannot be built: it called sys.exit({code!r})" in str(refusal)


def test_the_documented_way_shows_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken_env.py").write_text(
        "import gymnasium\n"
        "def build():\n    raise ValueError('grid size 3 is below 5')\n"
        "gymnasium.register('Broken-v0', build)\n",
        encoding="utf-8",
    )
    completed = run(tmp_path, "gala_lab.main", "train", "ppo", "--env", "broken_env:Broken-v0")
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    program = line.partition('python -c "')[2].removesuffix('"')
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert 'broken_env.py", line 3, in build' in shown.stderr
    assert list(tmp_path.glob("runs*")) == []


def run(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_environment_with_a_network_leaves_pytorch_as_it_was(register: Register) -> None:
    def build() -> Any:
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        return Counting()

    register("Planner-v0", build)
    make_environment(EnvironmentSource("Planner-v0")).close()
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_num_threads() == 1


def test_an_environment_that_imports_pytorch_first_leaves_it_as_it_was(tmp_path: Path) -> None:
    program = """
import sys
import gymnasium
from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.make import make_environment
def build():
    import torch
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    return gymnasium.make("CartPole-v1").unwrapped
gymnasium.register("Planner-v0", build)
make_environment(EnvironmentSource("CartPole-v1"))
assert "torch" not in sys.modules
make_environment(EnvironmentSource("Planner-v0"))
import torch
print(torch.is_grad_enabled(), torch.get_default_dtype())
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "True torch.float32\n", done.stderr


def test_a_missing_package_is_named(register: Register) -> None:
    def build() -> Any:
        raise gymnasium.error.DependencyNotInstalled("run `pip install snakes`")

    register("Snakes-v0", build)
    refusal = refusal_of("Snakes-v0")
    assert "needs a package that is missing: run `pip install snakes`" in str(refusal)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import no_such_package", "cannot be imported: No module named 'no_such_package'"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("def (", "cannot be imported: SyntaxError"),
        ("raise SystemExit(3)", "cannot be imported: it called sys.exit(3)"),
        ("pass", "is unknown: importing broken_module registers no such id"),
    ],
)
def test_a_module_that_cannot_be_imported_is_reported_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    (tmp_path / "broken_module.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_module", raising=False)
    assert words in str(refusal_of("broken_module:Game-v0"))
    monkeypatch.delitem(sys.modules, "broken_module", raising=False)


@pytest.mark.parametrize(
    "registry", [{"Plumber-v0": 1}, SimpleNamespace(env_specs={"Plumber-v0": 1})]
)
def test_an_id_of_the_old_gym_is_reported_with_the_remedy(
    registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_gym = SimpleNamespace(registry=registry)
    monkeypatch.setitem(sys.modules, "gym.envs.registration", old_gym)
    assert "with OpenAI's gym, not with Gymnasium" in str(refusal_of("tests:Plumber-v0"))
    assert "registers no such id" in str(refusal_of("tests:Mason-v0"))


def test_a_module_that_registers_others_names_them() -> None:
    refusal = refusal_of("tests.environments:Sweden-v0")
    assert "importing tests.environments registers no such id but Counting-v0, " in str(refusal)


@pytest.mark.parametrize("env_id", ["no_such_module:Game-v0", "no_such.module:Game-v0"])
def test_a_missing_module_is_reported_with_the_remedy(env_id: str) -> None:
    assert "is it installed, or in the current folder?" in str(refusal_of(env_id))


def test_a_file_is_named_without_its_ending() -> None:
    assert "; give the module: my_env:Game-v0" in str(refusal_of("my_env.py:Game-v0"))


@pytest.mark.parametrize("env_id", [":Game-v0", ".tests:Game-v0", "a:b:Game-v0"])
def test_what_is_no_module_is_refused(env_id: str) -> None:
    refusal_of(env_id)


@pytest.mark.parametrize("env_id", ["Tetris-v0", "ALE/Tetris-v0", "PongNoFrameskip-v1", "Pong-v1"])
def test_the_registry_decides_what_a_programs_own_id_is(register: Register, env_id: str) -> None:
    register(env_id, Counting)
    assert not is_atari(EnvironmentSource(env_id))
    assert read_environment(EnvironmentSource(env_id, atari=PROTOCOL)).kind == "discrete"


def test_a_variant_of_a_game_of_a_programs_own_is_an_environment_like_any_other(
    register: Register,
) -> None:
    register("EasyPong-v0", "ale_py.env:AtariEnv", game="pong", difficulty=0, frameskip=(2, 5))
    spec = read_environment(EnvironmentSource("EasyPong-v0", atari=PROTOCOL))
    assert (spec.kind, spec.observation.shape) == ("discrete", (3, 210, 160))


def test_a_game_is_itself_with_its_module_before_it() -> None:
    spec = read_environment(EnvironmentSource("ale_py:ALE/Pong-v5", atari=PROTOCOL))
    assert spec == read_environment(EnvironmentSource("PongNoFrameskip-v4", atari=PROTOCOL))
    assert spec.kind == "atari"


@pytest.mark.parametrize("full_action_space", [False, True])
@pytest.mark.parametrize("env_id", ["PongNoFrameskip-v4", "ALE/Breakout-v5"])
def test_reading_a_game_returns_the_specs_of_its_simulators(
    env_id: str, full_action_space: bool
) -> None:
    protocol = AtariProtocol(full_action_space=full_action_space, frame_skip=3)
    spec, simulators = (
        read_environment(EnvironmentSource(env_id, atari=protocol)),
        make_simulators(EnvironmentSource(env_id, atari=protocol), 1, 1),
    )
    assert spec.observation == simulators.observation
    assert spec.action == simulators.action
    assert spec.frames_per_step == simulators.frames_per_step == 3
    simulators.close()


@pytest.mark.parametrize("game", ["Combat", "Joust", "MazeCraze", "Warlords"])
def test_a_game_for_several_players_alone_is_refused(game: str) -> None:
    # The emulator would end this program with C's exit(1).
    assert "for several players" in str(refusal_of(f"ALE/{game}-v5"))


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 8])
def test_no_hint_names_an_id_that_would_be_refused(every: int) -> None:
    games = [rom.title().replace("_", "") for rom in roms.get_all_rom_ids()][::every]
    forms = ("{}", "{}-v0", "{}-v4", "{}-v9", "ALE/{}", "ALE/{}-v4", "{}-ram-v4", "{}NoFrameskip")
    wrong = [form.format(game) for game, form in itertools.product(games, forms)]
    wrong += [f"{spec.id}9" for spec in list(gymnasium.registry.values())[::every]]
    wrong = [env_id for env_id in wrong if env_id not in gymnasium.registry]
    for env_id in wrong:
        try:
            is_atari(EnvironmentSource(env_id))
        except UserError as error:
            hint = str(error).partition(": ")[2]
            named = [word.strip("?,;()") for word in hint.split() if "-v" in word]
            for other in named:
                if "module:" not in other:
                    is_atari(EnvironmentSource(other))


def test_an_old_version_is_built_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    make_environment(EnvironmentSource("CartPole-v0")).close()
    with pytest.raises(UserError):
        make_environment(EnvironmentSource("HalfCheetah-v2"))
    assert capsys.readouterr() == ("", "")
