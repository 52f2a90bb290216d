"""Decides which alert is posted or edited next, and when. Pure: time is an argument.

Work is in two queues, called lanes: posts (with look-ups of posts that may have arrived) and edits. Each has its own
rate, so that a storm of new alerts does not delay edits of messages already shown.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.sinks.alerts.alert import SEVERITY, Alert
from tollgate.sinks.alerts.digest import KEY_PREFIX, Member, digest_of
from tollgate.sinks.alerts.notification import Notification, Policy, Via


class Act(Enum):
    """What an alert needs next."""

    POST = "post"
    FIND = "find"
    EDIT = "edit"
    # The digest that tells it changes; the alert itself has no message.
    NOTE = "note"
    # Not worth a message, or already told.
    NOTHING = "nothing"


class Lane(Enum):
    """The queue in which an act waits."""

    POSTS = "posts"
    EDITS = "edits"


@dataclass(slots=True)
class Entry:
    """One alert key. `alert` is its newest record until delivered; `notification` is what was delivered last."""

    key: str
    alert: Alert | None = None
    first_offset: int = 0
    latest_offset: int = 0
    notification: Notification | None = None
    # The post in doubt was looked for and is not there, or Slack said that it refused it.
    absent: bool = False
    # Slack refused the blocks; the text alone is sent.
    text_only: bool = False
    not_before_ms: int = 0
    # Of a digest: the alerts that it tells, by key.
    members: dict[str, Member] | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """The act to do now for the alert, which may be replaced on the board meanwhile.

    `joining` are the entries that a new digest tells, to be recorded together with it.
    """

    act: Act
    entry: Entry
    alert: Alert
    joining: tuple[tuple[Entry, Alert], ...] = ()


def next_act(entry: Entry, alert: Alert, via: Via, can_edit: bool, now_ms: int, policy: Policy) -> tuple[Act, int]:
    """What the alert needs and from which instant on (milliseconds)."""
    told = entry.notification
    if told is not None and told.state == "sending":
        if told.via == "bot" and can_edit and not entry.absent:
            return Act.FIND, min(parse_instant(told.sending_at), now_ms) + policy.settle_ms
        if told.via == via and not entry.absent:
            # This sender cannot look up whether the message arrived. Two messages are better than none.
            return Act.POST, now_ms
        # The post did not arrive, or was tried through another sender: treat the alert as never posted.
        told = None
    if told is None:
        return (Act.POST if _worth_a_first_message(alert, now_ms, policy) else Act.NOTHING), now_ms
    if alert.revision <= told.revision:
        return Act.NOTHING, now_ms
    new_level = alert.level != told.level
    if told.digest and can_edit and told.via == via:
        if alert.severity > SEVERITY.get(told.level, 0):
            # Worse than it was told: an edit of the digest would notify nobody.
            return Act.POST, now_ms
        return (Act.NOTE if new_level else Act.NOTHING), now_ms
    if alert.stands_alone and told.level == "resolved" and new_level:
        return Act.POST, now_ms
    if can_edit and told.state == "sent" and told.via == via and told.ts:
        edited_ms = min(parse_instant(told.edited_at), now_ms) if told.edited_at else 0
        return Act.EDIT, now_ms if new_level else edited_ms + policy.edit_interval_ms
    if not new_level or (can_edit and alert.level == "resolved"):
        # There is no message to edit, and new numbers or the alert's end alone are not worth another message.
        return Act.NOTHING, now_ms
    return Act.POST, now_ms


def _worth_a_first_message(alert: Alert, now_ms: int, policy: Policy) -> bool:
    if alert.level != "resolved":
        return True
    # On-call must learn that users were refused, even afterwards. A warning that ended by itself is not reported.
    recent = parse_instant(alert.updated_at) + policy.resolved_worth_ms > now_ms
    return recent and alert.peak_severity >= SEVERITY["critical"]


class Board:
    """Every alert key known, and those among them with something to tell."""

    def __init__(self, via: Via, can_edit: bool, policy: Policy) -> None:
        self._via: Via = via
        self._can_edit = can_edit
        self._policy = policy
        self._entries: dict[str, Entry] = {}
        self._pending: dict[str, Entry] = {}
        self._next_offset: int | None = None
        # When more than a few began to wait, and when the last digest was made.
        self._crowded_ms: int | None = None
        self._digest_ms = 0
        # Keys of digests whose members have changed since they were last looked at.
        self._stale: set[str] = set()

    def restore(self, notifications: Iterable[Notification]) -> None:
        """Take over what an earlier process delivered."""
        for notification in notifications:
            entry = self._entry(notification.key)
            entry.notification = notification
            if notification.key.startswith(KEY_PREFIX):
                entry.members = entry.members or {}
                self._digest_ms = max(self._digest_ms, parse_instant(notification.sending_at))
            elif notification.digest:
                digest = self._entry(notification.digest)
                digest.members = digest.members or {}
                digest.members[notification.key] = Member.of(notification)
        self._stale = {entry.key for entry in self._entries.values() if entry.members is not None}

    def offer(self, alert: Alert, offset: int) -> None:
        """Take in a record; of several records of a key only the highest revision is delivered."""
        self._next_offset = offset + 1
        entry = self._entry(alert.key)
        if entry.alert is not None:
            if alert.revision > entry.alert.revision:
                entry.alert, entry.latest_offset = alert, offset
            return
        told = entry.notification
        if told is not None and told.state != "sending" and alert.revision <= told.revision:
            return
        entry.alert, entry.first_offset, entry.latest_offset = alert, offset, offset
        self._pending[alert.key] = entry

    def skip(self, offset: int) -> None:
        """A record that holds no alert was read."""
        self._next_offset = offset + 1

    def forget(self, key: str, offset: int) -> bool:
        """The worker has removed an alert that is long over: nothing is told of it any more. Whether it ever was."""
        self._next_offset = offset + 1
        self._pending.pop(key, None)
        entry = self._entries.pop(key, None)
        return entry is not None and entry.notification is not None

    def take(self, lane: Lane, now_ms: int) -> tuple[Work | None, int | None]:
        """The most urgent work of the lane that is due, else the instant at which some will be (None: none waits).

        Posts go by severity, then by age; too many of them become one digest. Edits: new levels first, by severity;
        then the message edited longest ago.
        """
        self._refresh_digests(now_ms)
        best: tuple[tuple[int, int, int], Work] | None = None
        wake_ms: int | None = None
        first_posts: list[tuple[tuple[int, int, int], Work]] = []
        for entry in list(self._pending.values()):
            alert = entry.alert
            assert alert is not None
            act, due_ms = next_act(entry, alert, self._via, self._can_edit, now_ms, self._policy)
            if act is Act.NOTHING:
                self._drop(entry)
                continue
            if act is Act.NOTE or (act is Act.EDIT) is not (lane is Lane.EDITS):
                continue
            due_ms = max(due_ms, entry.not_before_ms)
            if due_ms > now_ms:
                wake_ms = due_ms if wake_ms is None else min(wake_ms, due_ms)
                continue
            ranked = _rank(act, entry, alert), Work(act, entry, alert)
            if act is Act.POST and entry.members is None and not alert.stands_alone:
                first_posts.append(ranked)
            elif best is None or ranked[0] < best[0]:
                best = ranked
        if lane is Lane.POSTS:
            held_ms = self._held_until(len(first_posts), now_ms)
            if held_ms > now_ms:
                if first_posts:
                    wake_ms = held_ms if wake_ms is None else min(wake_ms, held_ms)
            elif self._is_crowd(len(first_posts)):
                # A post in doubt is looked up first.
                return (best[1] if best else self._gather([work for _, work in first_posts], now_ms)), None
            else:
                best = min([*first_posts, *([best] if best else [])], key=lambda ranked: ranked[0], default=None)
        return (best[1], None) if best else (None, wake_ms)

    def take_notes(self, now_ms: int) -> list[Work]:
        """All changes of alerts that a digest tells: to be recorded, and then shown by an edit of the digest."""
        notes = []
        for entry in list(self._pending.values()):
            if entry.notification is None or not entry.notification.digest:
                continue
            assert entry.alert is not None
            act, _ = next_act(entry, entry.alert, self._via, self._can_edit, now_ms, self._policy)
            if act is Act.NOTE:
                notes.append(Work(act, entry, entry.alert))
        return notes

    def _is_crowd(self, waiting: int) -> bool:
        over = self._policy.digest_over
        # A log has no limits, and nobody is woken by it.
        return self._via != "log" and 0 < over < waiting

    def _held_until(self, waiting: int, now_ms: int) -> int:
        """The instant until which new alerts wait, because a storm gathers or was told a moment ago."""
        next_digest_ms = min(self._digest_ms, now_ms) + self._policy.digest_interval_ms if self._digest_ms else 0
        if not self._is_crowd(waiting):
            self._crowded_ms = None
            return next_digest_ms
        self._crowded_ms = now_ms if self._crowded_ms is None else min(self._crowded_ms, now_ms)
        return max(self._crowded_ms + self._policy.digest_gather_ms, next_digest_ms)

    def _gather(self, works: list[Work], now_ms: int) -> Work:
        """A new digest of these alerts. They count as told once the digest's record and theirs are written."""
        entry = self._entry(f"{KEY_PREFIX}{uuid.uuid4().hex}")
        entry.members = {
            work.entry.key: Member(work.alert.level, work.alert.line, work.alert.percent or "") for work in works
        }
        self._digest_ms, self._crowded_ms = now_ms, None
        now = format_instant(now_ms)
        digest = digest_of(entry.key, entry.members, 1, now, now)
        entry.alert = digest
        return Work(Act.POST, entry, digest, tuple((work.entry, work.alert) for work in works))

    def _refresh_digests(self, now_ms: int) -> None:
        """Have messages of digests edited, or looked up, that do not say what their members are."""
        for key in self._stale:
            entry = self._entries.get(key)
            if entry is None or entry.members is None or entry.notification is None:
                continue
            told, held = entry.notification, entry.alert
            revision = 1 + max(told.revision, held.revision if held else 0)
            digest = digest_of(key, entry.members, revision, told.sending_at, format_instant(now_ms))
            if told.state == "sending":
                entry.alert = held if held is not None and held.line == digest.line else digest
                self._pending[key] = entry
            elif self._can_edit and told.ts and digest.line != told.line:
                entry.alert = digest
                self._pending[key] = entry
            else:
                self._drop(entry)
        self._stale.clear()

    def told(self, entry: Entry, notification: Notification) -> None:
        """The notification is written: what it tells is not pending any more."""
        before, entry.notification = entry.notification, notification
        self._move(notification, before.digest if before else "")
        entry.absent = False
        entry.not_before_ms = 0
        if entry.members is not None:
            self._stale.add(entry.key)
            return
        if notification.state == "sending" or entry.alert is None:
            return
        if entry.alert.revision <= notification.revision:
            entry.text_only = False
            self._drop(entry)
        else:
            # Older records of the alert are superseded by the one that was delivered.
            entry.first_offset = entry.latest_offset

    def _move(self, notification: Notification, left: str) -> None:
        """Bring the digests up to date: the one that tells the alert now, and the one that did before."""
        for key in {left, notification.digest} - {""}:
            digest = self._entries.get(key)
            if digest is None or digest.members is None:
                continue
            if key == notification.digest:
                digest.members[notification.key] = Member.of(notification)
            else:
                digest.members.pop(notification.key, None)
            self._stale.add(key)

    def committable(self) -> int | None:
        """The offset from which a new process must read: all below it is told. None before any record was read."""
        waiting = (entry.first_offset for entry in self._pending.values() if entry.members is None)
        return min(waiting, default=self._next_offset)

    def waiting(self) -> int:
        """How many alerts have something to deliver."""
        return len(self._pending)

    def _entry(self, key: str) -> Entry:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(key)
        return entry

    def _drop(self, entry: Entry) -> None:
        entry.alert = None
        self._pending.pop(entry.key, None)
        if entry.notification is None:
            del self._entries[entry.key]


def _rank(act: Act, entry: Entry, alert: Alert) -> tuple[int, int, int]:
    if act is not Act.EDIT:
        return (0, -alert.severity, entry.first_offset)
    told = entry.notification
    assert told is not None
    if told.level != alert.level:
        return (0, -alert.severity, entry.first_offset)
    return (1, parse_instant(told.edited_at) if told.edited_at else 0, entry.first_offset)
