"""What communication costs: the models of time and bytes that the schemes share.

Every learner has one port of a given bandwidth each way. What leaves a port leaves one message
after another and arrives a latency after its last byte; the network between ports is never full.
"""


def transfer_s(message_bytes: float, bandwidth_bytes_per_s: float) -> float:
    """Seconds that one message keeps a port busy."""
    return message_bytes / bandwidth_bytes_per_s


def all_reduce_bytes(learners: int, message_bytes: float) -> float:
    """What each learner sends in a ring all-reduce: 2 (n - 1) / n of a message."""
    return 2 * (learners - 1) / learners * message_bytes


def all_reduce_s(
    learners: int, message_bytes: float, latency_s: float, bandwidth_bytes_per_s: float
) -> float:
    """Seconds of a ring all-reduce: 2 (n - 1) steps, each moves an n-th of the message.

    Reduce-scatter, then all-gather; no algorithm sends less ("Bandwidth optimal all-reduce
    algorithms for clusters of workstations", Patarasuk and Yuan 2009).
    """
    sent_bytes = all_reduce_bytes(learners, message_bytes)
    return transfer_s(sent_bytes, bandwidth_bytes_per_s) + 2 * (learners - 1) * latency_s
