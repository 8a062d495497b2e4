"""The user's operations: train, resume, scale and evaluate, with checks and progress output."""
