"""Entries, decisions, balances, plans and spend of every calendar as rows, without Kafka or ClickHouse."""

import json
from typing import Any

import pytest
from tests.unit.clickhouse.test_rows import arrived

from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse.rows import rows_of

CREDIT = {
    "specversion": "1.0",
    "type": "tollgate.credit.v1",
    "source": "shop",
    "id": "c-1",
    "subject": "u-42",
    "time": "2026-11-21T11:00:00+01:00",
    "data": {"credits": "100", "kind": "bonus", "expires_at": "2027-01-01T00:00:00+02:00", "note": "welcome"},
}


def only_row(topic: Topic, value: Any, key: bytes = b"u-42") -> dict[str, Any]:
    """The one row of the value."""
    (rows,), rejected = rows_of(topic, [arrived(json.dumps(value).encode(), key)])
    assert rejected == []
    (line,) = rows.lines
    row: dict[str, Any] = json.loads(line)
    return row


def changed(**data: Any) -> dict[str, Any]:
    """The credit with other data."""
    return CREDIT | {"data": {"credits": "100", "kind": "bonus"} | data}


def test_a_credit_has_its_instants_in_utc_and_its_place() -> None:
    row = only_row(Topic.ENTRIES, CREDIT)
    told = {"type": "tollgate.credit.v1", "source": "shop", "id": "c-1", "user": "u-42", "kind": "bonus"}
    assert told.items() <= row.items()
    assert (row["credits"], row["note"], row["amount_usd"]) == ("100", "welcome", "0")
    assert row["time"] == "2026-11-21T10:00:00Z"
    assert row["expires_at"] == "2026-12-31T22:00:00Z"
    assert row["recorded_at"] == "2026-11-21T10:00:00.123Z"
    assert (row["source_partition"], row["source_offset"]) == (3, 5)


def test_a_credit_in_binary_mode_is_the_same_row() -> None:
    headers = [(f"ce_{name}", str(CREDIT[name]).encode()) for name in CREDIT if name != "data"]
    value = json.dumps(CREDIT["data"]).encode()
    (rows,), _ = rows_of(Topic.ENTRIES, [arrived(value, b"u-42", headers=tuple(headers))])
    assert json.loads(rows.lines[0]) == only_row(Topic.ENTRIES, CREDIT)


@pytest.mark.parametrize("credits_", ["-20", "0.000000001", -20, 5])
def test_credits_are_taken_as_they_are_written(credits_: str | int) -> None:
    assert only_row(Topic.ENTRIES, changed(credits=credits_))["credits"] == credits_


def test_revenue_and_adjustments_have_rows() -> None:
    paid = {"amount_usd": "-9.5", "kind": "refund", "plan": "creator", "currency": "EUR", "amount": "-9", "org": "acme"}
    row = only_row(Topic.ENTRIES, CREDIT | {"type": "tollgate.revenue.v1", "data": paid})
    assert paid.items() <= row.items()
    corrected = {
        "event_source": "chat", "event_id": "e-1", "event_time": "2026-11-01T00:00:00Z", "model": "gpt-4o",
        "cost_usd": "-0.000000000001", "retail_usd": "0", "price_id": "p", "reason": "a price arrived",
    }  # fmt: skip
    row = only_row(Topic.ENTRIES, CREDIT | {"type": "tollgate.adjustment.v1", "data": corrected})
    assert corrected.items() <= row.items()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'"x"',
        b"[" * 5000,
        json.dumps(changed(credits=1.5)).encode(),
        json.dumps(changed(credits="1e9")).encode(),
        json.dumps(changed(credits="1.0000000001")).encode(),
        json.dumps(changed(credits="1\n")).encode(),
        json.dumps(changed(credits=10**18)).encode(),
        json.dumps(changed(kind=None)).encode(),
        json.dumps(changed(expires_at="tomorrow")).encode(),
        json.dumps(CREDIT | {"subject": None}).encode(),
        json.dumps(CREDIT | {"time": "2026-11-21"}).encode(),
        json.dumps(CREDIT | {"type": "tollgate.revenue.v1", "data": {"kind": "refund", "amount_usd": 1}}).encode(),
        json.dumps(CREDIT | {"type": "tollgate.reservation.v1"}).encode(),
        json.dumps(CREDIT | {"type": "tollgate.internal.past.v1"}).encode(),
    ],
)
def test_what_is_no_entry_has_no_row_and_its_neighbour_has(value: bytes) -> None:
    records = [arrived(value), arrived(json.dumps(CREDIT).encode(), offset=6), arrived(None, offset=7)]
    (rows,), rejected = rows_of(Topic.ENTRIES, records)
    assert rejected == []
    assert list(rows.records) == [records[1]]
    assert json.loads(rows.lines[0])["source_offset"] == 6


