"""`python -m gala_rl` is the command `gala`, also where scripts are not on the path."""

import sys
from importlib.metadata import entry_points

if __name__ == "__main__":
    (command,) = entry_points(group="console_scripts", name="gala")
    sys.exit(command.load()())
