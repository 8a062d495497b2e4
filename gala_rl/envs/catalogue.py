"""Lists the environments available on this machine, and describes one of them."""

import importlib.util
from collections.abc import Iterator
from typing import Any, NamedTuple

from gymnasium.envs import registration
from gymnasium.envs.registration import EnvSpec

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import backend_of, envpool, make_simulators, read_environment
from gala_rl.envs.functional import PGX_GAMES
from gala_rl.envs.gymnasium_vector import vector_ids
from gala_rl.envs.ids import find_spec, module_of
from gala_rl.errors import UserError
from gala_rl.spaces import ActionSpec, ObservationSpec

_INSTALL = {
    "envpool": "gala-rl[envpool]",
    "jax": "gala-rl[jax]",
    "pgx": "gala-rl[jax]",
    "Box2D": "gymnasium[box2d]",
    "mujoco": "gymnasium[mujoco]",
    "flax": "gymnasium[jax]",
}
"""What to install for a package."""

_FOLDERS = {
    "box2d": ("Box2D",),
    "mujoco": ("mujoco",),
    "phys2d": ("jax", "flax"),
    "tabular": ("jax", "flax"),
}
"""Packages that Gymnasium's own environments need, by their folder in `gymnasium.envs`."""


class Description(NamedTuple):
    """Spaces of an environment in words, and whether a resumed run continues its episodes."""

    observation: str
    action: str
    on_resume: str


def environment_names(word: str = "") -> tuple[list[str], list[str]]:
    """Return the names that contain a word, in any case, and the packages that others need.

    Names of Gymnasium come first, then those of each backend. Those that cannot be built, since a
    package is missing, are left out.
    """
    found = [row for row in _all_names() if row[0].endswith(":") or word.lower() in row[0].lower()]
    missing = dict.fromkeys(package for _, package in found if package is not None)
    return [name for name, package in found if package is None], list(missing)


def _all_names() -> Iterator[tuple[str, str | None]]:
    """Yield names, each with the package that it lacks; "envpool:" alone if EnvPool is missing."""
    specs = sorted(registration.registry.values(), key=lambda spec: spec.id)
    for spec in specs:
        if spec.entry_point is not None and _is_usable(spec):
            yield spec.id, _lacking(spec)
    for spec in specs:
        if vector_ids([spec]):
            yield f"gym-vec:{spec.id}", _lacking(spec)
    yield from ((f"pgx:{game}", _first_missing("jax", "pgx")) for game in PGX_GAMES)
    if (lacking := _first_missing("envpool")) is not None:
        yield "envpool:", lacking
        return
    lacking_library = envpool.names_without_library()
    for name in envpool.names():
        yield f"envpool:{name}", lacking_library.get(name)


def _is_usable(spec: EnvSpec) -> bool:
    """Return whether an id is neither a game of ALE's that skips at random nor a signpost."""
    try:
        entry_point: Any = find_spec(spec.id).entry_point
    except UserError:
        return False
    # MuJoCo's environments of old are functions that raise and say where they are now.
    return not getattr(entry_point, "__name__", "").startswith("_raise_")


def _lacking(spec: EnvSpec) -> str | None:
    """Return a package that one of Gymnasium's own environments needs and that is missing."""
    module = str(module_of(spec.entry_point or spec.vector_entry_point))
    folder = module.removeprefix("gymnasium.envs.").partition(".")[0]
    return _first_missing(*_FOLDERS.get(folder, ()))


def _first_missing(*packages: str) -> str | None:
    return next((name for name in packages if importlib.util.find_spec(name) is None), None)


def how_to_install(package: str) -> str:
    """Return a package with the command that installs it."""
    return f"{package} (pip install '{_INSTALL[package]}')" if package in _INSTALL else package


def backend_name(name: str) -> str:
    """Return what steps the simulators of an environment."""
    return backend_of(EnvironmentSource(name))


def description(name: str) -> Description:
    """Build an environment and describe it; if it cannot be built, `observation` says why."""
    source = EnvironmentSource(name)
    try:
        spec = read_environment(source)
        simulators = make_simulators(source, 1, 1)
    except UserError as error:
        return Description(str(error).removeprefix(f"env {name!r} "), "", "")
    try:
        simulators.reset(0)
        has_state = simulators.get_state() is not None
    finally:
        simulators.close()
    on_resume = "continues" if has_state else "new episodes"
    return Description(_observation_words(spec.observation), _action_words(spec.action), on_resume)


def _observation_words(spec: ObservationSpec) -> str:
    shape = " x ".join(map(str, spec.shape))
    return f"image {shape}" if spec.is_image else f"vector {shape}"


def _action_words(spec: ActionSpec) -> str:
    if spec.sizes:
        return f"choices of {', '.join(map(str, spec.sizes))}"
    return f"one of {spec.size}" if spec.is_discrete else f"vector {spec.size}"