def spend(key: str, kind: str, timezone: str) -> dict[str, Any]:
    """The row of a spend record with this key."""
    window = {"kind": kind, "start": "2026-10-31T15:00:00Z", "end": "2026-11-30T15:00:00Z", "timezone": timezone}
    value = {"scope": key.rsplit("|", 2)[0], "window": window, "spent_usd": "1", "events": 1, "reserved_usd": "0.5"}
    return only_row(Topic.SPEND, value, key.encode())


@pytest.mark.parametrize(
    ("key", "calendar"),
    [
        ("user/u1|month@Asia/Tokyo|2026-10-31T15:00:00Z", "month@Asia/Tokyo"),
        ("user/u|x@y|month@UTC~31|2026-10-31T15:00:00Z", "month@UTC~31"),
        ("user/u|day@UTC|month|2026-10-31T15:00:00Z", ""),
        ("global|week|2026-10-31T15:00:00Z", ""),
        ("x", ""),
        ("", ""),
    ],
)
def test_a_calendar_is_kept_where_it_is_more_than_the_kind_of_the_window(key: str, calendar: str) -> None:
    row = spend(key, "month", "Asia/Tokyo")
    assert row["calendar"] == calendar
    assert (row["timezone"], row["reserved_usd"], row["revenue_usd"]) == ("Asia/Tokyo", "0.5", "0")


def test_of_a_balance_the_last_of_a_batch_is_written_and_a_tombstone_changes_nothing() -> None:
    def balance(available: str, key: bytes, offset: int) -> Any:
        return arrived(json.dumps({"user": key.decode(), "available": available}).encode(), key, offset)

    records = [balance("1", b"a", 1), balance("2", b"b", 2), balance("3", b"a", 3), arrived(None, b"b", 4)]
    (rows,), rejected = rows_of(Topic.BALANCES, records)
    assert rejected == []
    told = [(row["user"], row["available"], row["source_offset"]) for row in map(json.loads, rows.lines)]
    assert told == [("a", "3", 3), ("b", "2", 2)]


def test_a_decision_without_its_time_is_rejected() -> None:
    told = {"reservation_id": "r-1", "source": "s", "user": "u", "granted": True}
    rows, (rejection,) = rows_of(Topic.DECISIONS, [arrived(json.dumps(told).encode())])
    assert rows == []
    assert "decided_at" in rejection.error


@pytest.mark.parametrize(
    ("key", "user"),
    [
        (b"assignment/default", ""),
        (b"assignment/user/a/b", "a/b"),
        (b"assignment/user/ann+news@example.com", "ann+news@example.com"),
        # As events and `usage` have the user, and not as scopes write them.
        (b"assignment/user/a%2Bmodel/b", "a+model/b"),
        (b"assignment/user/a%252Bmodel/b|50%", "a%2Bmodel/b|50%"),
        (b"assignment/user/a+model/b", "a+model/b"),
    ],
)
def test_an_assignment_is_of_a_user_or_of_everyone_else(key: bytes, user: str) -> None:
    row = only_row(Topic.CONTROL, {"plan": "free"}, key)
    assert (row["id"], row["user"], row["plan"], row["removed"]) == (key[11:].decode(), user, "free", False)
    (rows,), _ = rows_of(Topic.CONTROL, [arrived(None, key)])
    gone = json.loads(rows.lines[0])
    assert (gone["id"], gone["user"], gone["removed"]) == (key[11:].decode(), user, True)


def test_a_budget_and_a_flag_name_whom_a_block_leaves_alone() -> None:
    budget = {"scope": "user/*", "limit": "5", "except": ["provider/groq"], "fail": "closed", "month_starts_on": 15}
    row = only_row(Topic.CONTROL, budget, b"budget/b")
    assert (row["except"], row["fail"], row["month_starts_on"]) == (["provider/groq"], "closed", 15)
    flag = {"scope": "user/u", "state": "ok", "revision": 1}
    assert only_row(Topic.FLAGS, flag)["except"] == []
    more = {"except": ["model/m"], "reserved": "5.8", "can_exceed_by": "0", "incomplete": True}
    assert more.items() <= only_row(Topic.FLAGS, flag | more).items()
