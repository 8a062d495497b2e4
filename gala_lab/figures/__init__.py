"""Figures of runs, comparisons, studies and benchmarks, and reports that have them inline."""
