"""What is run by hand: evidence and comparisons, with their results."""
