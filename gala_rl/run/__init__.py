"""A run: all learners in turn in one process, or a process each, supervised.

Begin with `serial`, the shortest whole run. `local` starts a process per learner from a `run_state`
and hands them to `supervision`, the loop that also calls `checkpointer`, `scaling` and
`consensus_monitor`. `learner_run` is what one learner does, in either kind of run.
"""
