"""Networks: code for a single device, independent of processes, gossip and configs."""
