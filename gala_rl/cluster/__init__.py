"""Learners on many machines: each node is a Ray actor that runs the learners of one machine.

Start with `driver.py`, which supervises a run from the machine where it was started, then
`node.py`, which runs learners, and `gossip_relay.py`, which exchanges messages between nodes.
`protocol.py` defines everything that they send each other.
"""
