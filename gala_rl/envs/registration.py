"""Sends environments that the calling program has registered to the processes that it starts.

A process of Python's `multiprocessing` imports the file of the main program, if there is one, but
runs neither the code under `if __name__ == "__main__"` nor the cells of a notebook. So entries that
these register are pickled and sent.
"""

import copy
import importlib.util
from dataclasses import dataclass
from typing import Any

from gymnasium.envs import registration
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector.utils import CloudpickleWrapper

from gala_rl.envs.ids import module_of
from gala_rl.errors import UserError

_MAIN = "__main__"


@dataclass(frozen=True)
class RegistryEntries:
    """Entries of Gymnasium's registry that a process receives as an argument.

    Attributes:
        specs: specs of environments that the process may lack; what is defined in the main program
            itself is pickled by value.
    """

    specs: tuple[CloudpickleWrapper[Any], ...] = ()

    def register(self) -> None:
        """Register the entries that this process lacks."""
        for sent in self.specs:
            spec: Any = sent.fn
            registration.registry.setdefault(spec.id, spec)


def registry_entries(env_id: str) -> RegistryEntries:
    """Return the entries that a process which steps an environment may lack.

    These are the environment's own and those that are defined in the main program, since the
    environment may be built from them. Entries that cannot be pickled are left out.
    """
    specs = [s for s in registration.registry.values() if s.id == env_id or _is_of_main(s)]
    packed = map(_pack, specs)
    return RegistryEntries(tuple(entry for entry, why_not in packed if why_not is None))


def check_sendable(env_id: str) -> None:
    """Raise a UserError if an environment cannot be sent to the processes that a run starts."""
    spec = registration.registry.get(env_id)
    why_not = None if spec is None else _pack(spec)[1]
    if why_not is not None:
        raise UserError(
            f"env {env_id!r} cannot be handed to other processes ({why_not}): register it in a "
            f"module and give env='module:{env_id}', or use serial=True"
        )


def is_defined_in_main(env_id: str) -> bool:
    """Return whether an environment is defined in the main program, which other machines lack."""
    spec = registration.registry.get(env_id)
    return spec is not None and _is_of_main(spec)


def _is_of_main(spec: EnvSpec) -> bool:
    return module_of(spec.entry_point) == _MAIN


def _pack(spec: EnvSpec) -> tuple[CloudpickleWrapper[Any], str | None]:
    """Return an entry ready to be pickled, and the reason why it cannot be; None if it can."""
    sent: Any = copy.copy(spec)
    sent.vector_entry_point = None
    entry = CloudpickleWrapper(sent)
    try:
        if _is_of_main(spec) and isinstance(spec.entry_point, str):
            sent.entry_point = load_env_creator(spec.entry_point)
        if not isinstance(sent.entry_point, str):
            module = module_of(sent.entry_point)
            if module not in (None, _MAIN) and importlib.util.find_spec(str(module)) is None:
                return entry, f"there is no module {module} to import"
        entry.__getstate__()
    # Third-party objects may raise anything when they are imported or pickled.
    except Exception as error:
        return entry, f"{type(error).__name__}: {error}"
    return entry, None
