"""Imports all that a learner needs, in the server that forks learners' processes."""

import gymnasium  # noqa: F401

import gala_rl.run.learner_process  # noqa: F401
from gala_rl.processes.spawn import serve

serve()
