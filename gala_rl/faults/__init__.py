"""Faults that a plan asks for: a file says what breaks when, and it breaks for real."""
