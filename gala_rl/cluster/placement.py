"""Room for nodes on the machines of a cluster: asked for, waited for and given back one by one."""

from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import (
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from gala_rl.cluster.node import CONCURRENCY_GROUPS, Node
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError

_Bundle = dict[str, float]


@dataclass(frozen=True)
class _NodePlacement:
    """Resources that Ray holds for a node, or is asked for.

    Attributes:
        bundle: the resources.
        group: Ray's name for the place; one each, since it can only be given back as a whole.
        target: the machine that Ray was asked to take; None for any.
        is_bound: whether no other will do.
    """

    bundle: _Bundle
    group: Any
    target: str | None
    is_bound: bool

    @property
    def is_held(self) -> bool:
        """Whether Ray has it, on a machine that will do."""
        state: str = placement_group_table(self.group)["state"]
        return state == "CREATED" and (not self.is_bound or self.on == self.target)

    @property
    def on(self) -> str | None:
        """The machine that it is on, or may be as long as Ray has not decided."""
        machines: dict[int, str] = placement_group_table(self.group)["bundles_to_node_id"]
        return machines.get(0) or self.target


class Placement:
    """Where the nodes of a run are.

    Args:
        config: of the run, with `learners_per_node` if there is more than one learner.
        actors: indices of those of each node, if one learner has actors on all; else empty.
    """

    def __init__(self, config: ResolvedConfig, actors: tuple[range, ...] = ()) -> None:
        self._config, self._actors = config, actors
        self._held: dict[int, list[_NodePlacement]] = {}
        self._asked: list[tuple[int, _NodePlacement]] = []

    def ask(self, ranks: tuple[range, ...]) -> None:
        """Ask Ray for what nodes with these learners need beyond what is held; never waits."""
        self._asked = []
        for node, share in enumerate(ranks):
            held = self._held.get(node, [])
            bundle = self._bundle(node, share)
            missing = bundle["CPU"] - sum(place.bundle["CPU"] for place in held)
            if not held:
                self._ask(node, bundle, None)
            elif missing > 0:
                # Its learners share memory: more of them have to be where it is.
                self._ask(node, {"CPU": missing}, held[0].on)

    def has_all(self) -> bool:
        """Whether Ray has given all that was asked for; never waits."""
        return all(place.is_held for _, place in self._asked)

    def hold(self) -> dict[int, Any]:
        """Use what was asked for and given; returns actors of the nodes that are new, by index."""
        actors = {}
        for node, place in self._asked:
            if node not in self._held:
                actors[node] = _start(place)
            self._held.setdefault(node, []).append(place)
        return actors

    def why_not(self, ranks: tuple[range, ...]) -> UserError:
        """What to tell when Ray has not given what was asked for."""
        bundle = self._bundle(0, ranks[0])
        needed = " and ".join(f"{number:g} {name}" for name, number in bundle.items())
        who = f"learners_per_node {self._config.learners_per_node}"
        if self._actors:
            who = f"actors {self._actors[-1].stop}"
        return UserError(
            f"{who} cannot be placed on "
            f"{len(ranks)} nodes: each needs {needed}, and the cluster has {_inventory()}; use "
            f"fewer, or wait until others are done"
        )

    def withdraw(self) -> None:
        """Give back what was asked for last, whether it is used or not; Ray ends new actors."""
        for node, place in self._asked:
            remove_placement_group(place.group)
            if place in (held := self._held.get(node, [])):
                held.remove(place)
            if not held:
                self._held.pop(node, None)
        self._asked = []

    def give_back(self, node: int) -> None:
        """Let others have the room of a node; Ray ends its actor."""
        for place in self._held.pop(node, []):
            remove_placement_group(place.group)
        self._asked = [(other, place) for other, place in self._asked if other != node]

    def close(self) -> None:
        """Give everything back."""
        self.withdraw()
        for node in list(self._held):
            self.give_back(node)

    def _ask(self, node: int, bundle: _Bundle, machine: str | None) -> None:
        target = machine or self._roomiest(bundle)
        group = placement_group([bundle], "STRICT_PACK", _soft_target_node_id=target)
        self._asked.append(
            (node, _NodePlacement(bundle, group, target, is_bound=machine is not None))
        )

    def _bundle(self, node: int, share: range) -> _Bundle:
        actors = len(self._actors[node]) if self._actors else 0
        bundle = {"CPU": float(len(share) + actors)}
        # Actors act on their CPUs.
        return bundle | {"GPU": 1.0} if self._config.device == "cuda" and share else bundle

    def _roomiest(self, bundle: _Bundle) -> str | None:
        """The machine on which this run leaves most free: so nodes are spread, if others let it."""
        free: dict[str, _Bundle] = {
            machine["NodeID"]: machine["Resources"] for machine in ray.nodes() if machine["Alive"]
        }
        taken = [place for places in self._held.values() for place in places]
        for place in (*taken, *(place for _, place in self._asked)):
            if (on := place.on) in free:
                left = {name: free[on].get(name, 0.0) - n for name, n in place.bundle.items()}
                free[on] = free[on] | left
        fits = [
            machine
            for machine, resources in free.items()
            if all(resources.get(name, 0.0) >= number for name, number in bundle.items())
        ]
        return max(fits, key=lambda machine: free[machine]["CPU"], default=None)


def _start(place: _NodePlacement) -> Any:
    actor = ray.remote(
        num_cpus=place.bundle["CPU"],
        num_gpus=place.bundle.get("GPU", 0),
        max_restarts=-1,
        concurrency_groups=CONCURRENCY_GROUPS,
    )(Node)
    strategy = PlacementGroupSchedulingStrategy(place.group, placement_group_bundle_index=0)
    return actor.options(scheduling_strategy=strategy).remote()


def _inventory() -> str:
    machines = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
    shown = [
        " and ".join(f"{m.get(name, 0):g} {name}" for name in ("CPU", "GPU")) for m in machines
    ]
    return f"{len(machines)} machines ({', '.join(shown)})"
