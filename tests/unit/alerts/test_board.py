"""Which alert is posted or edited next, and when."""

import random
from typing import Any

import pytest
from tests.support.alert_records import budget_record, decoded

from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.sinks.alerts.board import Act, Board, Entry, Lane, next_act
from tollgate.sinks.alerts.notification import Notification, Policy, Via

# Budget records of revision r are of 12:00 plus r minutes.
NOW_MS = parse_instant("2026-11-21T12:30:00Z")
POLICY = Policy()


def notification(level: str = "warning", revision: int = 1, scope: str = "user/u-1", **changes: Any) -> Notification:
    told: dict[str, Any] = {
        "key": budget_record(scope=scope)["key"],
        "state": "sent",
        "via": "bot",
        "id": "0a",
        "channel": "C0",
        "ts": "1.000001",
        "revision": revision,
        "level": level,
        "sending_at": format_instant(NOW_MS),
        "edited_at": format_instant(NOW_MS),
    }
    return Notification(**(told | changes))


def act(told: Notification | None, level: str, revision: int = 2, via: Via = "bot", **changes: Any) -> tuple[Act, int]:
    """What the alert needs, and in how many milliseconds."""
    alert = decoded(budget_record(level, revision, **changes))
    entry = Entry(alert.key, alert, notification=told)
    found, due_ms = next_act(entry, alert, via, via == "bot", NOW_MS, POLICY)
    return found, due_ms - NOW_MS


def test_an_alert_that_the_worker_removes_is_told_no_more_and_its_notification_goes() -> None:
    board = Board("bot", True, POLICY)
    key = budget_record()["key"]
    board.offer(decoded(budget_record("critical")), 4)
    assert not board.forget(key, 5)
    assert board.waiting() == 0
    assert board.committable() == 6
    board.restore([notification("resolved", revision=3)])
    assert board.forget(key, 7)
    assert not board.forget(key, 8)
    assert board.take(Lane.POSTS, NOW_MS) == (None, None)


def test_the_first_record_is_posted_at_once() -> None:
    assert act(None, "warning") == (Act.POST, 0)


def test_a_new_level_is_edited_in_at_once() -> None:
    assert act(notification("warning"), "critical") == (Act.EDIT, 0)
    assert act(notification("critical"), "resolved") == (Act.EDIT, 0)
    assert act(notification("critical"), "warning") == (Act.EDIT, 0)


def test_new_numbers_wait_until_five_seconds_after_the_last_edit() -> None:
    assert act(notification("warning"), "warning") == (Act.EDIT, 5_000)
    assert act(notification("warning", edited_at=format_instant(NOW_MS - 4_999)), "warning") == (Act.EDIT, 1)


@pytest.mark.parametrize("revision", [1, 2])
def test_what_was_told_is_not_told_again(revision: int) -> None:
    assert act(notification("critical", revision=2), "warning", revision)[0] is Act.NOTHING


def test_a_clock_that_was_set_back_does_not_hold_an_edit_for_hours() -> None:
    future = format_instant(NOW_MS + 7_200_000)
    assert act(notification("warning", edited_at=future), "warning") == (Act.EDIT, 5_000)


def test_a_post_in_doubt_is_looked_for_once_it_must_have_arrived() -> None:
    assert act(notification(state="sending", ts="", revision=2), "warning") == (Act.FIND, 5_000)


def test_an_alert_that_blocked_and_ended_untold_is_told_once_within_a_day() -> None:
    assert act(None, "resolved", peak_level="critical") == (Act.POST, 0)
    yesterday = "2026-11-20T12:30:00Z"
    assert act(None, "resolved", peak_level="critical", updated_at=yesterday)[0] is Act.NOTHING


def test_a_warning_that_ended_untold_is_not_told() -> None:
    assert act(None, "resolved", peak_level="warning")[0] is Act.NOTHING


def test_a_deleted_message_is_replaced_when_the_level_changes_but_not_for_numbers_or_the_end() -> None:
    gone = notification("warning", state="gone", ts="")
    assert act(gone, "critical")[0] is Act.POST
    assert act(gone, "warning")[0] is Act.NOTHING
    assert act(gone, "resolved")[0] is Act.NOTHING


def test_a_webhook_tells_each_level_and_the_end_but_no_numbers() -> None:
    told = notification("warning", via="webhook", ts="", channel="webhook")
    assert act(told, "critical", via="webhook")[0] is Act.POST
    assert act(told, "resolved", via="webhook")[0] is Act.POST
    assert act(told, "warning", via="webhook")[0] is Act.NOTHING


