"""Runs learners on one machine: in turn in one process, or in supervised processes.

Start with `serial`, the shortest complete run. `local` starts a process per learner from a
`run_state`; `supervision` is the loop that polls them and calls `checkpointer`, `scaling` and
`consensus_monitor`. `learner_run` is one learner, in either kind of run.
"""
