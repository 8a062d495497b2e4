"""Discrete-event simulation of a cluster of learners."""
