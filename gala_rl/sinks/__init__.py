"""Sinks: where the metrics of a run go besides its folder, such as TensorBoard.

Start with `sink.py`, the interface. `charts.py` turns rows of metrics into rows of named numbers,
`threads.py` passes them to sinks, each in a thread of its own, and `named.py` makes those of --log.
"""
