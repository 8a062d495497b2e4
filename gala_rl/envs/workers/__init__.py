"""Gymnasium simulators in processes of their own: one that hangs or dies costs its own episode."""

from gala_rl.envs.workers.simulators import SimulatorProcesses as SimulatorProcesses
from gala_rl.envs.workers.simulators import WorkerTimeouts as WorkerTimeouts
