"""A storm of alerts becomes one message, and each alert is still followed."""

import json
import os
import random
from typing import Any

import msgspec
import pytest
from tests.support.alert_records import budget_record, decoded
from tests.support.slack_rules import fault_of_message, markup_of_message

from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.sinks.alerts import Notification, render
from tollgate.sinks.alerts.board import Act, Board, Lane, Work
from tollgate.sinks.alerts.delivery import _joined
from tollgate.sinks.alerts.digest import Digest, Member, digest_of
from tollgate.sinks.alerts.notification import Policy, Via, decode_notification, encode_notification

NOW_MS = parse_instant("2026-11-21T12:30:00Z")
POLICY = Policy(digest_over=20)
LEVELS = ["warning", "critical", "emergency"]


class Channel:
    """A channel and the records of a sink, in which every request is answered; a restart keeps both."""

    def __init__(self, via: Via = "bot") -> None:
        self.via: Via = via
        self.now_ms = NOW_MS
        self.records: dict[str, Notification] = {}
        self.posts: list[Any] = []
        self.shown: dict[str, Any] = {}
        self.offset = 0
        self.board = self._new()

    def _new(self) -> Board:
        board = Board(self.via, self.via == "bot", POLICY)
        board.restore([decode_notification(encode_notification(found)) for found in self.records.values()])
        return board

    def restart(self) -> None:
        self.board = self._new()

    def offer(self, *records: dict[str, Any]) -> None:
        for record in records:
            self.board.offer(decoded(record), self.offset)
            self.offset += 1

    def run(self, seconds: int = 0, posts_max: int = 10_000) -> None:
        """All that is due in the next so many seconds, with a second between posts."""
        end_ms = self.now_ms + seconds * 1000
        while True:
            self._note()
            worked = False
            for lane in Lane:
                work, _ = self.board.take(lane, self.now_ms)
                if work is not None and (work.act is not Act.POST or posts_max > 0):
                    posts_max -= work.act is Act.POST
                    self.do(work)
                    worked = True
            if not worked and self.now_ms >= end_ms:
                return
            self.now_ms = min(end_ms, self.now_ms + 1_000) if self.now_ms < end_ms else self.now_ms

    def _note(self) -> None:
        for work in self.board.take_notes(self.now_ms):
            assert work.entry.notification is not None
            self._record(work, work.entry.notification, level=work.alert.level, revision=work.alert.revision)

    def do(self, work: Work) -> None:
        if work.act is Act.FIND:
            assert work.entry.notification is not None
            if work.alert.key in self.shown:
                self._record(work, work.entry.notification, state="sent", ts=work.alert.key)
            else:
                work.entry.absent = True
            return
        now = format_instant(self.now_ms)
        is_digest = isinstance(work.alert, Digest)
        line = work.alert.line if is_digest else ""
        if work.act is Act.EDIT:
            assert work.entry.notification is not None
            more: dict[str, Any] = {"line": line} if is_digest else {}
            self.shown[work.alert.key] = work.alert
            self._record(
                work,
                work.entry.notification,
                revision=work.alert.revision,
                level=work.alert.level,
                edited_at=now,
                **more,
            )
            return
        self.begin(work)
        self.posts.append(work.alert)
        self.shown[work.alert.key] = work.alert
        assert work.entry.notification is not None
        self._record(work, work.entry.notification, state="sent", ts=work.alert.key, posted_at=now, edited_at=now)

    def begin(self, work: Work) -> None:
        """What is written before a post."""
        sending = Notification(
            key=work.alert.key, state="sending", via=self.via, id="0a", channel="C0", revision=work.alert.revision,
            level=work.alert.level, sending_at=format_instant(self.now_ms),
            line=work.alert.line if isinstance(work.alert, Digest) else "",
        )  # fmt: skip
        self._record(work, sending)
        for entry, alert in work.joining:
            told = _joined(sending, alert)
            self.records[alert.key] = told
            self.board.told(entry, told)

    def _record(self, work: Work, notification: Notification, **changes: Any) -> None:
        written = msgspec.structs.replace(notification, **changes)
        self.records[written.key] = written
        self.board.told(work.entry, written)


def users(count: int, level: str = "critical", revision: int = 1, first: int = 0) -> list[dict[str, Any]]:
    return [budget_record(level, revision, f"user/{n}") for n in range(first, first + count)]


@pytest.mark.parametrize(("waiting", "posts"), [(1, 1), (20, 20), (21, 1), (5_000, 1)])
def test_more_than_twenty_waiting_alerts_are_one_message(waiting: int, posts: int) -> None:
    channel = Channel()
    channel.offer(*users(waiting))
    channel.run(seconds=300)
    assert len(channel.posts) == posts
    assert channel.board.waiting() == 0
    assert channel.board.committable() == waiting
    assert set(channel.records) >= {record["key"] for record in users(waiting)}


