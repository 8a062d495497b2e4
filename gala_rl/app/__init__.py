"""What a person does with the systems: train, resume, evaluate, measure, watch."""
