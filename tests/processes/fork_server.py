"""A fork server that imports next to nothing, for programs that start one of their own."""

from gala_rl.processes.spawn import serve

serve()
