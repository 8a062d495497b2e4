"""Networks: single-device code that knows nothing of processes, gossip or configs."""
