"""Commands of a user: train, resume, scale and evaluate; their checks and their progress."""
