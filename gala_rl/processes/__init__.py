"""Child processes of any kind: start, supervision, heartbeat and memory allocator."""
