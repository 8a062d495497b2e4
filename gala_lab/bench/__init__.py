"""Benchmarks of training, gossip and faults on this machine, with medians and paired ratios."""
