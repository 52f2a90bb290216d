"""What a console process keeps of each topic, record by record, without Kafka."""

import json

import pytest
from tests.support.live_records import alert_record, flag_record, spend_record

from tollgate.console.live import held_spend
from tollgate.console.live.held_alerts import HeldAlerts
from tollgate.console.live.held_flags import HeldFlags
from tollgate.console.live.held_spend import HeldSpend
from tollgate.console.live.ignored import Ignored
from tollgate.domain.windows import DAY_MS, HOUR_MS
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import AlertLevel, FlagState
from tollgate.schemas.topics import Topic
from tollgate.schemas.vocabulary import BASE_WINDOWS, WindowKind

NOON_MS = parse_instant("2026-11-21T12:00:00Z")
DEEP = b"[" * 100_000


@pytest.fixture
def ignored() -> Ignored:
    return Ignored()


@pytest.fixture
def flags(ignored: Ignored) -> HeldFlags:
    return HeldFlags(ignored)


@pytest.fixture
def spend(ignored: Ignored) -> HeldSpend:
    return HeldSpend(ignored, NOON_MS)


@pytest.fixture
def alerts(ignored: Ignored) -> HeldAlerts:
    return HeldAlerts(ignored)


def test_a_flag_that_is_ok_is_not_kept(flags: HeldFlags) -> None:
    assert flags.take(b"user/u1", flag_record("user/u1", "ok")) is None
    assert flags.take(b"user/u1", flag_record("user/u1", "warning", 2)) == "user/u1"
    held = flags.flag("user/u1")
    assert held is not None
    assert held.state is FlagState.WARNING
    assert flags.take(b"user/u1", flag_record("user/u1", "ok", 3)) == "user/u1"
    assert flags.flag("user/u1") is None
    assert flags.take(b"user/u1", None) is None


def test_an_older_revision_of_a_flag_changes_nothing(flags: HeldFlags) -> None:
    flags.take(b"global", flag_record("global", "stopped", 7))
    assert flags.take(b"global", flag_record("global", "warning", 6)) is None
    held = flags.flag("global")
    assert held is not None
    assert held.state is FlagState.STOPPED


def test_the_shapes_of_combinations_are_those_of_the_flags_that_are_kept(flags: HeldFlags) -> None:
    names = {"user": "user/u9", "feature": "feature/video"}
    single = ["global", "user/u9", "feature/video"]
    for user in (b"u1", b"u2"):
        scope = b"user/" + user + b"+feature/video"
        flags.take(scope, flag_record(scope.decode(), "ok"))
        assert flags.shapes.scopes_of(names) == single
    for revision in (2, 3):
        flags.take(b"user/u1+feature/video", flag_record("user/u1+feature/video", "warning", revision))
    assert flags.shapes.scopes_of(names) == [*single, "user/u9+feature/video"]
    flags.take(b"user/u1+feature/video", flag_record("user/u1+feature/video", "ok", 4))
    assert flags.shapes.scopes_of(names) == single
    flags.take(b"user/u1+feature/video", flag_record("user/u1+feature/video", "warning", 5))
    flags.forget()
    assert flags.shapes.scopes_of(names) == single


def test_a_flag_is_in_force_until_its_end(flags: HeldFlags) -> None:
    flags.take(b"user/u1", flag_record("user/u1", until="2026-11-21T12:00:00Z"))
    assert list(flags.in_force(NOON_MS - 1)) == ["user/u1"]
    assert flags.blocked(NOON_MS - 1) == 1
    assert list(flags.in_force(NOON_MS)) == []
    assert flags.blocked(NOON_MS) == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"user/u1", b"{"),
        (b"user/u1", DEEP),
        (b"user/u1", b"null"),
        (b"user/u1", b'{"state": 7}'),
        (b"user/u1", flag_record("user/u1", until="tomorrow")),
        (b"user/u1", flag_record("user/u2")),
        (b"\xff", flag_record("user/u1")),
        (b"user/u1", flag_record("user/u1", revision=0)),
    ],
)
def test_what_is_no_flag_is_skipped_and_counted(flags: HeldFlags, ignored: Ignored, key: bytes, value: bytes) -> None:
    assert flags.take(key, value) is None
    assert flags.flag("user/u1") is None
    assert ignored.by_topic == {Topic.FLAGS: 1}


def test_spend_is_kept_by_scope_and_window(spend: HeldSpend) -> None:
    for kind in (WindowKind.LIFETIME, *BASE_WINDOWS):
        assert spend.take(*spend_record("agent/a|b", "1.5", kind, NOON_MS)) is not None
    record = spend.get("agent/a|b", WindowKind.MONTH, parse_instant("2026-11-01T00:00:00Z"))
    assert record is not None
    assert record.spent_usd == "1.5"
    assert spend.get("agent/a", WindowKind.MONTH, parse_instant("2026-11-01T00:00:00Z")) is None
    key, _ = spend_record("agent/a|b", "1.5", WindowKind.DAY, NOON_MS)
    assert spend.take(key, None) == ("agent/a|b", "day", "2026-11-21T00:00:00Z")
    assert spend.take(key, None) is None


def test_a_users_spend_is_skipped_by_its_key(spend: HeldSpend, ignored: Ignored) -> None:
    assert spend.take(b"user/u1|month|2026-11-01T00:00:00Z", b"{") is None
    assert spend.take(b"user/u1+model/gpt-4o|month|2026-11-01T00:00:00Z", b"{") is None
    assert not ignored.by_topic
    assert not spend.keeps("user/u1")


