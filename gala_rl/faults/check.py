"""Holds a plan of faults against the run in which it is to happen; imports no torch."""

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import is_atari
from gala_rl.errors import UserError
from gala_rl.faults.plan import KINDS, Fault, read_plan
from gala_rl.gossip.topology import split_into_nodes
from gala_rl.graph import graph_of
from gala_rl.methods import METHODS, find


def check_plan(config: ResolvedConfig) -> None:
    """Raise a UserError if the config's plan asks for what cannot happen in its run.

    Which learners a node of a cluster has may not be known yet; what depends on it is looked at
    when it is.

    Args:
        config: of the run, resolved.
    """
    if config.fault_plan is None:
        return
    is_laid_out = config.cluster is None or config.learners_per_node is not None
    for fault in read_plan(config.fault_plan):
        place = f"fault plan {config.fault_plan}: faults[{fault.index}] ({fault.kind})"
        _check_learners(place, fault, config)
        if config.serial and KINDS[fault.kind].needs_processes:
            raise UserError(f"{place} needs a process a learner: leave out --serial")
        if fault.edges and is_laid_out:
            _check_edges(place, fault, config)
        elif fault.node is not None:
            _check_node(place, fault.node, config)
        elif not fault.learners:
            raise UserError(f"{place} is about no edge: senders and receivers are the same")
        if fault.kind == "simulator-crash":
            _check_simulator(place, fault, config)


def _check_learners(place: str, fault: Fault, config: ResolvedConfig) -> None:
    count = config.learners
    named = fault.learners | {sender for sender, _ in fault.edges}
    if named and (largest := max(named)) >= count:
        raise UserError(f"{place} names learner {largest}: learners are 0 to {count - 1}")


def _check_node(place: str, node: int, config: ResolvedConfig) -> None:
    if config.cluster is None:
        raise UserError(f"{place} needs nodes, which are on a cluster: give --cluster")
    if config.learners_per_node is not None:
        count = len(split_into_nodes(config.learners, config.learners_per_node))
        if node >= count:
            raise UserError(f"{place} names node {node}: nodes are 0 to {count - 1}")


def _check_edges(place: str, fault: Fault, config: ResolvedConfig) -> None:
    """Refuse faults of messages where there are none."""
    method = find(config.method)
    if not method.gossips:
        able = ", ".join(m.name for m in METHODS if m.gossips)
        raise UserError(f"{place} happens to messages, and {method.name} sends none: {able} do")
    graph = graph_of(config, config.learners)
    if not any(sender in graph.all_in_neighbours(receiver) for sender, receiver in fault.edges):
        raise UserError(
            f"{place} is about no edge of topology {config.gossip.topology}: none of its "
            f"receivers hears one of its senders; learner {min(fault.learners)} hears "
            f"{', '.join(map(str, graph.all_in_neighbours(min(fault.learners))))}"
        )


def _check_simulator(place: str, fault: Fault, config: ResolvedConfig) -> None:
    simulators = config.simulators
    if fault.simulator >= simulators:
        raise UserError(
            f"{place} names simulator {fault.simulator}: simulators are 0 to {simulators - 1}"
        )
    if is_atari(config.env):
        raise UserError(
            f"{place} needs a Gymnasium environment: Atari games run in C++ and don't raise"
        )
    if config.simulator_processes is not None:
        raise UserError(
            f"{place} needs simulators in the learner's process: leave out --simulator-processes"
        )
    if config.algorithm.acts_in_processes and not config.serial:
        raise UserError(
            f"{place} needs simulators in the learner's process: those of {config.method} are its "
            f"actors'"
        )
