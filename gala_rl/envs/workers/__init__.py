"""Gymnasium simulators in separate processes: a hang or a crash costs one episode per simulator."""

from gala_rl.envs.workers.simulators import SimulatorProcesses as SimulatorProcesses
from gala_rl.envs.workers.simulators import WorkerTimeouts as WorkerTimeouts