def test_this_and_the_last_window_are_kept_and_the_hours_of_today_for_the_company(spend: HeldSpend) -> None:
    kept = {
        WindowKind.HOUR: (NOON_MS - HOUR_MS, NOON_MS - 2 * HOUR_MS),
        WindowKind.DAY: (NOON_MS - DAY_MS, NOON_MS - 2 * DAY_MS),
        WindowKind.MONTH: (NOON_MS - 31 * DAY_MS, NOON_MS - 62 * DAY_MS),
    }
    for kind, (last, older) in kept.items():
        assert spend.take(*spend_record("org/acme", "1", kind, last)) is not None
        assert spend.take(*spend_record("org/acme", "1", kind, older)) is None
    assert spend.take(*spend_record("global", "1", WindowKind.HOUR, NOON_MS - 12 * HOUR_MS)) is not None
    assert spend.take(*spend_record("global", "1", WindowKind.HOUR, NOON_MS - 13 * HOUR_MS)) is None
    assert spend.take(b"org/acme|month@Asia/Tokyo|2026-10-31T15:00:00Z", b"{}") is None
    assert spend.holds("org/acme", WindowKind.DAY, NOON_MS - DAY_MS - 12 * HOUR_MS)
    assert not spend.holds("org/acme", WindowKind.DAY, NOON_MS - 2 * DAY_MS)


def test_windows_are_dropped_as_time_goes_on(spend: HeldSpend) -> None:
    spend.take(*spend_record("org/acme", "1", WindowKind.HOUR, NOON_MS))
    spend.take(*spend_record("global", "1", WindowKind.HOUR, NOON_MS))
    spend.advance(NOON_MS + 2 * HOUR_MS - 1)
    assert list(spend.scopes()) == ["org/acme", "global"]
    spend.advance(NOON_MS + 2 * HOUR_MS)
    assert list(spend.scopes()) == ["global"]
    # Just after midnight the last hour of yesterday is kept for the company, and no other.
    spend.take(*spend_record("global", "2", WindowKind.HOUR, NOON_MS + 11 * HOUR_MS))
    spend.advance(NOON_MS + 12 * HOUR_MS)
    assert [record.spent_usd for record in spend.windows("global")] == ["2"]


def test_more_scopes_than_are_kept_are_known_to_be_missing(spend: HeldSpend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_spend, "SCOPES_MAX", 2)
    spend.take(*spend_record("model/a", "1", WindowKind.DAY, NOON_MS))
    spend.take(*spend_record("model/b", "1", WindowKind.DAY, NOON_MS))
    assert spend.keeps("model/never-used")
    assert spend.take(*spend_record("model/c", "1", WindowKind.DAY, NOON_MS)) is None
    assert spend.take(*spend_record("global", "1", WindowKind.DAY, NOON_MS)) is not None
    assert not spend.keeps("model/c")
    assert not spend.keeps("model/never-used")
    assert spend.keeps("model/a")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"global", b"{}"),
        (b"\xff|day|2026-11-21T00:00:00Z", b"{}"),
        (b"global|day|2026-11-21T00:00:00Z", b"{}"),
        (b"global|day|2026-11-21T00:00:00Z", DEEP),
        (b"org/acme|day|2026-11-21T00:00:00Z", spend_record("global", "1", WindowKind.DAY, NOON_MS)[1]),
        (b"global|day|2026-11-22T00:00:00Z", spend_record("global", "1", WindowKind.DAY, NOON_MS)[1]),
    ],
)
def test_what_is_no_sum_is_skipped_and_counted(spend: HeldSpend, ignored: Ignored, key: bytes, value: bytes) -> None:
    assert spend.take(key, value) is None
    assert list(spend.scopes()) == []
    assert ignored.by_topic == {Topic.SPEND: 1}


def test_the_worst_alert_comes_first_and_a_resolved_one_not_at_all(alerts: HeldAlerts) -> None:
    for scope, level in (("org/a", "warning"), ("org/b", "emergency"), ("org/c", "critical")):
        key, value = alert_record(scope, level)
        assert alerts.take(key, value) == (key.decode(), scope)
    key, value = alert_record("org/d", "critical", percent="9.99")
    alerts.take(key, value)
    worst, count = alerts.worst(3)
    assert [(alert.scope, alert.level) for alert in worst] == [
        ("org/b", AlertLevel.EMERGENCY),
        ("org/c", AlertLevel.CRITICAL),
        ("org/d", AlertLevel.CRITICAL),
    ]
    assert count == 4
    assert [alert.scope for alert in alerts.worst(3, "org/a")[0]] == ["org/a"]
    key, value = alert_record("org/b", "resolved", 2)
    assert alerts.take(key, value) == (key.decode(), "org/b")
    assert len(alerts) == 3
    assert alerts.take(key, None) is None


@pytest.mark.parametrize("value", [b"{", DEEP, b"{}", alert_record(key="another")[1]])
def test_what_is_no_alert_is_skipped_and_counted(alerts: HeldAlerts, ignored: Ignored, value: bytes) -> None:
    assert alerts.take(alert_record()[0], value) is None
    assert len(alerts) == 0
    assert ignored.by_topic == {Topic.ALERTS: 1}


def test_a_percentage_of_any_length_is_ranked(alerts: HeldAlerts) -> None:
    key, value = alert_record(percent="9" * 5000 + ".00")
    assert alerts.take(key, value) is not None
    assert json.loads(value)["percent"] == alerts.worst(1)[0][0].percent
