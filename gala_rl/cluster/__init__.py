"""Cluster: learners on many machines, each of them a node that Ray places; for `--cluster`."""
