"""Who steps when: all learners in turn in one process, or a process each."""
