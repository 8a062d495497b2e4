"""The config of a run: every setting, with its default, help, unit and bounds."""
