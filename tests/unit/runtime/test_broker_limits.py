"""Which settings of a broker stop Tollgate, on both sides of each edge."""

import pytest

from tollgate.runtime.broker_limits import judge_broker

# 4 MiB and, for the batch beside it, 1 MiB.
LARGEST = 4_194_304
OWN = {"__transaction_state", "__consumer_offsets"}


def told(configs: dict[str, str], brokers: int = 3, existing: set[str] = OWN) -> list[tuple[str, bool]]:
    found = judge_broker("1", configs, LARGEST, brokers, existing)
    return [(finding.detail.split(" is ")[0], finding.stops) for finding in found]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("socket.request.max.bytes", "5242880", "5242879"),
        ("transaction.max.timeout.ms", "30000", "29999"),
        ("group.max.session.timeout.ms", "10000", "9999"),
        ("group.min.session.timeout.ms", "10000", "10001"),
        ("log.cleaner.enable", "true", "false"),
    ],
)
def test_what_stops_a_worker_is_told_with_what_to_do(name: str, good: str, bad: str) -> None:
    assert told({name: good}) == []
    assert told({name: bad}) == [(name, True)]
    (finding,) = judge_broker("7", {name: bad}, LARGEST, 3, OWN)
    assert finding.sentence.startswith(f"broker 7: {name} is {bad}: ")
    assert "; set it to " in finding.sentence


def test_limits_that_a_topic_has_for_itself_are_worth_a_word_and_stop_nobody() -> None:
    assert told({"message.max.bytes": "1048588"}) == [("message.max.bytes", False)]
    assert told({"message.max.bytes": "4194304"}) == []
    assert told({"replica.fetch.max.bytes": "1048576"}) == [("replica.fetch.max.bytes", False)]
    assert told({"replica.fetch.max.bytes": "1048576"}, brokers=1) == []


def test_more_copies_of_kafkas_own_topics_than_brokers_stop_until_these_topics_exist() -> None:
    name = "transaction.state.log.replication.factor"
    assert told({name: "3"}, brokers=1, existing={"__consumer_offsets"}) == [(name, True)]
    assert told({name: "3"}, brokers=3, existing={"__consumer_offsets"}) == []
    assert told({name: "3"}, brokers=1) == []
    assert told({"offsets.topic.replication.factor": "3"}, brokers=2, existing=set()) == [
        ("offsets.topic.replication.factor", True)
    ]


def test_what_a_broker_does_not_tell_is_taken_for_good() -> None:
    assert told({}, brokers=1, existing=set()) == []
    assert told({"socket.request.max.bytes": "not a number"}) == []
