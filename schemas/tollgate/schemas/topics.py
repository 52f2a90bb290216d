"""Every Kafka topic of Tollgate, with its partitions, clean-up and retention.

`tollgate topics apply` makes a cluster match this list. Public topics are a promise to users; internal ones
(`tollgate.internal.*`) may change in any release.
"""

from dataclasses import dataclass, field
from enum import StrEnum

DAY_MS = 24 * 60 * 60 * 1000

# The default. It cannot be changed later, because a user's state is kept in the partition that their id hashes to.
# `TOLLGATE_USAGE_PARTITIONS` sets another number before the topics are created.
USAGE_PARTITIONS = 8

# Partitions share transactions lane by lane. Measured on two cores with one broker: with 8 transactions under way at a
# time the p99 from publish to a visible flag stays near 140 ms at 5,000 events/s; with 16 it passes 500 ms.
LANES = 8

# Shared scopes receive one summed record per batch, not one per event, so two partitions suffice. Each further one
# costs transactions, of which a broker commits only a few hundred per second.
DELTA_PARTITIONS = 2

# Whoever reserves names the partition that the decision is to arrive in, and reads that one alone.
DECISION_PARTITIONS = 8

# Every limit on the size of records follows from these three. Topics get theirs from `topic_specs`, the worker's
# producer from `kafka_log.py`, and the worker's outputs are made to fit.

# The largest record batch that the topics of usage and entries take, as it is on the wire. A worker refuses anything
# larger than 64 KiB as a usage event, but must be able to read it in order to refuse it and to keep its bytes.
RECORD_BYTES_MAX = 4 * 1024 * 1024

# The worker fills its record batches up to this size. Only a dead letter can be larger, and is then a batch by itself.
BATCH_BYTES_MAX = 1024 * 1024

# A dead letter holds a whole record of these topics, and what this leaves for its own headers.
LETTER_BYTES_MAX = RECORD_BYTES_MAX + 64 * 1024

# The usage topic is what `tollgate verify` recomputes from, so it reaches back over the whole of the previous month.
USAGE_RETENTION_MS = 62 * DAY_MS

# An identity is remembered for 35 days; the log of identities is kept a day longer, so that nothing is lost to the
# broker's coarse, segment-wise retention.
DEDUPE_HORIZON_MS = 35 * DAY_MS
DEDUPE_RETENTION_MS = 36 * DAY_MS

DEAD_LETTER_RETENTION_MS = 180 * DAY_MS

# A reservation lives for an hour at most, and its requester waits for seconds.
DECISION_RETENTION_MS = DAY_MS


class Topic(StrEnum):
    """Names without the prefix; `topic_name` adds it."""

    USAGE = "usage"
    ENTRIES = "entries"
    PRICED = "priced"
    FLAGS = "flags"
    SPEND = "spend"
    ALERTS = "alerts"
    DECISIONS = "decisions"
    BALANCES = "balances"
    CONTROL = "control"
    AUDIT = "audit"
    DEAD_LETTERS = "dead-letters"
    # Internal: the state of the worker and of the sinks. May change in any release.
    DELTAS = "internal.deltas"
    USER_STATE = "internal.user-state"
    SHARED_STATE = "internal.shared-state"
    IDENTITIES = "internal.identities"
    METERS = "internal.meters"
    NOTIFICATIONS = "internal.notifications"


def topic_name(topic: Topic, prefix: str = "tollgate.") -> str:
    """The topic's full name, for example `tollgate.usage`. `prefix` includes its final dot."""
    return prefix + topic.value


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must look like on the cluster. `configs` are Kafka's own topic configuration names."""

    topic: Topic
    partitions: int
    configs: dict[str, str] = field(default_factory=dict)


# Holds for every topic, unless its specification says otherwise. A batch of the worker always fits. Batches stay as
# their producer compressed them: a broker that packs them anew could make them larger than what was checked.
_DEFAULTS = {"max.message.bytes": str(2 * BATCH_BYTES_MAX), "compression.type": "producer"}

_COMPACT = _DEFAULTS | {
    "cleanup.policy": "compact",
    # Small segments and an eager cleaner bound how much of a compacted topic a reader must replay.
    "segment.ms": str(10 * 60 * 1000),
    "segment.bytes": str(64 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.2",
    "delete.retention.ms": str(DAY_MS),
}


def _delete(retention_ms: int) -> dict[str, str]:
    return _DEFAULTS | {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}


# The broker's clock, not the producer's, decides what is in the future and how long an identity is kept.
_INPUT = _delete(USAGE_RETENTION_MS) | {
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": str(RECORD_BYTES_MAX),
}

# Kafka's number for "without end".
_FOR_EVER = -1


def topic_specs(usage_partitions: int = USAGE_PARTITIONS) -> tuple[TopicSpec, ...]:
    """Every topic of an installation whose usage topic has this many partitions; topics keyed by user have as many."""
    return (
        TopicSpec(Topic.USAGE, usage_partitions, _INPUT),
        # A user's entries are counted by whoever counts their usage, so both have partitions of the same numbers.
        TopicSpec(Topic.ENTRIES, usage_partitions, _INPUT),
        TopicSpec(Topic.PRICED, usage_partitions, _delete(USAGE_RETENTION_MS)),
        TopicSpec(Topic.FLAGS, usage_partitions, _COMPACT),
        TopicSpec(Topic.SPEND, usage_partitions, _COMPACT),
        TopicSpec(Topic.ALERTS, 1, _COMPACT),
        TopicSpec(Topic.DECISIONS, DECISION_PARTITIONS, _delete(DECISION_RETENTION_MS)),
        TopicSpec(Topic.BALANCES, usage_partitions, _COMPACT),
        TopicSpec(Topic.CONTROL, 1, _COMPACT),
        # Changes by people are few, and who made one is asked years later.
        TopicSpec(Topic.AUDIT, 1, _delete(_FOR_EVER)),
        TopicSpec(
            Topic.DEAD_LETTERS,
            1,
            _delete(DEAD_LETTER_RETENTION_MS) | {"max.message.bytes": str(LETTER_BYTES_MAX)},
        ),
        TopicSpec(Topic.DELTAS, DELTA_PARTITIONS, _delete(7 * DAY_MS) | {"max.message.bytes": str(RECORD_BYTES_MAX)}),
        TopicSpec(Topic.USER_STATE, usage_partitions, _COMPACT),
        TopicSpec(Topic.SHARED_STATE, DELTA_PARTITIONS, _COMPACT),
        TopicSpec(
            Topic.IDENTITIES,
            usage_partitions,
            _delete(DEDUPE_RETENTION_MS) | {"message.timestamp.type": "LogAppendTime"},
        ),
        TopicSpec(Topic.METERS, 1, _COMPACT),
        TopicSpec(Topic.NOTIFICATIONS, 1, _COMPACT),
    )


TOPIC_SPECS: tuple[TopicSpec, ...] = topic_specs()
