"""Checks a fault plan against the config of its run; imports no torch."""

from gala_rl.checks import Row, check_rows
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.faults.plan import KINDS, Fault, read_plan
from gala_rl.gossip.topology import split_into_nodes
from gala_rl.graph import graph_of
from gala_rl.methods import find, gossiping


def check_fault_plan(config: ResolvedConfig) -> None:
    """Raise a UserError if the config's plan has faults that are impossible in its run.

    On a cluster the number of learners per node may not be known yet; faults that depend on it are
    then checked after connecting.
    """
    if config.fault_plan is None:
        return
    for fault in read_plan(config.fault_plan):
        place = f"fault plan {config.fault_plan}: faults[{fault.index}] ({fault.kind})"
        check_rows(_learner_rows(place, fault, config))
        if fault.edges and (config.cluster is None or config.learners_per_node is not None):
            check_rows(_edge_rows(place, fault, config))
        if fault.node is not None and not fault.edges:
            check_rows(_node_rows(place, fault.node, config))
        if fault.kind == "simulator-crash":
            check_rows(_simulator_rows(place, fault, config))


def _learner_rows(place: str, fault: Fault, config: ResolvedConfig) -> list[Row]:
    last = config.learners - 1
    largest = max(fault.learners | {sender for sender, _ in fault.edges}, default=0)
    is_about_nothing = not fault.edges and fault.node is None and not fault.learners
    return [
        (largest > last, f"{place} names learner {largest}: learners are 0 to {last}"),
        (
            config.serial and KINDS[fault.kind].needs_processes,
            f"{place} needs a process per learner: leave out --serial",
        ),
        (is_about_nothing, f"{place} is about no edge: senders and receivers are the same"),
    ]


def _node_rows(place: str, node: int, config: ResolvedConfig) -> list[Row]:
    per_node = config.learners_per_node
    last = node if per_node is None else len(split_into_nodes(config.learners, per_node)) - 1
    return [
        (
            config.cluster is None,
            f"{place} needs nodes, which are on a cluster: give --cluster",
        ),
        (node > last, f"{place} names node {node}: nodes are 0 to {last}"),
    ]


def _edge_rows(place: str, fault: Fault, config: ResolvedConfig) -> list[Row]:
    method = find(config.method)
    graph, receiver = graph_of(config, config.learners), min(fault.learners)
    senders = ", ".join(map(str, graph.all_in_neighbours(receiver)))
    return [
        (
            not method.gossips,
            f"{place} happens to messages, and {method.name} sends none: {gossiping()} do",
        ),
        (
            not any(sender in graph.all_in_neighbours(to) for sender, to in fault.edges),
            f"{place} is about no edge of topology {config.gossip.topology_name}: none of its "
            f"receivers hears one of its senders; learner {receiver} hears {senders}",
        ),
    ]


def _simulator_rows(place: str, fault: Fault, config: ResolvedConfig) -> list[Row]:
    last, here = config.simulators - 1, f"{place} needs simulators in the learner's process"
    return [
        (
            fault.simulator > last,
            f"{place} names simulator {fault.simulator}: simulators are 0 to {last}",
        ),
        (
            config.environment.kind == "atari",
            f"{place} needs a Gymnasium environment: Atari games run in C++ and don't raise",
        ),
        (
            config.simulator_processes is not None,
            f"{here}: leave out --simulator-processes",
        ),
        (
            config.algorithm.acts_in_processes and not config.serial,
            f"{here}: those of {config.method} are its actors'",
        ),
    ]
