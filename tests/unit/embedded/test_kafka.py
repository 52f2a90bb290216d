"""The cluster settings that a broker is started with."""

from pathlib import Path

import pytest

from tollgate.embedded.errors import NotReadyError
from tollgate.embedded.kafka import BrokerAddress, Membership, format_storage, new_cluster_id, write_properties

VOTERS = ("1@127.0.0.1:7001", "2@127.0.0.1:7002", "3@127.0.0.1:7003")


def properties(address: BrokerAddress) -> dict[str, str]:
    lines = write_properties(address).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_a_broker_alone_keeps_one_copy_of_everything(tmp_path: Path) -> None:
    found = properties(BrokerAddress(tmp_path, 7000, 7001))
    assert found["node.id"] == "1"
    assert found["controller.quorum.voters"] == "1@127.0.0.1:7001"
    assert found["transaction.state.log.replication.factor"] == "1"
    assert found["min.insync.replicas"] == "1"


def test_one_of_three_keeps_three_copies_and_acknowledges_what_two_have(tmp_path: Path) -> None:
    found = properties(BrokerAddress(tmp_path, 7000, 7002, Membership(2, VOTERS, "an-id")))
    assert found["node.id"] == "2"
    assert found["controller.quorum.voters"] == "1@127.0.0.1:7001,2@127.0.0.1:7002,3@127.0.0.1:7003"
    for topic in ("default", "offsets.topic", "transaction.state.log"):
        assert found[f"{topic}.replication.factor"] == "3"
    assert found["min.insync.replicas"] == found["transaction.state.log.min.isr"] == "2"


def test_a_cluster_id_is_22_characters_and_no_option() -> None:
    ids = {new_cluster_id() for _ in range(200)}
    assert len(ids) == 200
    assert {len(cluster_id) for cluster_id in ids} == {22}
    assert not any("-" in cluster_id for cluster_id in ids)


def test_a_directory_that_this_kafka_cannot_read_is_refused_in_a_sentence_and_its_own_is_kept(tmp_path: Path) -> None:
    address = BrokerAddress(tmp_path, 7000, 7001)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "meta.properties").touch()
    with pytest.raises(NotReadyError, match=r"made by Kafka 4\.3\.1.*start in another directory"):
        format_storage(address, write_properties(address), [])
    (tmp_path / "kafka-version").touch()
    format_storage(address, write_properties(address), [])
    assert (tmp_path / "log" / "meta.properties").read_bytes() == b""