def test_a_digest_gathers_for_three_seconds_and_nothing_is_posted_meanwhile() -> None:
    channel = Channel()
    channel.offer(*users(21))
    assert channel.board.take(Lane.POSTS, NOW_MS) == (None, NOW_MS + 3_000)
    channel.offer(*users(30, first=21))
    assert channel.board.take(Lane.POSTS, NOW_MS + 2_999)[0] is None
    work, _ = channel.board.take(Lane.POSTS, NOW_MS + 3_000)
    assert work is not None
    assert len(work.joining) == 51


def test_what_arrives_after_a_digest_waits_a_minute_and_few_are_then_posted_one_by_one() -> None:
    channel = Channel()
    channel.offer(*users(100))
    channel.run(seconds=3)
    channel.offer(*users(5, first=100))
    channel.run(seconds=58)
    assert len(channel.posts) == 1
    channel.run(seconds=10)
    assert [post.scope for post in channel.posts[1:]] == [f"user/{n}" for n in range(100, 105)]


def test_a_storm_of_a_day_is_at_most_one_message_a_minute() -> None:
    channel = Channel()
    for minute in range(30):
        for part in range(6):
            channel.offer(*users(50, first=minute * 300 + part * 50))
            channel.run(seconds=10)
    assert len(channel.posts) <= 30
    assert channel.board.waiting() <= 300


def test_the_digest_is_edited_as_its_alerts_end_and_says_when_all_have() -> None:
    channel = Channel()
    channel.offer(*users(30))
    channel.run(seconds=5)
    (digest,) = channel.posts
    assert digest.counts == {"critical": 30}
    channel.offer(*users(10, "resolved", 2))
    channel.run(seconds=10)
    assert channel.shown[digest.key].counts == {"critical": 20, "resolved": 10}
    channel.restart()
    channel.offer(*users(20, "resolved", 2, first=10))
    channel.run(seconds=10)
    shown = channel.shown[digest.key]
    assert (shown.counts, shown.level) == ({"resolved": 30}, "resolved")
    assert render(shown).text == "RESOLVED: all alerts of a storm are over"
    assert len(channel.posts) == 1


def test_an_alert_that_gets_worse_is_told_again_and_leaves_the_digest() -> None:
    channel = Channel()
    channel.offer(*users(30, "warning"))
    channel.run(seconds=100)
    channel.offer(budget_record("emergency", 2, "user/7"), budget_record("warning", 2, "user/8"))
    channel.run(seconds=100)
    digest, worse = channel.posts
    assert (worse.scope, worse.level) == ("user/7", "emergency")
    assert channel.shown[digest.key].counts == {"warning": 29}
    channel.offer(budget_record("resolved", 3, "user/7"))
    channel.run(seconds=100)
    assert channel.shown[worse.key].level == "resolved"
    assert len(channel.posts) == 2


def test_a_webhook_tells_the_end_of_a_storm_in_one_message_too() -> None:
    channel = Channel("webhook")
    channel.offer(*users(100))
    channel.run(seconds=5)
    channel.offer(*users(100, "resolved", 2))
    channel.run(seconds=100)
    assert [post.counts for post in channel.posts] == [{"critical": 100}, {"resolved": 100}]
    assert channel.board.waiting() == 0


def test_a_log_gets_every_alert() -> None:
    channel = Channel("log")
    channel.offer(*users(100))
    channel.run()
    assert len(channel.posts) == 100


def test_a_message_of_its_own_goes_on_to_be_edited_in_a_storm() -> None:
    channel = Channel()
    channel.offer(budget_record("warning", 1, "user/shown"))
    channel.run()
    channel.offer(*users(1_000), budget_record("critical", 2, "user/shown"))
    channel.run(seconds=10)
    assert [type(post).__name__ for post in channel.posts] == ["Alert", "Digest"]
    assert channel.shown[channel.posts[0].key].level == "critical"


@pytest.mark.parametrize("arrived", [True, False])
def test_a_process_that_dies_while_it_posts_a_digest_loses_and_doubles_nothing(arrived: bool) -> None:
    channel = Channel()
    channel.offer(*users(50))
    channel.run(seconds=2)
    channel.now_ms += 1_000
    work, _ = channel.board.take(Lane.POSTS, channel.now_ms)
    assert work is not None
    channel.begin(work)
    if arrived:
        channel.posts.append(work.alert)
        channel.shown[work.alert.key] = work.alert
    channel.restart()
    # Nothing is committed before, so all records are read again, and one has ended meanwhile.
    channel.offer(*users(50), budget_record("resolved", 2, "user/3"))
    channel.run(seconds=100)
    assert len(channel.posts) == 1
    (digest,) = channel.posts
    assert channel.shown[digest.key].counts == {"critical": 49, "resolved": 1}
    assert channel.board.waiting() == 0


