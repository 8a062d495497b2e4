"""A plan of faults on a cluster, as the driver sees it: what happens to whole nodes, and when.

Learners write down what happens to them in their node's file and wait, for the time of a report,
until the driver has the row: only then does it happen. So nothing that was lost with a node is done
again. Machines have no common clock: each node counts from its own learners' first update, which
they begin together, and one that is started again from what the driver tells it.
"""

from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.log import FaultLog, notice
from gala_rl.faults.plan import Fault, read_plan
from gala_rl.records.run_folder import RunFolder


class NodeFaults:
    """The driver's part: kills nodes when the plan says so, and knows how long ago the run began.

    Args:
        folder: of the run, with its plan.

    Attributes:
        clock: of the run, set by what nodes tell.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.clock = FaultClock(1)
        self._logs: dict[int, FaultLog] = {}
        self._to_come: list[Fault] = []
        self._struck: dict[int, int] = {}
        for fault in read_plan(folder.fault_plan_file):
            if fault.node is None:
                continue
            if fault.node not in self._logs:
                self._logs[fault.node] = FaultLog(folder.faults_file, fault.node, "node")
            if fault.index not in self._logs[fault.node].begun:
                self._to_come.append(fault)

    def look(self, post: NodeHandle, updates: int, agent_steps: int) -> list[str]:
        """Kill a node that is at work, if that is due; once in each of its lives.

        Args:
            post: of the node.
            updates: that its first learner is known to have made.
            agent_steps: likewise.

        Returns:
            What there is to tell.

        Raises:
            StorageError: when it cannot be written down.
        """
        elapsed_s = self.clock.elapsed_if_begun_s()
        is_at_work = post.latest is not None and not post.latest.done and not post.is_lost
        if elapsed_s is None or not is_at_work or self._struck.get(post.index) == post.incarnation:
            return []
        for fault in self._to_come:
            if fault.node == post.index and fault.has_come(updates, elapsed_s):
                self._to_come.remove(fault)
                counters = {"updates": updates, "agent_steps": agent_steps}
                row = self._logs[post.index].begin(fault, counters)
                self._struck[post.index] = post.incarnation
                post.strike()
                return [notice(row)]
        return []

    def close(self) -> None:
        """Close the files."""
        for log in self._logs.values():
            log.close()
