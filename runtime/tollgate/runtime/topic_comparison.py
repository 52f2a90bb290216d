"""Where a topic on a cluster differs from its specification, and what each difference means. Nothing is asked here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from tollgate.schemas.topics import Topic, TopicSpec

Action = Literal["created", "altered", "unchanged", "grown", "mismatch"]

# A configuration's value, and Kafka's number for where the value comes from.
Configs = Mapping[str, tuple[str, int]]

# What every topic of ours takes for granted and most clusters have by default. It is written on a topic only where the
# cluster's own default differs, because some hosted clusters refuse to have these set.
_TAKEN_FOR_GRANTED: Final = {
    # A replica that was not in step would become leader without records that were acknowledged.
    "unclean.leader.election.enable": "false",
}
# Identities and usage are kept for a time, whatever room they take.
_TAKEN_FOR_GRANTED_OF_DELETED: Final = {"retention.bytes": "-1"}

# More of these is as good.
_AT_LEAST: Final = frozenset({"max.message.bytes"})

# What arrives in partitions that are added to these is forwarded.
_FORWARDED: Final = frozenset({Topic.USAGE, Topic.ENTRIES})

# Nobody but Tollgate writes to these, and it names the partition. What is added to them stays empty.
_MAY_GROW: Final = frozenset(
    {
        Topic.PRICED,
        Topic.FLAGS,
        Topic.SPEND,
        Topic.AUDIT,
        Topic.DECISIONS,
        Topic.BALANCES,
        Topic.DEAD_LETTERS,
        Topic.DELTAS,
        Topic.USER_STATE,
        Topic.SHARED_STATE,
        Topic.IDENTITIES,
        Topic.METERS,
    }
)


@dataclass(frozen=True, slots=True)
class TopicOutcome:
    """One topic: what was (or in a dry run would be) done, and why.

    `mismatch` is what only a person can mend, and no worker starts. `grown` has more partitions than specified, which
    cannot be undone and does no harm; the detail says what it means.
    """

    topic: str
    action: Action
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic of the cluster: how many partitions it has, and of how many copies of each the fewest are."""

    partitions: int
    replicas: int
    configs: Configs


def compare(name: str, spec: TopicSpec, found: FoundTopic | None) -> TopicOutcome:
    """What is to be done about a topic; None is one that does not exist."""
    if found is None:
        return TopicOutcome(name, "created", f"{spec.partitions} partitions")
    may_grow = spec.topic in _FORWARDED | _MAY_GROW
    if found.partitions < spec.partitions or (found.partitions > spec.partitions and not may_grow):
        return TopicOutcome(
            name,
            "mismatch",
            f"has {found.partitions} partitions instead of {spec.partitions}: this cannot be changed while it holds "
            "state; use another TOLLGATE_TOPIC_PREFIX, or delete the topic if its content is not needed",
        )
    changes = differing(spec, found)
    if changes:
        said = (
            f"{key} {found.configs[key][0] if key in found.configs else 'unset'} → {changes[key]}" for key in changes
        )
        return TopicOutcome(name, "altered", ", ".join(said))
    if found.partitions > spec.partitions:
        return TopicOutcome(name, "grown", _grown(spec, found.partitions))
    return TopicOutcome(name, "unchanged")


def differing(spec: TopicSpec, found: FoundTopic) -> dict[str, str]:
    """The configurations that are not as they must be, and what they must be."""
    wanted = dict(_TAKEN_FOR_GRANTED)
    if spec.configs.get("cleanup.policy") == "delete":
        wanted |= _TAKEN_FOR_GRANTED_OF_DELETED
    granted = {key: value for key, value in wanted.items() if key in found.configs}
    must = granted | dict(spec.configs) | _acknowledged_by(found)
    return {key: value for key, value in must.items() if not _agrees(key, found.configs.get(key, ("", 0))[0], value)}


def _agrees(key: str, value: str, wanted: str) -> bool:
    if key in _AT_LEAST and value.isdigit():
        return int(value) >= int(wanted)
    return value == wanted


def _acknowledged_by(found: FoundTopic) -> dict[str, str]:
    """With three replicas or more, a record is acknowledged once all but one have it: any one may then be lost.

    Kafka's default is one, with which the only replica in step may take what it has acknowledged along. More than there
    are replicas is a topic that nobody can write to.
    """
    needed = found.configs.get("min.insync.replicas", ("1", 0))[0]
    if found.replicas >= 3:
        return {"min.insync.replicas": str(found.replicas - 1)}
    if needed.isdigit() and int(needed) > max(found.replicas, 1):
        return {"min.insync.replicas": "1"}
    return {}


def _grown(spec: TopicSpec, partitions: int) -> str:
    if spec.topic not in _FORWARDED:
        return f"has {partitions} partitions, of which the first {spec.partitions} are used; the others stay empty"
    return (
        f"has {partitions} partitions, of which the first {spec.partitions} are counted: what arrives in the others is "
        f"forwarded to these and counted there, exactly once, at the price of a second write. Keep "
        f"TOLLGATE_USAGE_PARTITIONS={spec.partitions}"
    )
