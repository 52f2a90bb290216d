"""Record batches of the compiled core are, byte for byte, those that aiokafka builds of the same records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tollgate.ledger._native", reason="the compiled core is optional")

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from tollgate.ledger._native import pack_records
from tollgate.ledger.outbox import OutRecord

TIME_MS = 1_795_255_200_123

blobs = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=10), st.binary(max_size=20)), max_size=3)
records = st.lists(st.tuples(blobs, blobs, headers), min_size=1, max_size=200)


def built_by_aiokafka(given: list[OutRecord], producer: tuple[int, int, int]) -> bytes:
    producer_id, producer_epoch, base_sequence = producer
    builder = DefaultRecordBatchBuilder(
        2, 0, is_transactional=1, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=1 << 30
    )
    for number, (key, value, names) in enumerate(given):
        builder.append(number, TIME_MS, key, value, names)
    builder.set_producer_state(producer_id, producer_epoch, base_sequence)
    return bytes(builder.build())


@given(records, st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**15 - 1), st.integers(0, 2**31 - 1)))
def test_one_batch_is_what_aiokafka_builds(given: list[OutRecord], producer: tuple[int, int, int]) -> None:
    (batch,) = pack_records(given, 1 << 20, TIME_MS)
    assert len(batch) == len(given)
    assert batch.sealed(*producer) == built_by_aiokafka(given, producer)
    assert batch.size == len(batch.sealed(*producer))


@given(records, st.integers(900, 3_000))
def test_batches_hold_all_records_in_order_within_the_limit(given: list[OutRecord], bytes_max: int) -> None:
    batches = pack_records(given, bytes_max, TIME_MS)
    first = 0
    for batch in batches:
        assert batch.size <= bytes_max
        assert batch.sealed(1, 2, 3) == built_by_aiokafka(given[first : first + len(batch)], (1, 2, 3))
        first += len(batch)
    assert first == len(given)


def test_a_record_above_the_limit_is_a_batch_by_itself() -> None:
    large: OutRecord = (b"key", bytes(5_000), [("reason", b"too_large")])
    small: OutRecord = (None, b"", [])
    batches = pack_records([small, large, large, small], 1_000, TIME_MS)
    assert [len(batch) for batch in batches] == [1, 1, 1, 1]
    assert batches[1].sealed(1, 2, 3) == built_by_aiokafka([large], (1, 2, 3))


def test_no_records_make_no_batch() -> None:
    assert pack_records([], 1_000, TIME_MS) == []
