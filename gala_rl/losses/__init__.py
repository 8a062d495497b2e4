"""Pure functions on tensors: no state, no I/O, no knowledge of processes or configs."""
