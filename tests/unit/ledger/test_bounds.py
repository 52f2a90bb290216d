"""What a transaction writes fits into its topics, whatever the events that were accepted."""

import json
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from tests.support.cores import CORES
from tests.support.usage import TIME_MS, event, record
from tests.unit.ledger.test_users import STRANGER, USER, Bench, policy

from tollgate.domain.spend import DIMENSIONS_MAX
from tollgate.ledger.outbox import Outbox, OutRecord
from tollgate.ledger.shared_stage import Delta, DeltaBatch, SharedStage, in_records
from tollgate.schemas.topics import LETTER_BYTES_MAX, TOPIC_SPECS, Topic

LIMITS = {spec.topic: int(spec.configs["max.message.bytes"]) for spec in TOPIC_SPECS}


@pytest.fixture(autouse=True, params=CORES)
def _core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "core", request.param)


def size_of(record: OutRecord) -> int:
    """No fewer bytes than a record batch of this one record has."""
    key, value, headers = record
    return 200 + len(key or b"") + len(value or b"") + sum(len(n.encode()) + len(v) + 10 for n, v in headers)


def largest(outbox: Outbox) -> dict[Topic, int]:
    found: dict[Topic, int] = {}
    for (topic, _), records in outbox.records.items():
        found[topic] = max(found.get(topic, 0), *map(size_of, records))
    return found


def assert_fits(outbox: Outbox) -> None:
    for topic, size in largest(outbox).items():
        assert size <= LIMITS[topic], topic


def shared(outbox: Outbox, stage: SharedStage, partition: int) -> Outbox:
    """What the second stage writes of the first one's deltas."""
    records = outbox.records.get((Topic.DELTAS, partition), [])
    stage.apply([record(value, n, partition=partition) for n, (_, value, _) in enumerate(records)])
    written = Outbox()
    stage.write(written, TIME_MS)
    return written


def test_twelve_thousand_events_with_names_of_their_own_fit() -> None:
    bench = Bench()
    bench.send(
        *(event(f"e{n}", USER, data={"org": f"org-{n:08d}", "campaign": f"campaign-{n:08d}"}) for n in range(12_000))
    )
    outbox = bench.write()
    assert bench.counters.counted == 12_000
    assert_fits(outbox)
    stage = SharedStage(0, policy())
    assert_fits(shared(outbox, stage, 0))


def test_usage_keys_without_end_are_counted_whole_and_kept_in_a_bounded_row() -> None:
    bench = Bench()
    for batch in range(16):
        usage = {f"k{batch}_{n}_".ljust(250, "x"): 1 for n in range(64)}
        bench.send(event(f"e{batch}", USER, data={"usage": usage, "cost_usd": "0.01"}))
    outbox = bench.write()
    assert_fits(outbox)
    (row,) = (json.loads(v or b"") for k, v, _ in outbox.records[Topic.USER_STATE, 0] if k == f"s|user/{USER}".encode())
    lifetime = row[1]
    # 0.16 USD; 16 × 64 = 1,024 keys of one unit: 128 under their names, 896 under `other`.
    assert lifetime[:3] == [160_000_000_000, 0, 16]
    assert len(lifetime[3]) == DIMENSIONS_MAX + 1 == 129
    assert lifetime[3]["other"] == 896 * 10**9
    assert sum(lifetime[3].values()) == 1_024 * 10**9
    assert bench.counters.folded_dimensions == 896


def test_a_dimension_that_was_known_first_keeps_its_name() -> None:
    bench = Bench()
    bench.send(event("e0", USER))
    for batch in range(3):
        bench.send(event(f"w{batch}", USER, data={"usage": {f"k{batch}_{n}": 1 for n in range(64)}, "cost_usd": "0"}))
        bench.write()
    bench = bench.restarted()
    bench.send(event("e1", USER), event("e2", USER, data={"usage": {"k2_63": 5, "other": 7}, "cost_usd": "0"}))
    outbox = bench.write()
    (row,) = (json.loads(v or b"") for k, v, _ in outbox.records[Topic.USER_STATE, 0] if k == f"s|user/{USER}".encode())
    # input_tokens, output_tokens, 128 of the 192 keys; 64 of one unit, 5 and 7 under `other`.
    for window in (row[1], row[3], row[5], row[7]):
        assert window[3]["input_tokens"] == 2_000 * 10**9
        assert window[3]["other"] == (64 + 5 + 7) * 10**9
        assert len(window[3]) == 131