def test_a_webhook_post_in_doubt_is_repeated_because_nobody_can_be_asked() -> None:
    told = notification("warning", via="webhook", state="sending", ts="", channel="webhook")
    assert act(told, "resolved", peak_level="warning", via="webhook")[0] is Act.POST


def test_what_was_printed_before_a_token_was_set_is_posted_at_its_next_level() -> None:
    printed = notification("warning", via="log", ts="", channel="log")
    assert act(printed, "critical")[0] is Act.POST
    assert act(printed, "warning")[0] is Act.NOTHING


def board(*told: Notification) -> Board:
    made = Board("bot", True, POLICY)
    made.restore(told)
    return made


def test_posts_go_by_severity_and_then_by_age() -> None:
    levels = ["warning", "emergency", "critical", "warning", "emergency", "critical"]
    made = board()
    for offset, level in enumerate(levels):
        made.offer(decoded(budget_record(level, scope=f"user/{offset}")), offset)
    order = []
    for number in range(len(levels)):
        work, _ = made.take(Lane.POSTS, NOW_MS)
        assert work is not None
        order.append(work.alert.scope)
        made.told(work.entry, notification(work.alert.level, 1, work.alert.scope, ts=f"1.{number:06d}"))
    assert order == ["user/1", "user/4", "user/2", "user/5", "user/0", "user/3"]
    assert made.take(Lane.POSTS, NOW_MS) == (None, None)


def test_edits_are_not_queued_behind_posts_and_numbers_take_turns() -> None:
    told = [notification("warning", 1, f"user/{n}", edited_at=format_instant(NOW_MS - 10_000 - n)) for n in range(3)]
    made = board(*told)
    for n in range(3):
        made.offer(decoded(budget_record("warning", 2, f"user/{n}")), n)
    made.offer(decoded(budget_record("emergency", 1, "user/new")), 3)
    made.offer(decoded(budget_record("critical", 3, "user/1")), 4)
    order = []
    for _ in range(3):
        work, _ = made.take(Lane.EDITS, NOW_MS)
        assert work is not None
        order.append(work.alert.scope)
        made.told(work.entry, notification(work.alert.level, work.alert.revision, work.alert.scope))
    # The new level, then the message whose last edit is oldest.
    assert order == ["user/1", "user/2", "user/0"]


def test_of_several_records_only_the_newest_is_told() -> None:
    made = board()
    for offset, (level, revision) in enumerate([("warning", 1), ("critical", 2), ("warning", 1), ("emergency", 3)]):
        made.offer(decoded(budget_record(level, revision)), offset)
    work, _ = made.take(Lane.POSTS, NOW_MS)
    assert work is not None
    assert (work.alert.level, work.alert.revision) == ("emergency", 3)


def test_nothing_is_committed_beyond_what_is_still_to_be_told() -> None:
    made = board()
    assert made.committable() is None
    made.offer(decoded(budget_record("warning", 1, "user/a")), 10)
    made.offer(decoded(budget_record("warning", 1, "user/b")), 11)
    made.skip(12)
    assert made.committable() == 10
    work, _ = made.take(Lane.POSTS, NOW_MS)
    assert work is not None
    made.told(work.entry, notification(state="sending", scope="user/a"))
    assert made.committable() == 10
    # A newer record arrives while the older one is being told.
    made.offer(decoded(budget_record("critical", 2, "user/a")), 13)
    made.told(work.entry, notification("warning", 1, "user/a"))
    assert made.committable() == 11
    work, _ = made.take(Lane.POSTS, NOW_MS)
    assert work is not None
    made.told(work.entry, notification("warning", 1, "user/b"))
    assert made.committable() == 13
    made.told(made._entries[budget_record(scope="user/a")["key"]], notification("critical", 2, "user/a"))
    assert made.committable() == 14


def test_a_replay_of_everything_leaves_nothing_to_tell() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    history = [
        (f"user/{chance.randrange(20)}", chance.choice(["warning", "critical", "emergency"])) for _ in range(200)
    ]
    revisions: dict[str, int] = {}
    records = []
    for scope, level in history:
        revisions[scope] = revisions.get(scope, 0) + 1
        records.append(decoded(budget_record(level, revisions[scope], scope)))
    last = {record.scope: record for record in records}
    told = [notification(record.level, record.revision, scope) for scope, record in last.items()]
    made = board(*told)
    for offset, record in enumerate(records):
        made.offer(record, offset)
    for lane in Lane:
        assert made.take(lane, NOW_MS + 60_000) == (None, None)
    assert made.committable() == 200
