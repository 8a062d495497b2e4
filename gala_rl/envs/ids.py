"""Resolves environment ids through Gymnasium's registry, with suggestions for unknown ids."""

import difflib
import re
import sys
from typing import Any, NamedTuple

from ale_py import roms
from gymnasium.envs import registration
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id

from gala_rl.config.environment import PREFIXES
from gala_rl.errors import UserError
from gala_rl.imports import import_module
from gala_rl.suggestions import closest

_VERSION = re.compile(r"-v\d+$")
_ALE = "ale_py.env:AtariEnv"
_CUTOFF = 0.75
"""Suggestions less similar than this would mislead more often than they help."""
_MOST_NAMED = 5
_ADVICE = "give a Gymnasium id such as CartPole-v1"


class AtariGame(NamedTuple):
    """An ALE game as its id specifies it: the ROM and the probability that an action repeats."""

    rom: str
    sticky_actions: float


def find_spec(env_id: str) -> EnvSpec:
    """Return the registry's entry of an id; `module:Name-v0` imports the module first.

    Raises:
        UserError: when there is no such entry, or its module cannot be imported.
    """
    module, colon, name = env_id.rpartition(":")
    if colon:
        _check_module_name(module, env_id)
        _import(module, env_id, name)
    spec = registration.registry.get(name)
    if spec is not None and not _skips_at_random(spec):
        return spec
    wrong = "is unknown" if spec is None else "skips a random number of frames"
    namespace, _, rest = name.rpartition("/")
    if spec is None and find_highest_version(namespace or None, rest) is not None:
        wrong = "has no version"
    raise UserError(f"env {env_id!r} {wrong}: {_hint(module + colon, name)}")


def atari_game(env_id: str) -> AtariGame | None:
    """Return the ALE game of an id; None for all other environments.

    A variant that the user's program registers, such as another mode of a game, does not count as
    an ALE game and is built through Gymnasium.

    Raises:
        UserError: as `find_spec`.
    """
    spec = find_spec(env_id)
    game = _game_of(spec)
    own = (f"{game}NoFrameskip-v4", f"{game}NoFrameskip-v0", f"ALE/{game}-v5")
    if game is None or spec.id not in own:
        return None
    return AtariGame(spec.kwargs["game"], spec.kwargs["repeat_action_probability"])


def _check_module_name(module: str, env_id: str) -> None:
    if not module or module.startswith("."):
        raise UserError(f"env {env_id!r} is unknown: {_ADVICE}, or module:Name-v0")


def _import(module: str, env_id: str, name: str) -> None:
    """Import the module of an id; suggest the prefix of a backend if there is none like it."""
    try:
        import_module(module, f"env {env_id!r}", name)
    except UserError as error:
        written, _, rest = env_id.partition(":")
        prefix = closest(written, PREFIXES)
        if prefix is None or not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        raise UserError(f"env {env_id!r} is unknown: did you mean {prefix}:{rest}?") from error


def _game_of(spec: EnvSpec) -> str | None:
    """Return the name of an entry's game if it is one of ALE's environments, else None."""
    if spec.entry_point != _ALE or "game" not in spec.kwargs:
        return None
    return str(spec.kwargs["game"]).title().replace("_", "")


def _skips_at_random(spec: EnvSpec) -> bool:
    """Return whether an entry is one of ALE's that repeat actions for 2 to 4 frames (Pong-v4)."""
    game = _game_of(spec)
    return game is not None and spec.id in (f"{game}-v0", f"{game}-v4")


def module_of(entry_point: Any) -> str | None:
    """Return the module of an entry point, which is "module:name", a class or a function."""
    if isinstance(entry_point, str):
        return entry_point.partition(":")[0]
    return getattr(entry_point, "__module__", None)


def _hint(prefix: str, name: str) -> str:
    """Return a remedy for an unknown id; it never suggests an id that would be rejected too."""
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
        guess = f"did you mean the game {games[close[0]]}?" if close else "there is no such game."
        return f"{guess} Games are written like PongNoFrameskip-v4 or ALE/Pong-v5"
    names = {get_env_id(spec.namespace, spec.name, None).lower(): spec for spec in specs}
    wanted = get_env_id(namespace or None, own, None).lower()
    if close := difflib.get_close_matches(wanted, names, n=1, cutoff=_CUTOFF):
        spec = names[close[0]]
        newest = find_highest_version(spec.namespace, spec.name)
        return f"did you mean {prefix}{get_env_id(spec.namespace, spec.name, newest)}?"
    if prefix:
        return _registered_by(prefix[:-1], name, specs)
    return f"{_ADVICE}; if a package or file registers it: --env module:{name}" if name else _ADVICE


def _registered_by(module: str, name: str, specs: list[EnvSpec]) -> str:
    """Return a remedy for a name that a module did not register when it was imported."""
    registry = getattr(sys.modules.get("gym.envs.registration"), "registry", {})
    if name in getattr(registry, "env_specs", registry):  # A dict since gym 0.26.
        return (
            f"{module} registers it with OpenAI's gym, not with Gymnasium, which came after it: "
            f"look for a newer release, or wrap it with the package shimmy"
        )
    if callable(getattr(sys.modules.get(module), name, None)):
        return f"to call this function of {module}, give make:{module}:{name}"
    own_ids = [
        spec.id for spec in specs if f"{module_of(spec.entry_point)}.".startswith(f"{module}.")
    ]
    but = f" but {', '.join(own_ids[:_MOST_NAMED])}" if own_ids else ""
    return f"importing {module} registers no such id{but}"
