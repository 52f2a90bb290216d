"""Entries, credits and reservations, as steps of a verification: what is read for them, and the checks they give."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.verification.accounts import AccountsCheck
from tollgate.verification.clickhouse import Tables
from tollgate.verification.entry_log import Decided, EntryLog
from tollgate.verification.log import Log
from tollgate.verification.recount import origin_of
from tollgate.verification.report import Check
from tollgate.verification.share import Share
from tollgate.verification.snapshot import Cut
from tollgate.verification.sums import AMOUNT_DECIMALS, USD_DECIMALS, plain, signed

_POLL_SECONDS: Final = 0.3
# A decision's time is the worker's, that of a reservation the broker's.
_CLOCKS_APART_MS: Final = 60_000

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class EntryChecks:
    """For installations that have the topics: see `is_needed`."""

    def __init__(self, log: Log, cut: Cut, share: Share) -> None:
        self._log = log
        self._cut = cut
        self._share = share
        # Whether it grants, and on how much it is: 10⁻¹² USD, 10⁻⁹ credits.
        self._decisions: dict[tuple[str, str, str, str], tuple[bool, int, int]] = {}
        self._decisions_begin: Mapping[int, int] = {}
        self._decisions_end: Mapping[int, int] = {}
        self._faults: list[str] = []
        self.accounts: AccountsCheck

    async def read(self, letters: Mapping[int, tuple[int, int]]) -> None:
        """Read what was decided, the dead letters of entries, and copies of entries from behind the cut."""
        log, share, cut = self._log, self._share, self._cut
        tips = await log.tips(Topic.ENTRIES)
        for partition, (begin, end) in letters.items():
            async for batch in log.read(Topic.DEAD_LETTERS, partition, begin, end):
                for record in batch:
                    share.entry_letters.letter(record)
        for partition, end in tips.items():
            async for batch in log.read(Topic.ENTRIES, partition, cut.entries[partition], end):
                for record in batch:
                    if (origin := origin_of(record)) is not None:
                        share.entry_forwards.arrived(record, origin)
        whole_from_ms = await self._read_decisions(share.entries)
        self.accounts = AccountsCheck(share.entries, cut.users, cut.now_ms, whole_from_ms)

    async def _read_decisions(self, entries: EntryLog) -> int:
        """From when on every decision is still there."""
        log = self._log
        self._decisions_begin, self._decisions_end = await log.begins(Topic.DECISIONS), await log.tips(Topic.DECISIONS)
        whole_from_ms = 0
        for partition, end in self._decisions_end.items():
            begin = self._decisions_begin[partition]
            first_ms = self._cut.now_ms
            async for batch in log.read(Topic.DECISIONS, partition, begin, end):
                first_ms = min(first_ms, batch[0].timestamp)
                for record in batch:
                    try:
                        said = read_record(_decode, record.value)
                        key = (str(said["user"]), str(said["source"]), str(said["reservation_id"]))
                        picousd = signed(str(said.get("amount_usd", "0")), USD_DECIMALS)
                        nano = signed(str(said.get("credits", "0")), AMOUNT_DECIMALS)
                    except (UnreadableError, KeyError, ValueError) as error:
                        self._faults.append(f"{partition}:{record.offset}: {type(error).__name__}")
                        continue
                    at = (*key, str(said.get("decided_at")))
                    self._decisions[at] = (said.get("granted") is True, picousd, nano)
                    entries.decided(Decided(key, record.value))
            if begin > 0:
                whole_from_ms = max(whole_from_ms, first_ms + _CLOCKS_APART_MS)
        return whole_from_ms

    def finish(self) -> list[Check]:
        """All users were compared."""
        share, cut = self._share, self._cut
        for fault in self._faults:
            self.accounts.decisions.differs("decision", "a readable one", fault)
        letters = share.entry_letters
        letters.finish()
        return [
            letters.check.shows(letters.expected, letters.found),
            share.entry_forwards.finish(cut.entries_begin, cut.entries),
            *self.accounts.finish(),
        ]

    async def compare_tables(self, tables: Tables, deadline: float) -> list[Check]:
        """Entries and decisions in ClickHouse, how many and of how much, when the sink has them in time.

        Not compared where the beginning of their topic is gone, which ClickHouse has still.
        """
        checks = []
        if not any(self._cut.entries_begin.values()):
            counted = self._share.entries.credits - len(self._share.entries.repeats.places(Topic.ENTRIES))
            checks.append(
                await _compared(
                    "ClickHouse entries",
                    _entries(counted, self.accounts.entered_nano),
                    lambda: _entries(*tables.entries(self._cut.entries)),
                    deadline,
                )
            )
        if not any(self._decisions_begin.values()):
            checks.append(
                await _compared(
                    "ClickHouse decisions",
                    _decisions(*self._decided()),
                    lambda: _decisions(*tables.decisions(self._decisions_end)),
                    deadline,
                )
            )
        return checks

    def _decided(self) -> tuple[int, int, int, int]:
        """What `Tables.decisions` tells."""
        said = list(self._decisions.values())
        granted = sum(is_granted for is_granted, _, _ in said)
        return len(said), granted, sum(usd for _, usd, _ in said), sum(nano for _, _, nano in said)


async def _compared(name: str, expected: str, ask: Callable[[], str], deadline: float) -> Check:
    while True:
        found = await asyncio.to_thread(ask)
        if found == expected or time.monotonic() >= deadline:
            return Check(name).shows(expected, found)
        await asyncio.sleep(_POLL_SECONDS)


def _entries(count: int, nano: int) -> str:
    return f"{count} entries, {plain(nano, AMOUNT_DECIMALS)} credits"


def _decisions(count: int, granted: int, picousd: int, nano: int) -> str:
    asked = f"{plain(picousd, USD_DECIMALS)} USD, {plain(nano, AMOUNT_DECIMALS)} credits"
    return f"{count} decisions, {granted} granted, on {asked}"


async def is_needed(log: Log) -> bool:
    """Whether the installation has entries; those of releases before have not."""
    for topic in (Topic.ENTRIES, Topic.DECISIONS, Topic.BALANCES):
        if not await log.exists(topic):
            return False
    return True
