"""What the specifications of topics promise."""

import pytest

from tollgate.schemas.topics import Topic, TopicSpec, topic_specs


def spec(topic: Topic, usage_partitions: int = 8) -> TopicSpec:
    return next(spec for spec in topic_specs(usage_partitions) if spec.topic is topic)


@pytest.mark.parametrize("partitions", [1, 8, 64])
def test_a_users_entries_and_balance_are_in_the_partition_of_their_usage(partitions: int) -> None:
    usage = spec(Topic.USAGE, partitions)
    assert spec(Topic.ENTRIES, partitions).partitions == spec(Topic.BALANCES, partitions).partitions == partitions
    assert spec(Topic.ENTRIES, partitions).configs == usage.configs


def test_usage_and_entries_are_kept_for_62_days_by_the_brokers_clock() -> None:
    configs = spec(Topic.ENTRIES).configs
    assert configs["retention.ms"] == "5356800000"
    assert configs["message.timestamp.type"] == "LogAppendTime"
    assert configs["cleanup.policy"] == "delete"


def test_decisions_are_kept_for_a_day_and_balances_and_meters_for_good() -> None:
    decisions = spec(Topic.DECISIONS)
    assert (decisions.partitions, decisions.configs["cleanup.policy"]) == (8, "delete")
    assert decisions.configs["retention.ms"] == "86400000"
    assert spec(Topic.BALANCES).configs["cleanup.policy"] == "compact"
    meters = spec(Topic.METERS)
    assert (meters.partitions, meters.configs["cleanup.policy"]) == (1, "compact")
