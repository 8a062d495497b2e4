"""What Q-learning from replay learns: runs of several seeds, their scores and intervals."""
