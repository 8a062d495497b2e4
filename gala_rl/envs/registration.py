"""Hands environments that only the calling program knows to the processes that it starts.

A process of Python's `multiprocessing` imports the file of the main program, if there is one, but
runs neither what is under its guard nor the cells of a notebook. What they registered is sent.
"""

import copy
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gymnasium.envs import registration
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector.utils import CloudpickleWrapper

from gala_rl.errors import UserError

_MAIN = "__main__"


@dataclass(frozen=True)
class RegistryEntries:
    """Entries of the registry, to be handed to a process as an argument.

    Attributes:
        specs: of environments that the process may lack; what is defined in the main program
            itself is sent by value.
    """

    specs: tuple[CloudpickleWrapper[Any], ...] = ()

    def register(self) -> None:
        """Register those that this process lacks."""
        for sent in self.specs:
            spec: Any = sent.fn
            registration.registry.setdefault(spec.id, spec)


def registered(env_id: str) -> RegistryEntries:
    """Return what a process that steps an environment may lack: its entry, and the program's own.

    The program's own are those that are defined in the main program, from which the environment
    may be made. One of them that cannot be sent is left out.
    """
    packed = (_pack(spec) for spec in _missing_elsewhere(env_id))
    return RegistryEntries(tuple(entry for entry, why_not in packed if why_not is None))


def check_registered(env_id: str) -> None:
    """Raise a UserError if the environment cannot be handed to processes that are started here."""
    spec = registration.registry.get(env_id)
    why_not = None if spec is None else _pack(spec)[1]
    if why_not is not None:
        raise UserError(
            f"env {env_id!r} cannot be handed to other processes ({why_not}): register it in a "
            f"module and give env='module:{env_id}', or use serial=True"
        )


def is_of_main_program(env_id: str) -> bool:
    """Whether an environment is defined in the main program, which other machines do not have."""
    spec = registration.registry.get(env_id)
    return spec is not None and _is_of_main(spec)


def _missing_elsewhere(env_id: str) -> Iterator[EnvSpec]:
    return (s for s in registration.registry.values() if s.id == env_id or _is_of_main(s))


def _is_of_main(spec: EnvSpec) -> bool:
    entry: Any = spec.entry_point
    module = entry.partition(":")[0] if isinstance(entry, str) else _module_of(entry)
    return bool(module == _MAIN)


def _module_of(entry: Any) -> str | None:
    return getattr(entry, "__module__", None)


def _pack(spec: EnvSpec) -> tuple[CloudpickleWrapper[Any], str | None]:
    """An entry as it is sent; and why it cannot be, None if it can."""
    sent: Any = copy.copy(spec)
    sent.vector_entry_point = None
    entry = CloudpickleWrapper(sent)
    try:
        if _is_of_main(spec) and isinstance(spec.entry_point, str):
            sent.entry_point = load_env_creator(spec.entry_point)
        module = _module_of(sent.entry_point)
        if module not in (None, _MAIN) and importlib.util.find_spec(str(module)) is None:
            return entry, f"there is no module {module} to import"
        entry.__getstate__()
    # Whatever an object of somebody else's raises when it is looked up or pickled.
    except Exception as error:
        return entry, f"{type(error).__name__}: {error}"
    return entry, None