def test_every_alert_is_told_at_its_last_level_whatever_the_order_and_the_restarts() -> None:
    seed = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
    print(f"TOLLGATE_TEST_SEED={seed}")
    rnd = random.Random(seed)
    for _ in range(30):
        channel = Channel()
        latest: dict[str, dict[str, Any]] = {}
        for _ in range(rnd.randint(1, 12)):
            for _ in range(rnd.choice([1, 5, 60])):
                scope = f"user/{rnd.randrange(80)}"
                revision = latest[scope]["revision"] + 1 if scope in latest else 1
                level = rnd.choice([*LEVELS, "resolved"] if scope in latest else LEVELS)
                latest[scope] = budget_record(level, revision, scope)
                channel.offer(latest[scope])
            channel.run(seconds=rnd.choice([0, 1, 10, 100]))
            if rnd.random() < 0.3:
                channel.restart()
                channel.offer(*rnd.sample([*latest.values()], len(latest)))
        channel.run(seconds=300)
        assert channel.board.waiting() == 0
        for record in latest.values():
            told = channel.records[record["key"]]
            assert told.level == record["level"], record
            if told.digest:
                assert Member.of(told) in channel.shown[told.digest].members
            else:
                assert channel.shown[record["key"]].level == record["level"]
        for key, shown in channel.shown.items():
            if isinstance(shown, Digest):
                members = [found for found in channel.records.values() if found.digest == key]
                assert sorted(map(Member.of, members)) == sorted(shown.members)


def of(*members: tuple[str, str, str]) -> Digest:
    found = {f"k{number}": Member(*member) for number, member in enumerate(members)}
    return digest_of("digest/1", found, 3, "2026-11-21T12:00:00Z", "2026-11-21T12:03:00Z")


def test_a_digest_names_the_worst_and_how_many_more_and_the_command_that_lists_them() -> None:
    members = [("warning", f"user/{n} · day budget", "81") for n in range(100)]
    members += [("emergency", f"user/e{n} · day budget", f"{150 + n}.5") for n in range(3)]
    members += [("resolved", f"user/r{n} · day budget", "100") for n in range(7)]
    message = render(of(*members))
    header, counts, worst, steps, history = message.blocks
    assert header["text"]["text"] == "🚨 EMERGENCY · 103 alerts at once"
    assert counts["text"]["text"] == "*emergency 3 · warning 100 · resolved 7*"
    lines = worst["text"]["text"].split("\n")
    assert lines[0] == "• emergency `user/e2 · day budget` at 152.5 %"
    assert len(lines) == 11
    assert lines[-1] == "and 93 more"
    assert "`tollgate alerts list`" in steps["text"]["text"]
    assert "revision 3" in history["elements"][0]["text"]
    assert message.text == (
        "EMERGENCY: 103 alerts at once: user/e2 · day budget, user/e1 · day budget, user/e0 · day budget and 100 more."
        " See them with tollgate alerts list"
    )


@pytest.mark.parametrize("name", ["*b*", "<!channel>", "`" * 256, "&" * 256, "\u202e" * 256, ":fire:", "x" * 600])
def test_names_in_a_digest_are_harmless_and_within_slacks_limits(name: str) -> None:
    message = render(of(*[("critical", name, "100")] * 5_000))
    plain = render(of(*[("critical", "plain", "100")] * 5_000))
    body, expected = ({"text": found.text, "blocks": found.blocks} for found in (message, plain))
    assert fault_of_message(body) is None
    assert markup_of_message(body) == markup_of_message(expected)
    assert "\u202e" not in json.dumps(body, ensure_ascii=False)


def stop_record(level: str, revision: int) -> dict[str, Any]:
    """The company-wide stop by hand, or its end."""
    return {
        "key": "stop/global", "kind": "stop", "level": level, "scope": "global", "revision": revision,
        "reason": "ada stopped all spending", "peak_level": "emergency",
        "since": "2026-11-21T12:29:00Z", "updated_at": "2026-11-21T12:30:00Z",
    }  # fmt: skip


def test_a_stop_in_a_storm_has_a_message_of_its_own_at_once() -> None:
    channel = Channel()
    channel.offer(*(budget_record("emergency", 1, f"user/{n}") for n in range(100)))
    channel.offer(stop_record("emergency", 1))
    channel.run(seconds=0)
    assert [post.key for post in channel.posts] == ["stop/global"]
    channel.run(seconds=60)
    assert [isinstance(post, Digest) for post in channel.posts] == [False, True]


def test_a_stop_that_fires_again_is_posted_again_and_its_end_is_an_edit() -> None:
    channel = Channel()
    for revision, level in enumerate(("emergency", "resolved", "emergency", "resolved"), 1):
        channel.offer(stop_record(level, revision))
        channel.run(seconds=30)
        channel.restart()
    assert [(post.key, post.level) for post in channel.posts] == [("stop/global", "emergency")] * 2
    assert channel.records["stop/global"].level == "resolved"
