"""Carries out the board's work: write `sending`, post, write `sent`; edit; look up posts that may have arrived."""

import asyncio
import time
import uuid
from collections.abc import Callable

import msgspec
import structlog

from tollgate.schemas.instants import format_instant
from tollgate.sinks.alerts.alert import Alert
from tollgate.sinks.alerts.board import Act, Board, Entry, Lane, Work
from tollgate.sinks.alerts.memory import Memory
from tollgate.sinks.alerts.message import Message, render
from tollgate.sinks.alerts.notification import Notification, Policy
from tollgate.sinks.alerts.outcome import (
    Delivered,
    Found,
    Gone,
    Limited,
    Looked,
    Misconfigured,
    NotFound,
    Rejected,
    Sent,
    Unclear,
    Unsearchable,
    Unsent,
)
from tollgate.sinks.alerts.pacing import Pace
from tollgate.sinks.alerts.sender import Editor, Sender

_log = structlog.get_logger("tollgate.alerts")

# The board is checked at least this often, in case a wake-up was missed.
_IDLE_SECONDS_MAX = 5.0


def wall_clock_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Delivery:
    """Both lanes of one session. `clock_ms` is the wall clock; waits use the monotonic one."""

    def __init__(
        self, board: Board, memory: Memory, sender: Sender, policy: Policy, clock_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        self._board = board
        self._memory = memory
        self._sender = sender
        self._editor = sender if isinstance(sender, Editor) else None
        self._policy = policy
        self._clock_ms = clock_ms
        self._stopping = False
        self._channel = sender.channel
        self._wake = {lane: asyncio.Event() for lane in Lane}
        spacing_ms = {Lane.POSTS: policy.post_spacing_ms, Lane.EDITS: policy.edit_spacing_ms}
        self._pace = {
            lane: Pace(spacing_ms[lane] / 1000 if sender.paced else 0.0, policy.backoff_first_s, policy.backoff_max_s)
            for lane in Lane
        }

    def learn(self, notification: Notification) -> None:
        """Take the channel's identifier from an earlier message: edits need it, while posts also take a name."""
        if notification.ts and notification.configured_channel == self._sender.channel:
            self._channel = notification.channel

    def wake(self) -> None:
        """The board has changed."""
        for event in self._wake.values():
            event.set()

    def stop(self) -> None:
        """Both lanes return as soon as the request in hand is answered and recorded."""
        self._stopping = True
        self.wake()

    async def run(self, lane: Lane) -> None:
        """Work the lane until `stop`. Raises aiokafka's KafkaError when the memory cannot be written."""
        wake, pace = self._wake[lane], self._pace[lane]
        while not self._stopping:
            wake.clear()
            if lane is Lane.EDITS:
                await self._note()
            pause_s = pace.ready_at_s - time.monotonic()
            if pause_s > 0:
                await self._sleep(lane, pause_s)
                continue
            # Chosen after the pause, so that an alert which became urgent meanwhile goes first.
            now_ms = self._clock_ms()
            work, due_ms = self._board.take(lane, now_ms)
            if work is None:
                idle_s = _IDLE_SECONDS_MAX if due_ms is None else (due_ms - now_ms) / 1000
                await self._sleep(lane, min(max(idle_s, 0.001), _IDLE_SECONDS_MAX))
                continue
            await self._do(work, pace)
            self.wake()

    async def _sleep(self, lane: Lane, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wake[lane].wait(), seconds)
        except TimeoutError:
            return

    async def _do(self, work: Work, pace: Pace) -> None:
        if work.act is Act.POST:
            await self._post(work, pace)
        elif work.act is Act.EDIT:
            await self._edit(work.entry, work.alert, pace)
        else:
            await self._find(work.entry, pace)

    async def _note(self) -> None:
        """Record what changed of alerts that a digest tells; the digest is edited after that."""
        notes = self._board.take_notes(self._clock_ms())
        if not notes:
            return
        written: list[tuple[Entry, Notification]] = []
        for work in notes:
            before = work.entry.notification
            assert before is not None
            noted = msgspec.structs.replace(before, revision=work.alert.revision, level=work.alert.level)
            written.append((work.entry, noted))
        await self._memory.write(*(noted for _, noted in written))
        for entry, noted in written:
            self._board.told(entry, noted)
        self.wake()

    async def _post(self, work: Work, pace: Pace) -> None:
        entry, alert = work.entry, work.alert
        before = entry.notification
        sending = Notification(
            key=alert.key,
            state="sending",
            via=self._sender.via,
            id=before.id if before is not None and before.state == "sending" else uuid.uuid4().hex,
            channel=self._channel,
            configured_channel=self._sender.channel,
            revision=alert.revision,
            level=alert.level,
            sending_at=format_instant(self._clock_ms()),
            line=alert.line if entry.members is not None else "",
        )
        joined = [(joining, _joined(sending, other)) for joining, other in work.joining]
        await self._memory.write(sending, *(told for _, told in joined))
        written_at_s = time.monotonic()
        self._board.told(entry, sending)
        for joining, told in joined:
            self._board.told(joining, told)
        message = self._message(entry, alert)
        if (time.monotonic() - written_at_s) * 1000 > self._policy.settle_ms / 2:
            return  # This process was frozen in between: another one may own the alert by now.
        outcome = await self._sender.post(alert, message, sending)
        if isinstance(outcome, Delivered):
            now = format_instant(self._clock_ms())
            sent = msgspec.structs.replace(
                sending,
                state="sent",
                channel=outcome.channel or sending.channel,
                ts=outcome.ts,
                posted_at=now,
                edited_at=now,
            )
            await self._record(entry, sent, pace)
            _log.info("alert sent", key=alert.key, level_now=alert.level, revision=alert.revision, via=sent.via)
            return
        # After `Unclear` the message may exist; after every other answer it does not.
        entry.absent = not isinstance(outcome, Unclear)
        self._failed("post", entry, alert, outcome, pace)

    async def _edit(self, entry: Entry, alert: Alert, pace: Pace) -> None:
        before = entry.notification
        assert before is not None
        assert self._editor is not None
        outcome = await self._editor.edit(alert, self._message(entry, alert), before)
        if isinstance(outcome, Delivered):
            edited = msgspec.structs.replace(
                before,
                revision=alert.revision,
                level=alert.level,
                edited_at=format_instant(self._clock_ms()),
                line=alert.line if entry.members is not None else before.line,
            )
            await self._record(entry, edited, pace)
            _log.info("alert updated", key=alert.key, level_now=alert.level, revision=alert.revision)
        elif isinstance(outcome, Gone) or (
            isinstance(outcome, Misconfigured) and before.configured_channel != self._sender.channel
        ):
            # Deleted by somebody, or in a channel that the app has left since the settings named another.
            _log.warning("the message of an alert is gone; its next level is posted anew", key=alert.key)
            await self._record(entry, msgspec.structs.replace(before, state="gone", ts=""), pace)
        else:
            self._failed("update", entry, alert, outcome, pace)

    async def _find(self, entry: Entry, pace: Pace) -> None:
        before, alert = entry.notification, entry.alert
        assert before is not None
        assert alert is not None
        assert self._editor is not None
        outcome: Looked = await self._editor.find(before)
        if isinstance(outcome, Found):
            _log.info("a message sent before a restart or an outage was found", key=entry.key, ts=outcome.ts)
            sent = msgspec.structs.replace(
                before,
                state="sent",
                ts=outcome.ts,
                revision=outcome.revision,
                level=outcome.level,
                posted_at=before.sending_at,
                edited_at=before.sending_at,
            )
            await self._record(entry, sent, pace)
        elif isinstance(outcome, NotFound):
            entry.absent = True
            pace.done(time.monotonic())
        elif isinstance(outcome, Unsearchable):
            _log.warning(
                "cannot look up whether an alert has been posted, so it is posted again; "
                "give the Slack app the scope channels:history and TOLLGATE_SLACK_CHANNEL the channel's ID",
                key=entry.key,
                error=outcome.reason,
            )
            entry.absent = True
            pace.done(time.monotonic())
        else:
            self._failed("look up", entry, alert, outcome, pace)

    async def _record(self, entry: Entry, notification: Notification, pace: Pace) -> None:
        pace.done(time.monotonic())
        await self._memory.write(notification)
        self._board.told(entry, notification)
        self.learn(notification)

    def _message(self, entry: Entry, alert: Alert) -> Message:
        message = render(alert)
        return Message(message.text) if entry.text_only else message

    def _failed(self, what: str, entry: Entry, alert: Alert, outcome: Sent | Looked, pace: Pace) -> None:
        """Log one line and decide who waits: the lane, or this alert alone. Nothing is given up."""
        now_s = time.monotonic()
        log = _log.bind(doing=what, key=alert.key, waiting=self._board.waiting())
        if isinstance(outcome, Limited):
            pace.pause(now_s, outcome.retry_after_s)
            log.info("Slack asks to slow down", retry_in_seconds=outcome.retry_after_s)
        elif isinstance(outcome, (Unsent, Unclear)):
            delay_s = pace.failed(now_s)
            log.warning("Slack cannot be reached; alerts wait", error=outcome.reason, retry_in_seconds=delay_s)
        elif isinstance(outcome, Misconfigured):
            pace.pause(now_s, self._policy.misconfigured_retry_s)
            log.error(
                f"Slack refuses alerts ({outcome.reason}): {outcome.fix}; alerts wait",
                retry_in_seconds=self._policy.misconfigured_retry_s,
            )
        elif isinstance(outcome, (Rejected, Gone)) and not entry.text_only:
            entry.text_only = True
            pace.done(now_s)
            log.error("Slack refuses a message; it is sent again as text alone", error=outcome.reason)
        else:
            entry.not_before_ms = self._clock_ms() + self._policy.rejected_retry_ms
            pace.done(now_s)
            log.error(
                "Slack refuses a message even as text; it waits",
                error=getattr(outcome, "reason", type(outcome).__name__),
                retry_in_seconds=self._policy.rejected_retry_ms // 1000,
            )


def _joined(digest: Notification, alert: Alert) -> Notification:
    """The record of an alert that this digest tells."""
    return msgspec.structs.replace(
        digest,
        key=alert.key,
        state="sent",
        revision=alert.revision,
        level=alert.level,
        digest=digest.key,
        line=alert.line,
        percent=alert.percent or "",
    )
