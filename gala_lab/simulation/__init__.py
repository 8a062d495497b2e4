"""What a cluster of learners would do, simulated event by event before anyone rents it."""
