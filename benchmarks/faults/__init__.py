"""What faults cost and leave behind, by trainings that are disturbed on purpose."""
