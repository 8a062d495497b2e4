"""Places nodes on the machines of a cluster: requests and releases resources per node."""

from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import (
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from gala_rl.cluster.node import Node
from gala_rl.cluster.protocol import CONCURRENCY_GROUPS
from gala_rl.cluster.rollouts import node_name
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError

_Bundle = dict[str, float]


@dataclass(frozen=True)
class _Reservation:
    """Resources of a node that Ray has reserved or has been requested to reserve.

    Attributes:
        bundle: the resources.
        group: Ray's placement group; it can only be released as a whole, so there are several.
        target: preferred machine; None for any.
        is_bound: whether the preferred machine is required.
    """

    bundle: _Bundle
    group: Any
    target: str | None
    is_bound: bool

    @property
    def is_granted(self) -> bool:
        """Whether Ray has reserved it, on an acceptable machine."""
        state: str = placement_group_table(self.group)["state"]
        return state == "CREATED" and (not self.is_bound or self.machine == self.target)

    @property
    def machine(self) -> str | None:
        """Machine of the reservation, or, before Ray has decided, the target."""
        machines: dict[int, str] = placement_group_table(self.group)["bundles_to_node_id"]
        return machines.get(0) or self.target


class Placement:
    """Requests and releases the resources of a run's nodes.

    Args:
        config: config of the run, with `learners_per_node` if there is more than one learner.
        actors: indices of the actors per node, if one learner has actors on all; else empty.
    """

    def __init__(self, config: ResolvedConfig, actors: tuple[range, ...] = ()) -> None:
        self._config, self._actors = config, actors
        self._used: dict[int, list[_Reservation]] = {}
        self._requested: list[tuple[int, _Reservation]] = []

    def request(self, ranks: tuple[range, ...]) -> None:
        """Request the resources that nodes with these learners still lack; never wait."""
        self._requested = []
        for node, share in enumerate(ranks):
            used = self._used.get(node, [])
            bundle = self._bundle(node, share)
            missing = bundle["CPU"] - sum(reservation.bundle["CPU"] for reservation in used)
            if not used:
                self._reserve(node, bundle, None)
            elif missing > 0:
                # Learners of a node share memory, so they have to be on its machine.
                self._reserve(node, {"CPU": missing}, used[0].machine)

    def is_granted(self) -> bool:
        """Return whether Ray has reserved all requested resources; never wait."""
        return all(reservation.is_granted for _, reservation in self._requested)

    def start_nodes(self) -> dict[int, Any]:
        """Start new nodes on the granted resources; return their Ray actors, by index."""
        nodes = {}
        for node, reservation in self._requested:
            if node not in self._used:
                # For the learner's process. Without actors a node has no name: scaling may end it
                # and start it again before Ray has freed the name.
                name = node_name(node) if self._actors else None
                nodes[node] = _start(reservation, name)
            self._used.setdefault(node, []).append(reservation)
        return nodes

    def no_room(self, ranks: tuple[range, ...]) -> UserError:
        """Return the error for a request that Ray has not granted."""
        bundle = self._bundle(0, ranks[0])
        needed = " and ".join(f"{number:g} {name}" for name, number in bundle.items())
        setting = f"learners_per_node {self._config.learners_per_node}"
        if self._actors:
            setting = f"actors {self._actors[-1].stop}"
        return UserError(
            f"{setting} cannot be placed on {len(ranks)} nodes: each needs {needed}, and the "
            f"cluster has {_inventory()}; use fewer, or wait until others are done"
        )

    def cancel(self) -> None:
        """Release the resources of the latest request, used or not; Ray ends the new nodes."""
        for node, reservation in self._requested:
            remove_placement_group(reservation.group)
            if reservation in (used := self._used.get(node, [])):
                used.remove(reservation)
            if not used:
                self._used.pop(node, None)
        self._requested = []

    def release(self, node: int) -> None:
        """Release the resources of a node; Ray ends it."""
        for reservation in self._used.pop(node, []):
            remove_placement_group(reservation.group)
        self._requested = [(other, r) for other, r in self._requested if other != node]

    def close(self) -> None:
        """Release everything."""
        self.cancel()
        for node in list(self._used):
            self.release(node)

    def _reserve(self, node: int, bundle: _Bundle, machine: str | None) -> None:
        target = machine or self._freest_machine(bundle)
        group = placement_group([bundle], "STRICT_PACK", _soft_target_node_id=target)
        reservation = _Reservation(bundle, group, target, is_bound=machine is not None)
        self._requested.append((node, reservation))

    def _bundle(self, node: int, share: range) -> _Bundle:
        actors = len(self._actors[node]) if self._actors else 0
        bundle = {"CPU": float(len(share) + actors)}
        # Only learners use the GPU: actors act on CPUs.
        return bundle | {"GPU": 1.0} if self._config.device == "cuda" and share else bundle

    def _freest_machine(self, bundle: _Bundle) -> str | None:
        """Return the machine with the most CPUs left free by this run, so that nodes are spread."""
        free: dict[str, _Bundle] = {
            machine["NodeID"]: machine["Resources"] for machine in ray.nodes() if machine["Alive"]
        }
        used = [reservation for own in self._used.values() for reservation in own]
        for reservation in (*used, *(r for _, r in self._requested)):
            if (on := reservation.machine) in free:
                taken = reservation.bundle.items()
                free[on] = free[on] | {name: free[on].get(name, 0.0) - n for name, n in taken}
        fitting = [
            machine
            for machine, resources in free.items()
            if all(resources.get(name, 0.0) >= number for name, number in bundle.items())
        ]
        return max(fitting, key=lambda machine: free[machine]["CPU"], default=None)


def _start(reservation: _Reservation, name: str | None) -> Any:
    actor = ray.remote(
        num_cpus=reservation.bundle["CPU"],
        num_gpus=reservation.bundle.get("GPU", 0),
        max_restarts=-1,
        concurrency_groups=CONCURRENCY_GROUPS,
    )(Node)
    strategy = PlacementGroupSchedulingStrategy(reservation.group, placement_group_bundle_index=0)
    return actor.options(scheduling_strategy=strategy, name=name).remote()


def _inventory() -> str:
    machines = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
    described = [
        " and ".join(f"{m.get(name, 0):g} {name}" for name in ("CPU", "GPU")) for m in machines
    ]
    return f"{len(machines)} machines ({', '.join(described)})"
