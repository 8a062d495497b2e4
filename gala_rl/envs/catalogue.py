"""Lists the environments available on this machine, and describes one of them."""

import importlib.util
from collections.abc import Iterator
from typing import NamedTuple

from gymnasium.envs import registration

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import backend_of, envpool, make_simulators, read_environment
from gala_rl.envs.functional import PGX_GAMES
from gala_rl.envs.gymnasium_vector import vector_ids
from gala_rl.envs.ids import find_spec
from gala_rl.errors import UserError
from gala_rl.spaces import ActionSpec, ObservationSpec

_EXTRAS = {"envpool": "envpool", "jax": "jax", "pgx": "jax"}
"""Extra that installs the package of an optional backend."""


class Description(NamedTuple):
    """Spaces of an environment in words, and whether a resumed run continues its episodes."""

    observation: str
    action: str
    on_resume: str


def environment_names(word: str = "") -> list[str]:
    """Return the names that contain a word, in any case: Gymnasium's first, then each backend's."""
    return [name for name in _all_names() if word.lower() in name.lower()]


def _all_names() -> Iterator[str]:
    specs = sorted(registration.registry.values(), key=lambda spec: spec.id)
    for spec in specs:
        try:
            if spec.entry_point is not None and find_spec(spec.id):
                yield spec.id
        except UserError:
            continue  # A game of ALE's that skips a random number of frames.
    yield from (f"gym-vec:{env_id}" for env_id in vector_ids(specs))
    if _is_installed("jax") and _is_installed("pgx"):
        yield from (f"pgx:{game}" for game in PGX_GAMES)
    yield from (f"envpool:{name}" for name in envpool.names())


def missing_packages() -> dict[str, str]:
    """Return the packages of backends that are not installed, with the extra of each."""
    return {name: extra for name, extra in _EXTRAS.items() if not _is_installed(name)}


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


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
