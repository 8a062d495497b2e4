"""Plans a run: measures simulators, network and gradient noise briefly, and compares settings.

Start with `advice.py` for the model and `measuring.py` for what it needs to know.
"""