def test_invented_dimensions_do_not_push_the_common_ones_out() -> None:
    bench = Bench({"scope": "user/*", "limit": "900", "unit": "input_tokens", "window": "day"})
    for batch in range(3):
        bench.send(event(f"w{batch}", USER, data={"usage": {f"k{batch}_{n}": 1 for n in range(64)}, "cost_usd": "0"}))
    bench.send(event("e0", USER))
    outbox = bench.write()
    (row,) = (json.loads(v or b"") for k, v, _ in outbox.records[Topic.USER_STATE, 0] if k == f"s|user/{USER}".encode())
    assert (row[1][3]["input_tokens"], row[1][3]["other"]) == (1_000 * 10**9, 64 * 10**9)
    ((_, flag, _),) = outbox.records[Topic.FLAGS, 0]
    assert json.loads(flag or b"")["state"] == "blocked"


def test_shared_scopes_fold_by_what_they_have_seen_themselves() -> None:
    bench = Bench()
    stages = [SharedStage(partition, policy()) for partition in (0, 1)]
    rows: dict[str, Any] = {}
    for batch in range(4):
        bench.send(event(f"w{batch}", USER, data={"usage": {f"k{batch}_{n}": 1 for n in range(64)}, "cost_usd": "1"}))
        outbox = bench.write()
        for partition, stage in enumerate(stages):
            written = shared(outbox, stage, partition)
            assert_fits(written)
            for key, value, _ in written.records.get((Topic.SHARED_STATE, partition), []):
                if key is not None and key.startswith(b"s|"):
                    rows[key.decode()] = json.loads(value or b"")[1]
    # 4 × 64 = 256 keys: 128 under their names, 128 under `other`.
    for scope in ("s|global", "s|provider/openai", "s|model/gpt-4o"):
        cost, _, events, usage = rows[scope]
        assert (cost, events, usage["other"]) == (4 * 10**12, 4, 128 * 10**9)


def test_a_delta_larger_than_a_record_is_split_and_adds_up() -> None:
    usage = {f"k{n}_".ljust(256, "x"): n for n in range(20_000)}
    delta = Delta("global", 3_600_000, 4, 11, 7, 5, usage)
    small = Delta("agent/SEO", 3_600_000, 4, 1, 0, 1, {"images": 2})
    records = list(in_records(7, [small, delta, small]))
    assert len(records) >= 5
    assert all(len(value) < 1 << 20 for value in records)
    batches = [msgspec.json.decode(value, type=DeltaBatch) for value in records]
    assert {batch.clock_ms for batch in batches} == {7}
    parts = [d for batch in batches for d in batch.deltas]
    assert (parts[0], parts[-1]) == (small, small)
    parts = parts[1:-1]
    assert [d.scope for d in parts] == ["global"] * len(parts)
    assert [(d.cost_picousd, d.retail_picousd, d.events) for d in parts] == [(11, 7, 5)] + [(0, 0, 0)] * (
        len(parts) - 1
    )
    merged: dict[str, int] = {}
    for part in parts:
        assert merged.keys().isdisjoint(part.usage_nano)
        merged |= part.usage_nano
    assert merged == usage


def test_names_of_four_bytes_a_character_fit() -> None:
    deltas = [Delta("org/" + "\U0001f4b8" * 250 + f"{n:05d}", 0, 4, 10**37, 10**37, 10**7, {}) for n in range(3_000)]
    records = list(in_records(0, deltas))
    assert all(len(value) < 1 << 20 for value in records)
    assert sum(len(msgspec.json.decode(value, type=DeltaBatch).deltas) for value in records) == 3_000


