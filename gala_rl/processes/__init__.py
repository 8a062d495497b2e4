"""Child processes, whatever their work: start, supervision, heartbeat, and memory."""
