"""Learners on many machines: each node is a Ray actor that runs the learners of one machine.

Begin with `driver.py`, which watches a run from the machine of the command, then `node.py`, which
runs learners, and `gossip_relay.py`, which carries messages between nodes. `protocol.py` has all
that they send each other.
"""
