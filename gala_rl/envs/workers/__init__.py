"""Gymnasium simulators in processes of their own: a hang or a crash costs one episode."""

from gala_rl.envs.workers.simulators import SimulatorProcesses as SimulatorProcesses
from gala_rl.envs.workers.simulators import WorkerTimeouts as WorkerTimeouts
