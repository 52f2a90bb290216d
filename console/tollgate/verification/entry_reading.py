"""Recounts one partition of the entries topic: credits, and what each other record must have become."""

from pathlib import Path
from typing import Final

import msgspec

from tollgate.schemas.cloud_events import Headers
from tollgate.schemas.entries import CreditEntry, decode_entries_topic
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_event import Entry
from tollgate.verification.entry_log import identity_of_entry, said_by_entry
from tollgate.verification.identities import DEDUPE_SECONDS, Claim, Identities, Rule
from tollgate.verification.letters import Told
from tollgate.verification.log import Log
from tollgate.verification.recount import Asked, Forwarded, Judge, Refused, Unread, origin_of
from tollgate.verification.share import Share
from tollgate.verification.snapshot import Cut

# A worker believes a broker's clock up to this far ahead of its own.
CLOCK_AHEAD_MS_MAX: Final = 60 * 60 * 1000

# What was spent before a meter began, sent by the ClickHouse sink. It is proven by the sums that it is added to.
_PAST: Final = "tollgate.internal.past.v1"


class _Typed(msgspec.Struct):
    type: str


_decode_type: Final = msgspec.json.Decoder(_Typed).decode


def _is_past(value: bytes | None) -> bool:
    if value is None or _PAST.encode() not in value:
        return False
    try:
        return _decode_type(value).type == _PAST
    except (ValueError, RecursionError):
        return False


def _decode_entry(value: bytes | None, headers: Headers = ()) -> Entry | Refusal:
    found: CreditEntry | Refusal = decode_entries_topic(value, headers)
    return found


async def read_entries(log: Log, cut: Cut, directory: Path, share: Share, partition: int, told: Told | None) -> None:
    """Read the partition up to the cut into the share."""
    begin, end = cut.entries_begin[partition], cut.entries[partition]
    judge = Judge(partition, cut.homes, told, cut.now_ms + CLOCK_AHEAD_MS_MAX, _decode_entry)
    open_until_s = 0
    identities: Identities | None = None
    async for batch in log.read(Topic.ENTRIES, partition, begin, end):
        if identities is None:
            open_until_s = batch[0].timestamp // 1000 + DEDUPE_SECONDS if begin > 0 else 0
            identities = Identities(directory / f"entries-{partition}", end - begin, open_until_s)
        for record in batch:
            if record.headers and (origin := origin_of(record)) is not None:
                share.entry_forwards.arrived(record, origin)
            if _is_past(record.value):
                continue
            verdict = judge.judge(record)
            if isinstance(verdict, Refused):
                share.entry_letters.refused(record, verdict.reason)
            elif isinstance(verdict, Unread):
                if verdict.is_last:
                    share.entry_letters.unread(record)
            elif isinstance(verdict, Forwarded):
                share.entry_forwards.sent(record, verdict.home)
            elif isinstance(verdict, Asked):
                entry, seen_ms = verdict.entry, judge.stamp_ms(record)
                said = said_by_entry(entry)
                identities.add(identity_of_entry(entry), said, record.offset, seen_ms // 1000, Claim.COUNTED, 0)
                share.entry_letters.not_counted(record)
                share.entries.entry(entry, (partition, record.offset), seen_ms)
    _put_right(identities, share, partition)


def _put_right(identities: Identities | None, share: Share, partition: int) -> None:
    """Entries that repeat others do not count, and those that contradict them are dead letters."""
    for ruling in identities.rulings() if identities is not None else ():
        share.entries.repeats.add(Topic.ENTRIES, partition, ruling.offset)
        if ruling.rule is Rule.CONFLICT:
            share.entry_letters.conflict(f"{partition}:{ruling.offset}")
