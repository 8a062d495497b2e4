"""Scores of the methods on Atari games: runs, their results, and published scores beside them."""
