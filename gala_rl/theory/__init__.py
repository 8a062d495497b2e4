"""Theory of gossip: how far learners can be apart, and how far they are."""
