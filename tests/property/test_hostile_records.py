"""No record that somebody may write to a topic ends a reader of it."""

import json
import os
import random
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from tests.property.hostile_records import KEYS, Readers, hostile_values, valid_records

from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.strict_json import DEPTH_MAX, is_too_deep

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
EXAMPLES = int(os.environ.get("TOLLGATE_TEST_EXAMPLES", "200"))

_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from(["usd", "user/*", "global", "1e9", "0", "-1", "٣"]),
    st.sampled_from(["2026-11-21T10:00:00Z", "0001-01-01T00:00:00+14:00"]),
)  # fmt: skip
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
_RECORDS = [document for _, document in valid_records()]
_KEYS_OF_RECORDS = sorted({name for document in _RECORDS for name in document})


@st.composite
def _changed_records(draw: st.DrawFn) -> bytes:
    """A valid record with some members replaced by any JSON, or taken from another kind of record."""
    document: dict[str, Any] = dict(draw(st.sampled_from(_RECORDS)))
    for name in draw(st.lists(st.sampled_from(_KEYS_OF_RECORDS), max_size=4)):
        document[name] = draw(_JSON)
    return json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@st.composite
def _damaged_records(draw: st.DrawFn) -> bytes:
    """A valid record with a few bytes changed, or cut off."""
    value = bytearray(json.dumps(draw(st.sampled_from(_RECORDS))).encode())
    for at, byte in draw(st.lists(st.tuples(st.integers(0, len(value) - 1), st.integers(0, 255)), max_size=3)):
        value[at] = byte
    return bytes(value[: draw(st.integers(0, len(value)))])


@pytest.fixture(scope="module")
def readers() -> Readers:
    return Readers()


def _try(readers: Readers, key: bytes | None, value: bytes | None, of: str) -> None:
    for name, read in readers.all.items():
        try:
            read(key, value)
        except Exception as error:
            raise AssertionError(f"{name} does not survive {of}: {error!r}") from error


def test_every_reader_survives_every_hostile_value(readers: Readers) -> None:
    for name, value in hostile_values():
        _try(readers, b"user/a", value, name)


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_every_reader_survives_any_key(readers: Readers, key: bytes | None) -> None:
    for kind, document in valid_records():
        _try(readers, key, json.dumps(document).encode(), kind)
    _try(readers, key, None, "a tombstone")


@seed(SEED)
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(KEYS), st.one_of(st.binary(max_size=200), _changed_records(), _damaged_records()))
def test_no_bytes_make_a_reader_raise(readers: Readers, key: bytes | None, value: bytes) -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    _try(readers, key, value, repr(value))


@pytest.mark.parametrize(("levels", "too_deep"), [(DEPTH_MAX, False), (DEPTH_MAX + 1, True), (50_000, True)])
def test_nesting_is_refused_past_32_levels(levels: int, too_deep: bool) -> None:
    assert DEPTH_MAX == 32
    assert is_too_deep(b"[" * levels + b"]" * levels) is too_deep
    assert is_too_deep(b'{"a":' * levels + b"1" + b"}" * levels) is too_deep


def test_brackets_in_strings_are_no_nesting() -> None:
    assert not is_too_deep(b'{"a":"' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"}')


def test_a_record_of_four_megabytes_of_brackets_is_judged_in_a_second() -> None:
    started = time.monotonic()
    assert not is_too_deep(b"[]" * (2 << 20))
    assert time.monotonic() - started < 5


def test_why_a_record_is_skipped_is_short_and_holds_no_content() -> None:
    secret = b"sk-secret"
    with pytest.raises(UnreadableError) as raised:
        read_record(json.loads, b'{"a": "' + secret + b'" x')
    assert "secret" not in str(raised.value)
