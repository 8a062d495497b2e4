"""Studies: learners and seeds trained as one batch of tensors, to compare update rules."""