def test_a_large_record_is_kept_whole_while_it_fits() -> None:
    bench = Bench()
    bench.send(record(b"x" * 1_048_440, key=b"k"), record(b"y" * (4 * 1024 * 1024 - 100), key=b"k"))
    letters = bench.write().records[Topic.DEAD_LETTERS, 0]
    assert [len(value or b"") for _, value, _ in letters] == [1_048_440, 4_194_204]
    assert [dict(headers)["reason"] for _, _, headers in letters] == [b"too_large", b"too_large"]
    assert all("cut" not in dict(headers) for _, _, headers in letters)
    assert max(map(size_of, letters)) <= LETTER_BYTES_MAX


def test_a_record_that_grew_when_it_was_unpacked_is_cut_and_says_so() -> None:
    value = b"x" * (20 << 20)
    bench = Bench()
    bench.send(record(value, key=b"k" * 100_000, headers=tuple((f"ce_{n}", b"h" * 300_000) for n in range(5))))
    ((key, kept, headers),) = bench.write().records[Topic.DEAD_LETTERS, 0]
    said = dict(headers)
    assert key == b"k" * 65_536
    assert kept is not None
    assert value.startswith(kept)
    assert len(kept) > 3_000_000
    assert said["cut"].decode() == (
        f"key: 65536 of 100000 bytes are kept; headers: 3 of 5 are kept; value: {len(kept)} of 20971520 bytes are kept"
    )
    assert said["value_sha256"].decode() == sha256(value).hexdigest()
    assert size_of((key, kept, headers)) <= LETTER_BYTES_MAX


def test_a_million_headers_are_cut_in_a_moment() -> None:
    bench = Bench()
    bench.send(record(b"x" * (5 << 20), key=b"k", headers=tuple((f"ce_{n}", b"") for n in range(300_000))))
    (letter,) = bench.write().records[Topic.DEAD_LETTERS, 0]
    assert size_of(letter) <= LETTER_BYTES_MAX


def test_a_misrouted_event_goes_home_without_its_large_header() -> None:
    bench = Bench()
    headers = (("ce_x", b"y" * 1_100_000), ("content-type", b" " * 100_000 + b"application/cloudevents+json"))
    bench.send(record(event("e1", STRANGER), headers=headers))
    ((_, value, kept),) = bench.write().records[Topic.USAGE, 3]
    assert json.loads(value or b"")["id"] == "e1"
    assert kept == [("tollgate-forwarded-from", b"0:0")]


def test_a_misrouted_event_in_binary_mode_keeps_its_attributes() -> None:
    whole = event("e1", STRANGER)
    attributes = tuple((f"ce_{name}", str(text).encode()) for name, text in whole.items() if name != "data")
    bench = Bench()
    bench.send(record(json.dumps(whole["data"]).encode(), headers=(*attributes, ("content-type", b"application/json"))))
    ((_, value, kept),) = bench.write().records[Topic.USAGE, 3]
    assert dict(kept) == dict(attributes) | {"tollgate-forwarded-from": b"0:0"}
    home = Bench(partition=3)
    home.send(record(value, partition=3, headers=tuple(kept)))
    home.write()
    assert home.counters.counted == 1


def test_a_batch_that_cannot_be_unpacked_is_one_dead_letter_with_its_range() -> None:
    bench = Bench()
    whole = record(b"packed", headers=(("source_offset_first", b"0"),))
    object.__setattr__(whole, "timestamp_type", 255)
    bench.offset = 4
    bench.send(whole, event("e1", USER))
    ((_, value, headers),) = bench.write().records[Topic.DEAD_LETTERS, 0]
    said = dict(headers)
    assert (value, said["reason"]) == (b"packed", b"too_large")
    assert (said["source_offset_first"], said["source_offset"]) == (b"0", b"4")
    assert said["error"] == b"value: a compressed batch that is over 128 MiB when unpacked"
    assert bench.counters.counted == 1
