"""Injects the faults of a plan that concern whole nodes, from the driver.

Learners log a fault in their node's file and wait for the next heartbeat, so that the driver has
the row before the fault happens: no fault is repeated after a node is lost. Machines have no common
clock. Each node counts from its own learners' first update, which they make together; a restarted
node gets the elapsed time from the driver.
"""

from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.log import FaultLog, notice
from gala_rl.faults.plan import Fault, read_plan
from gala_rl.records.run_folder import RunFolder


class NodeFaults:
    """Kills nodes at the moments in the plan.

    Args:
        folder: folder of the run, with its plan.

    Attributes:
        clock: clock of the run, set from the nodes' status.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.clock = FaultClock(1)
        self._logs: dict[int, FaultLog] = {}
        self._pending: list[Fault] = []
        self._killed_incarnations: dict[int, int] = {}
        for fault in read_plan(folder.fault_plan_file):
            if fault.node is None:
                continue
            if fault.node not in self._logs:
                self._logs[fault.node] = FaultLog(folder.faults_file, fault.node, "node")
            if fault.index not in self._logs[fault.node].begun:
                self._pending.append(fault)

    def poll(self, node: NodeHandle, updates: int, agent_steps: int) -> list[str]:
        """Kill a running node if that is due, once per incarnation.

        Args:
            node: node to kill if a fault of it is due.
            updates: updates of its first learner.
            agent_steps: agent steps of its first learner.

        Returns:
            Notices.

        Raises:
            StorageError: when the fault cannot be logged.
        """
        elapsed_s = self.clock.elapsed_if_started_s()
        is_running = node.latest is not None and not node.latest.done and not node.is_lost
        was_killed = self._killed_incarnations.get(node.index) == node.incarnation
        if elapsed_s is None or not is_running or was_killed:
            return []
        for fault in self._pending:
            if fault.node == node.index and fault.has_begun(updates, elapsed_s):
                self._pending.remove(fault)
                counters = {"updates": updates, "agent_steps": agent_steps}
                row = self._logs[node.index].record_begin(fault, counters)
                self._killed_incarnations[node.index] = node.incarnation
                node.crash()
                return [notice(row)]
        return []

    def close(self) -> None:
        """Close the files."""
        for log in self._logs.values():
            log.close()
