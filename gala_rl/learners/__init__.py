"""Learners: each improves the parameters of a network by the rule of one algorithm."""
