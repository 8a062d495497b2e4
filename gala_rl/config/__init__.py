"""The configuration of a run: every field that a user can set, with help, unit and bounds."""
