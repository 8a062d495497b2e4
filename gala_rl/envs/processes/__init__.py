"""Gymnasium simulators in processes of their own: one that hangs or dies costs its own episode."""

from gala_rl.envs.processes.simulators import Limits as Limits
from gala_rl.envs.processes.simulators import SimulatorProcesses as SimulatorProcesses
