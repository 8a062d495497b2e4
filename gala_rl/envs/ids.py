"""Tells what an environment's id means: Gymnasium's registry decides, never the letters alone."""

import difflib
import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ale_py import roms
from gymnasium.envs import registration
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id

from gala_rl.errors import UserError

_VERSION = re.compile(r"-v\d+$")
_ALE = "ale_py.env:AtariEnv"
_CUTOFF = 0.75
"""Names less alike than this are no guess: it would mislead more often than it helps."""
_MOST_NAMED = 5
_ADVICE = "give a Gymnasium id such as CartPole-v1"


@contextmanager
def working_directory_kept() -> Iterator[None]:
    """Give the program its current folder back, which other people's code may change."""
    before = _current_folder()
    try:
        yield
    finally:
        if before is not None and _current_folder() != before:
            os.chdir(before)


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:  # It has been deleted.
        return None


class AtariGame(NamedTuple):
    """An ALE game as its id asks for it: the ROM and the probability that an action repeats."""

    rom: str
    sticky_actions: float


def find_spec(env_id: str) -> EnvSpec:
    """The registry's entry of an id; `module:Name-v0` imports the module first.

    Raises:
        UserError: when there is none of that name, or its module cannot be imported.
    """
    module, colon, name = env_id.rpartition(":")
    if colon:
        with working_directory_kept():
            _import(module, env_id)
    spec = registration.registry.get(name)
    if spec is not None and not _skips_at_random(spec):
        return spec
    wrong = "is unknown" if spec is None else "skips a random number of frames"
    if spec is None and not _VERSION.search(name) and _has_versions(name):
        wrong = "has no version"
    raise UserError(f"env {env_id!r} {wrong}: {_hint(module + colon, name)}")


def atari_game(env_id: str) -> AtariGame | None:
    """The ALE game that an id means; None for every other environment.

    A program's own variant of a game, in another mode say, is an environment like any other.

    Raises:
        UserError: as `find_spec`.
    """
    spec = find_spec(env_id)
    game = _game_of(spec)
    own = (f"{game}NoFrameskip-v4", f"{game}NoFrameskip-v0", f"ALE/{game}-v5")
    if game is None or spec.id not in own:
        return None
    return AtariGame(spec.kwargs["game"], spec.kwargs["repeat_action_probability"])


def _import(module: str, env_id: str) -> None:
    if not module or module.startswith("."):
        raise UserError(f"env {env_id!r} is unknown: {_ADVICE}, or module:Name-v0")
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        where = ""
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            where = "; is it installed, or in the current folder?"
            if module.endswith(".py"):
                where = f"; give the module: {module[:-3]}:{env_id.rpartition(':')[2]}"
        raise UserError(f"env {env_id!r} cannot be imported: {error}{where}") from error
    except KeyboardInterrupt:
        raise
    # A module of somebody else's may raise anything, and may even end the program.
    except BaseException as error:
        raise UserError(
            f"env {env_id!r} cannot be imported: {describe(error)}; for the traceback: "
            f'python -c "import {module}"'
        ) from error


def describe(error: BaseException) -> str:
    """An exception in one line: its type and what it says."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r})"
    try:
        words = str(error)
    except Exception as mistake:
        words = f"its text cannot be shown ({type(mistake).__name__})"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _game_of(spec: EnvSpec) -> str | None:
    """The name of the game that an entry is for, if it is one of ALE's environments."""
    if spec.entry_point != _ALE or "game" not in spec.kwargs:
        return None
    return str(spec.kwargs["game"]).title().replace("_", "")


def _skips_at_random(spec: EnvSpec) -> bool:
    """Whether it is one of ALE's, such as Pong-v4, that hold an action for 2 to 4 frames."""
    game = _game_of(spec)
    return game is not None and spec.id in (f"{game}-v0", f"{game}-v4")


def _module_of(spec: EnvSpec) -> str:
    """Where an entry's class or function is, with a dot at the end."""
    point = spec.entry_point
    return f"{point.partition(':')[0] if isinstance(point, str) else point.__module__}."


def _has_versions(name: str) -> bool:
    namespace, _, own = name.rpartition("/")
    return find_highest_version(namespace or None, own) is not None


def _hint(prefix: str, name: str) -> str:
    """What to give instead of an id: nothing that would be refused next."""
    namespace, _, rest = name.rpartition("/")
    own = _VERSION.sub("", rest)
    specs = [spec for spec in registration.registry.values() if not _skips_at_random(spec)]
    games = {game.lower(): game for spec in specs if (game := _game_of(spec)) is not None}
    wanted = own.partition("-")[0].removesuffix("NoFrameskip").lower()
    if (game := games.get(wanted)) is not None:
        known = [
            (f"{game}NoFrameskip-v4", "the papers' protocol"),
            (f"ALE/{game}-v5", "sticky actions"),
        ]
        ways = [f"{env_id} ({what})" for env_id, what in known if env_id in registration.registry]
        return f"use {' or '.join(ways)}"
    if namespace == "ALE" or own.endswith("NoFrameskip"):
        if wanted in (rom.replace("_", "") for rom in roms.get_all_rom_ids()):
            return "it is for several players at once, and there is no such environment"
        close = difflib.get_close_matches(wanted, games, n=1, cutoff=_CUTOFF)
        guess = f"did you mean the game {games[close[0]]}?" if close else "there is no such game"
        return f"{guess} Games are written like PongNoFrameskip-v4 or ALE/Pong-v5"
    names = {get_env_id(spec.namespace, spec.name, None).lower(): spec for spec in specs}
    wanted = get_env_id(namespace or None, own, None).lower()
    if close := difflib.get_close_matches(wanted, names, n=1, cutoff=_CUTOFF):
        spec = names[close[0]]
        newest = find_highest_version(spec.namespace, spec.name)
        return f"did you mean {prefix}{get_env_id(spec.namespace, spec.name, newest)}?"
    if prefix:
        return _what_is_registered(prefix[:-1], name, specs)
    return f"{_ADVICE}; if a package or file registers it: --env module:{name}" if name else _ADVICE


def _what_is_registered(module: str, name: str, specs: list[EnvSpec]) -> str:
    """What importing a module has registered instead of an id."""
    registry = getattr(sys.modules.get("gym.envs.registration"), "registry", {})
    if name in getattr(registry, "env_specs", registry):  # a dict since gym 0.26
        return (
            f"{module} registers it with OpenAI's gym, not with Gymnasium, which came after it: "
            f"look for a newer release, or wrap it with the package shimmy"
        )
    own_ids = [spec.id for spec in specs if _module_of(spec).startswith(f"{module}.")]
    but = f" but {', '.join(own_ids[:_MOST_NAMED])}" if own_ids else ""
    return f"importing {module} registers no such id{but}"
