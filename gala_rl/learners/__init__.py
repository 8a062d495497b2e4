"""Learners: each updates the parameters of a network by one algorithm."""
