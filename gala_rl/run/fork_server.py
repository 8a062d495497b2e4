"""Imported by the server that forks learners' processes: everything that a learner needs."""

import gymnasium  # noqa: F401

import gala_rl.run.learner_process  # noqa: F401
from gala_rl.processes.spawn import serve

serve()
