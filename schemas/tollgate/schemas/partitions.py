"""Which partition a key belongs to: murmur2, the default of Kafka's own clients."""

from aiokafka.partitioner import murmur2


def partition_of(key: bytes, partitions: int) -> int:
    """The partition Kafka's Java client picks for this key. A user's events, state and flags share it."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
