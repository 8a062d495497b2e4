"""Benchmarks: what this machine can do, what the program makes of it, and what can be concluded."""
