"""Processes of the package: how they start, end and keep memory, whatever their work."""
