"""Files of a run on disk: its folder, checkpoints and metrics."""
