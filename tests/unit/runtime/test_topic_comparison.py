"""What of a foreign cluster's topics is refused, set right, or told."""

from tollgate.runtime.topic_comparison import Configs, FoundTopic, compare, differing
from tollgate.schemas.topics import Topic, TopicSpec

USAGE = TopicSpec(
    Topic.USAGE, 8, {"cleanup.policy": "delete", "max.message.bytes": "4194304", "compression.type": "producer"}
)
CONTROL = TopicSpec(Topic.CONTROL, 1, {"cleanup.policy": "compact"})

# As a cluster with Kafka's own defaults describes them; 5 is a default and 1 was set on the topic.
DEFAULTS: Configs = {
    "cleanup.policy": ("delete", 5),
    "max.message.bytes": ("4194304", 1),
    "compression.type": ("producer", 5),
    "unclean.leader.election.enable": ("false", 5),
    "retention.bytes": ("-1", 5),
    "min.insync.replicas": ("1", 5),
}


def found(partitions: int = 8, replicas: int = 1, **changes: str) -> FoundTopic:
    changed = {name.replace("_", "."): (value, 4) for name, value in changes.items()}
    return FoundTopic(partitions, replicas, {**DEFAULTS, **changed})


def test_a_topic_with_kafkas_defaults_is_unchanged() -> None:
    assert compare("t.usage", USAGE, found()).action == "unchanged"


def test_a_larger_limit_of_records_is_as_good_and_a_smaller_one_is_raised() -> None:
    assert differing(USAGE, found(max_message_bytes="4194305")) == {}
    assert differing(USAGE, found(max_message_bytes="4194303")) == {"max.message.bytes": "4194304"}


def test_a_codec_that_the_topic_or_the_cluster_forces_is_taken_away() -> None:
    assert compare("t.usage", USAGE, found(compression_type="gzip")).detail == "compression.type gzip → producer"


def test_a_leader_that_may_lack_acknowledged_records_is_forbidden() -> None:
    changes = differing(USAGE, found(unclean_leader_election_enable="true"))
    assert changes == {"unclean.leader.election.enable": "false"}


def test_room_does_not_end_what_time_keeps_but_compaction_needs_no_such_rule() -> None:
    assert differing(USAGE, found(retention_bytes="1000000")) == {"retention.bytes": "-1"}
    assert differing(CONTROL, found(1, retention_bytes="1000000", cleanup_policy="compact")) == {}


def test_a_setting_that_an_older_broker_does_not_have_is_not_asked_of_it() -> None:
    assert differing(CONTROL, FoundTopic(1, 1, {"cleanup.policy": ("compact", 1)})) == {}


def test_all_but_one_of_three_replicas_must_have_a_record() -> None:
    assert differing(USAGE, found(replicas=3)) == {"min.insync.replicas": "2"}
    assert differing(USAGE, found(replicas=3, min_insync_replicas="2")) == {}


def test_more_replicas_in_step_than_there_are_would_stop_every_write() -> None:
    assert differing(USAGE, found(replicas=1, min_insync_replicas="2")) == {"min.insync.replicas": "1"}
    assert differing(USAGE, found(replicas=2, min_insync_replicas="2")) == {}


def test_fewer_partitions_are_a_mismatch_and_more_of_usage_are_told() -> None:
    assert compare("t.usage", USAGE, found(7)).action == "mismatch"
    grown = compare("t.usage", USAGE, found(12))
    assert grown.action == "grown"
    assert grown.detail.startswith("has 12 partitions, of which the first 8 are counted")
    assert "TOLLGATE_USAGE_PARTITIONS=8" in grown.detail


def test_more_partitions_of_a_topic_that_is_read_as_a_whole_are_a_mismatch() -> None:
    assert compare("t.control", CONTROL, found(2, cleanup_policy="compact")).action == "mismatch"


def test_more_partitions_of_the_workers_outputs_stay_empty() -> None:
    spend = compare("t.spend", TopicSpec(Topic.SPEND, 8), found(9))
    assert (spend.action, spend.detail) == (
        "grown",
        "has 9 partitions, of which the first 8 are used; the others stay empty",
    )


def test_partitions_added_to_usage_or_entries_are_forwarded_and_those_of_balances_stay_empty() -> None:
    for topic in (Topic.USAGE, Topic.ENTRIES):
        outcome = compare("t", TopicSpec(topic, 8, {}), found(12))
        assert (outcome.action, "forwarded" in outcome.detail) == ("grown", True)
    outcome = compare("t", TopicSpec(Topic.BALANCES, 8, {}), found(12))
    assert (outcome.action, "stay empty" in outcome.detail) == ("grown", True)


def test_entries_need_as_many_partitions_as_usage() -> None:
    assert compare("t", TopicSpec(Topic.ENTRIES, 8, {}), found(4)).action == "mismatch"
