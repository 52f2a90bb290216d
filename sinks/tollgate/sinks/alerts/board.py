"""Decides which alert is posted or edited next, and when. Pure: time is an argument.

Work is in two queues, called lanes: posts (with look-ups of posts that may have arrived) and edits. Each has its own
rate, so that a storm of new alerts does not delay edits of messages already shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from tollgate.schemas.instants import parse_instant
from tollgate.sinks.alerts.alert import SEVERITY, Alert
from tollgate.sinks.alerts.notification import Notification, Policy, Via


class Act(Enum):
    """What an alert needs next."""

    POST = "post"
    FIND = "find"
    EDIT = "edit"
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


@dataclass(frozen=True, slots=True)
class Work:
    """The act to do now for the alert, which may be replaced on the board meanwhile."""

    act: Act
    entry: Entry
    alert: Alert


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

    def restore(self, notifications: Iterable[Notification]) -> None:
        """Take over what an earlier process delivered."""
        for notification in notifications:
            self._entry(notification.key).notification = notification

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

        Posts go by severity, then by age. Edits: new levels first, by severity; then the message edited longest ago.
        """
        best: tuple[tuple[int, int, int], Work] | None = None
        wake_ms: int | None = None
        for entry in list(self._pending.values()):
            alert = entry.alert
            assert alert is not None
            act, due_ms = next_act(entry, alert, self._via, self._can_edit, now_ms, self._policy)
            if act is Act.NOTHING:
                self._drop(entry)
                continue
            if (act is Act.EDIT) is not (lane is Lane.EDITS):
                continue
            due_ms = max(due_ms, entry.not_before_ms)
            if due_ms > now_ms:
                wake_ms = due_ms if wake_ms is None else min(wake_ms, due_ms)
                continue
            rank = _rank(act, entry, alert)
            if best is None or rank < best[0]:
                best = (rank, Work(act, entry, alert))
        return (best[1], None) if best else (None, wake_ms)

    def told(self, entry: Entry, notification: Notification) -> None:
        """The notification is stored: its record is not pending any more."""
        entry.notification = notification
        entry.absent = False
        entry.not_before_ms = 0
        if notification.state == "sending" or entry.alert is None:
            return
        if entry.alert.revision <= notification.revision:
            entry.text_only = False
            self._drop(entry)
        else:
            # Older records of the alert are superseded by the one that was delivered.
            entry.first_offset = entry.latest_offset

    def committable(self) -> int | None:
        """The offset from which a new process must read: all below is delivered. None before any record was read."""
        return min((entry.first_offset for entry in self._pending.values()), default=self._next_offset)

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
