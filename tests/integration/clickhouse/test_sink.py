"""What the sink makes of each topic's records, with a real broker and a real engine."""

import json
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from structlog.testing import capture_logs
from tests.integration.clickhouse.stream import (
    Outgoing,
    everything_committed,
    priced,
    publish,
    query,
    record,
    shows,
    sink,
)

from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration

MONTH = {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC"}
LIFETIME = {"kind": "lifetime", "start": "1970-01-01T00:00:00Z", "end": "9999-12-31T23:59:59Z", "timezone": "UTC"}


async def test_a_priced_event_becomes_a_row_with_all_its_values(tables: Settings) -> None:
    full = priced(
        1,
        org="acme",
        service="chat",
        agent="SEO",
        latency_ms=812,
        resource_type="VIDEO",
        usage={"input_tokens": 10**18 - 1, "video_seconds": "2.000000001"},
        options={"size": "1024x1024"},
        cost_usd="99999999999999.999999999999",
        metadata={
            "plan": "pro",
            "depth": 2.50,
            "note": 'a "quoted" \n line',
            "big": 9772945757313177262,
            "m": -(10**40),
        },
        a_field_of_a_later_release=1,
    )
    await publish(tables, full, priced(2, latency_ms=None))
    async with sink(tables):
        await shows(tables, "SELECT count() FROM usage", [(2,)])
    assert query(
        tables,
        "SELECT user, org, agent, latency_ms, resource_type, usage, options, cost_usd, retail_usd, metadata,"
        " source_offset FROM usage WHERE event_id = 'e-000001'",
    ) == [
        (
            "u-1",
            "acme",
            "SEO",
            812,
            "VIDEO",
            {"input_tokens": Decimal("999999999999999999"), "video_seconds": Decimal("2.000000001")},
            {"size": "1024x1024"},
            Decimal("99999999999999.999999999999"),
            Decimal("0.5"),
            '{"plan": "pro", "depth": 2.5, "note": "a \\"quoted\\" \\n line", "big": 9772945757313177262, "m": '
            "-1" + "0" * 40 + "}",
            1,
        )
    ]
    assert query(tables, "SELECT latency_ms, org, metadata, time FROM usage WHERE event_id = 'e-000002'") == [
        (None, "", "{}", datetime(2026, 11, 21, 10, 0, 2, 123000, tzinfo=UTC))
    ]


async def test_records_of_an_aborted_transaction_do_not_appear(tables: Settings) -> None:
    await publish(tables, priced(1))
    await publish(tables, priced(2), abort=True)
    await publish(tables, priced(3))
    async with sink(tables):
        await shows(tables, "SELECT event_id FROM usage ORDER BY event_id", [("e-000001",), ("e-000003",)])
        await everything_committed(tables)
    assert query(tables, "SELECT count() FROM usage_events") == [(2,)]


async def test_the_same_id_of_two_sources_or_places_stays_two_events(tables: Settings) -> None:
    await publish(tables, priced(1), priced(1, source="batch"), priced(1, source_offset=9), priced(1))
    async with sink(tables):
        await shows(tables, "SELECT count(), sum(cost_usd) FROM usage", [(3, Decimal("0.75"))])


async def test_a_higher_version_of_an_entry_replaces_the_lower_in_any_order(tables: Settings) -> None:
    await publish(tables, priced(1, version=2, cost_usd="0.3", price_status="corrected"), priced(1))
    async with sink(tables):
        await shows(tables, "SELECT cost_usd, price_status FROM usage", [(Decimal("0.3"), "corrected")])


async def test_spend_keeps_the_latest_sum_of_each_scope_and_window(tables: Settings) -> None:
    def spend(window: dict[str, str], spent: str, events: int) -> Outgoing:
        return record(
            Topic.SPEND,
            f"global|{window['kind']}|{window['start']}",
            {
                "scope": "global",
                "window": window,
                "spent_usd": spent,
                "retail_usd": "9",
                "usage": {"input_tokens": "12", "gb": "0.5"},
                "events": events,
                "updated_at": "2026-11-21T10:00:00.250Z",
            },
        )

    await publish(tables, spend(MONTH, "1.5", 1), spend(MONTH, "104.2", 31), spend(LIFETIME, "2000.000000000001", 400))
    columns = "window, window_start, toYear(window_end) > 2200, timezone, spent_usd, events, updated_at"
    month = ("month", datetime(2026, 11, 1, tzinfo=UTC), 0, "UTC")
    lifetime = ("lifetime", datetime(1970, 1, 1, tzinfo=UTC), 1, "UTC", Decimal("2000.000000000001"), 400)
    updated = datetime(2026, 11, 21, 10, 0, 0, 250000, tzinfo=UTC)
    async with sink(tables):
        await shows(
            tables,
            f"SELECT {columns} FROM spend ORDER BY window",
            [(*lifetime, updated), (*month, Decimal("104.2"), 31, updated)],
        )
        # A sum may fall (an adjustment), and a tombstone only makes Kafka forget.
        await publish(tables, spend(MONTH, "100", 32))
        await publish(tables, record(Topic.SPEND, f"global|month|{MONTH['start']}", None))
        await shows(
            tables,
            f"SELECT {columns} FROM spend ORDER BY window",
            [(*lifetime, updated), (*month, Decimal("100"), 32, updated)],
        )
    assert query(tables, "SELECT usage['input_tokens'], usage['gb'], retail_usd FROM spend WHERE window = 'month'") == [
        (Decimal("12"), Decimal("0.5"), Decimal("9"))
    ]


def flag(state: str, revision: int, spent: str) -> Outgoing:
    return record(
        Topic.FLAGS,
        "user/u-1",
        {
            "scope": "user/u-1",
            "state": state,
            "blocked": state == "blocked",
            "action": "block",
            "reason": "usage_limit_exceeded",
            "budget": "user/*:month:usd",
            "window": MONTH,
            "limit": "100",
            "unit": "usd",
            "spent": spent,
            "percent": spent,
            "since": "2026-11-21T10:00:00Z",
            "until": "2099-12-01T00:00:00Z",
            "revision": revision,
        },
    )


async def test_flags_keep_every_revision_and_show_the_current_one(tables: Settings) -> None:
    await publish(tables, flag("warning", 1, "80.5"), flag("blocked", 2, "104.2"))
    current = "SELECT state, blocked, `limit`, percent, window, in_force FROM flags_current"
    async with sink(tables):
        await shows(tables, current, [("blocked", True, Decimal(100), Decimal("104.2"), "month", True)])
        await publish(tables, record(Topic.FLAGS, "user/u-1", None))
        await shows(tables, current, [("ok", False, Decimal(0), None, "", False)])
    assert query(tables, "SELECT scope, state, revision, reason FROM flags ORDER BY source_offset") == [
        ("user/u-1", "warning", 1, "usage_limit_exceeded"),
        ("user/u-1", "blocked", 2, "usage_limit_exceeded"),
        ("user/u-1", "ok", 0, "removed"),
    ]


async def test_a_stop_by_hand_says_who_and_why(tables: Settings) -> None:
    stop = {
        "scope": "global", "state": "stopped", "blocked": True, "action": "stop", "reason": "spending_stopped",
        "since": "2026-11-21T10:00:00Z", "note": "cli:ann: an invoice of Globex", "revision": 1,
    }  # fmt: skip
    over = {**stop, "state": "ok", "blocked": False, "note": None, "revision": 2}
    await publish(tables, record(Topic.FLAGS, "global", stop), record(Topic.FLAGS, "global", over))
    async with sink(tables):
        told = [("stopped", "cli:ann: an invoice of Globex"), ("ok", "")]
        await shows(tables, "SELECT state, note FROM flags ORDER BY source_offset", told)
    assert query(tables, "SELECT state, note, in_force FROM flags_current") == [("ok", "", False)]


async def test_alerts_keep_every_revision_and_show_the_latest(tables: Settings) -> None:
    budget = {
        "key": "budget/b|user/u-1|month|2026-11-01T00:00:00Z",
        "kind": "budget",
        "level": "critical",
        "scope": "user/u-1",
        "budget": "b",
        "window": MONTH,
        "limit": "100",
        "unit": "usd",
        "spent": "104.2",
        "percent": "104.20",
        "state": "blocked",
        "action": "block",
        "reason": "user/u-1 has spent 104.20 % of $100",
        "peak_level": "critical",
        "peak_percent": "104.20",
        "since": "2026-11-21T10:00:00Z",
        "updated_at": "2026-11-21T10:00:01Z",
        "revision": 1,
    }
    unpriced = {
        "key": "unpriced/openai/gpt-9",
        "kind": "unpriced",
        "level": "warning",
        "scope": None,
        "budget": None,
        "window": None,
        "limit": None,
        "provider": "openai",
        "model": "gpt-9",
        "updated_at": "2026-11-21T10:00:01Z",
        "revision": 1,
    }
    resolved = budget | {"level": "resolved", "revision": 2}
    await publish(tables, *(record(Topic.ALERTS, str(a["key"]), a) for a in (budget, unpriced, resolved)))
    async with sink(tables):
        await shows(
            tables,
            "SELECT kind, level, peak_percent, scope, model FROM alerts_current ORDER BY kind",
            [("budget", "resolved", Decimal("104.2"), "user/u-1", ""), ("unpriced", "warning", None, "", "gpt-9")],
        )
    assert query(tables, "SELECT count() FROM alerts") == [(3,)]


async def test_a_dead_letter_keeps_its_bytes_key_reason_and_place(tables: Settings) -> None:
    value = bytes(range(256)) + b"\\N\\t\\x41\t\n\r\n'\""
    headers = [
        ("reason", b"not_json"),
        ("error", "the value is not JSON: byte é 0".encode()),
        ("source_topic", b"tollgate.usage"),
        ("source_partition", b"3"),
        ("source_offset", b"41"),
        ("time", b"2026-11-21T10:00:00.500Z"),
        ("ce_id", b"e\t1"),
        ("content-type", b"application/json"),
    ]
    await publish(
        tables,
        Outgoing(Topic.DEAD_LETTERS, b"\xff\tkey", value, headers),
        Outgoing(Topic.DEAD_LETTERS, b"k", b"from somebody else", ()),
    )
    async with sink(tables):
        await shows(
            tables,
            "SELECT hex(key), hex(value), reason, error, source_topic, source_partition, source_offset, time, headers,"
            " dead_letter_partition, dead_letter_offset FROM dead_letters WHERE reason = 'not_json'",
            [
                (
                    (b"\xff\tkey").hex().upper(),
                    value.hex().upper(),
                    "not_json",
                    "the value is not JSON: byte é 0",
                    "tollgate.usage",
                    3,
                    41,
                    datetime(2026, 11, 21, 10, 0, 0, 500000, tzinfo=UTC),
                    '{"ce_id":"e\\t1","content-type":"application/json"}',
                    0,
                    0,
                )
            ],
        )
        await shows(
            tables,
            "SELECT value, source_partition, headers FROM dead_letters WHERE reason = 'unknown'",
            [("from somebody else", -1, "{}")],
        )


async def test_budgets_show_the_latest_and_keep_the_history(tables: Settings) -> None:
    def budget(identity: str, limit: str) -> Outgoing:
        thresholds = {
            "warning": {"percent": "80", "action": "alert"},
            "critical": {"percent": "100", "action": "block"},
            "emergency": {"percent": "150", "action": "stop"},
        }
        value = {"id": identity, "scope": "user/*", "limit": limit, "unit": "usd", "window": "month", "timezone": "UTC"}
        return record(
            Topic.CONTROL,
            f"budget/{identity}",
            value | {"thresholds": thresholds, "updated_at": "2026-11-21T10:00:00Z"},
        )

    await publish(
        tables,
        budget("a/b", "100"),
        budget("a/b", "150.5"),
        budget("gone", "1"),
        record(Topic.CONTROL, "budget/gone", None),
        record(Topic.CONTROL, "plan/free", {"id": "free"}),
    )
    async with sink(tables):
        await shows(
            tables,
            "SELECT id, scope, `limit`, window, critical_percent, emergency_action FROM budgets",
            [("a/b", "user/*", Decimal("150.5"), "month", Decimal(100), "stop")],
        )
    assert query(tables, "SELECT id, `limit`, removed FROM budget_records FINAL ORDER BY source_offset") == [
        ("a/b", Decimal(100), False),
        ("a/b", Decimal("150.5"), False),
        ("gone", Decimal(1), False),
        ("gone", Decimal(0), True),
    ]


async def test_prices_show_their_rates_and_interval(tables: Settings) -> None:
    price = {
        "id": "openai/gpt-9@2026-01-01#0a1b2c3d",
        "provider": "openai",
        "model": "gpt-9",
        "agent": "",
        "options": {"tier": "free"},
        "rates": [
            {"dimension": "input_tokens", "usd": "2.50", "per": "1000000"},
            {"dimension": "requests", "usd": "0.000000000001", "per": "1"},
        ],
        "effective_from": "2026-01-01T00:00:00Z",
        "effective_to": None,
        "source": "cli",
    }
    await publish(tables, record(Topic.CONTROL, f"price/{price['id']}", price))
    async with sink(tables):
        await shows(
            tables,
            "SELECT model, options, rates[1].usd / rates[1].per, rates[2].usd, effective_from, effective_to"
            " FROM prices",
            [
                (
                    "gpt-9",
                    {"tier": "free"},
                    Decimal("0.0000025"),
                    Decimal("0.000000000001"),
                    datetime(2026, 1, 1, tzinfo=UTC),
                    None,
                )
            ],
        )


async def test_a_lone_record_is_visible_at_once(tables: Settings) -> None:
    async with sink(tables):
        await publish(tables, priced(1))
        await everything_committed(tables)
        published_at = time.monotonic()
        await publish(tables, priced(2))
        await shows(tables, "SELECT count() FROM usage", [(2,)])
        # 200 ms of lingering, and what a busy machine adds.
        assert time.monotonic() - published_at < 5


async def test_a_bad_row_among_good_ones_goes_to_the_dead_letters_alone(tables: Settings) -> None:
    bad = [
        Outgoing(Topic.PRICED, b"u-1", b'{"event_id": "secret-payload", "cost_usd": '),
        priced(5000, cost_usd="secret-payload"),
        Outgoing(Topic.PRICED, b"u-1", b""),
        Outgoing(Topic.PRICED, b"u-1", None),
        Outgoing(Topic.SPEND, b"k", b'{"scope": "secret-payload"}'),
        Outgoing(Topic.DEAD_LETTERS, b"k", b"raw", [("reason", b"x"), ("time", b"secret-payload")]),
    ]
    good = [priced(number) for number in range(1000)]
    await publish(tables, *good[:300], *bad, *good[300:])
    with capture_logs() as logs:
        async with sink(tables):
            await shows(tables, "SELECT count() FROM dead_letters WHERE reason = 'sink_rejected'", [(6,)])
            await everything_committed(tables)
    assert query(tables, "SELECT count(), sum(cost_usd) FROM usage") == [(1000, Decimal(250))]
    rejected = query(
        tables,
        "SELECT splitByChar('.', source_topic)[2] AS topic, value, error, dead_letter_offset FROM dead_letters"
        " ORDER BY topic, source_partition, source_offset",
    )
    assert sorted((topic, value[:14]) for topic, value, _, _ in rejected) == [
        ("dead-letters", "raw"),
        ("priced", ""),
        ("priced", ""),
        ("priced", '{"event_id": "'),
        ("priced", '{"event_id": "'),
        ("spend", '{"scope": "sec'),
    ]
    assert all(offset == -1 and error for _, _, error, offset in rejected)
    assert len([entry for entry in logs if "kept in dead_letters" in entry["event"]]) == 6
    assert "secret-payload" not in repr(logs)
    assert not [error for _, _, error, _ in rejected if "secret-payload" in error]


async def test_a_value_over_several_lines_is_still_one_row(tables: Settings) -> None:
    value = json.loads(priced(1).value or b"")
    await publish(
        tables,
        Outgoing(Topic.PRICED, b"u-1", json.dumps(value, indent=2).encode()),
        Outgoing(Topic.PRICED, b"u-1", b'{"event_id": "x"\n}\n{"event_id": "y"}'),
        priced(2),
    )
    async with sink(tables):
        await shows(tables, "SELECT event_id FROM usage ORDER BY event_id", [("e-000001",), ("e-000002",)])
        await shows(tables, "SELECT reason, count() FROM dead_letters GROUP BY reason", [("sink_rejected", 1)])


async def test_the_committed_offsets_pass_the_markers_of_transactions(tables: Settings) -> None:
    await publish(tables, *(priced(number) for number in range(40)))
    async with sink(tables):
        await shows(tables, "SELECT count() FROM usage", [(40,)])
        await publish(tables, priced(99), abort=True)
        await everything_committed(tables)
