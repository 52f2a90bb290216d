"""Recounts one partition of the usage topic, reading its priced records beside it.

At first each event is taken as counted exactly when the worker wrote a priced record for it. Whether that is right can
be told only when all identities of the partition are known. Then the events that the worker judged wrongly are read
again, and the sums are corrected.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from aiokafka import ConsumerRecord

from tollgate.schemas.topics import Topic
from tollgate.verification.burning import as_summed
from tollgate.verification.entry_log import identity_of_entry, said_by_entry
from tollgate.verification.identities import DEDUPE_SECONDS, Claim, Identities, Rule, identity_of, said_by
from tollgate.verification.letters import Told
from tollgate.verification.log import Log
from tollgate.verification.meter_sums import Counting
from tollgate.verification.priced import PricedCheck, PricedPartition, as_expected
from tollgate.verification.prices import Prices
from tollgate.verification.recount import Asked, Candidate, Forwarded, Judge, Refused, Unread, origin_of
from tollgate.verification.share import Share
from tollgate.verification.snapshot import Cut
from tollgate.verification.totals import Owners

# Events to correct that are at most this many offsets apart are read together.
_GAP_MAX: Final = 20_000

# A worker believes a broker's clock up to this far ahead of its own.
CLOCK_AHEAD_MS_MAX: Final = 60 * 60 * 1000


class Recount:
    """Reads partitions one after another into a share. `step` is called with the number of records just read, and
    `told` has by partition what only the dead letters tell.
    """

    def __init__(
        self,
        log: Log,
        cut: Cut,
        directory: Path,
        share: Share,
        prices: Prices,
        step: Callable[[int], None],
        told: Mapping[int, Told],
    ) -> None:
        self._log = log
        self._cut = cut
        self._directory = directory
        self._share = share
        self._totals = share.totals
        self._prices = prices
        self._letters = share.letters
        self._forwards = share.forwards
        self._priced = share.priced
        self._step = step
        self._told = told

    async def partition(self, partition: int, priced_range: tuple[int, int]) -> None:
        """Read one partition up to the cut; `priced_range` are the offsets of its priced records."""
        begin, end = self._cut.begins[partition], self._cut.usage[partition]
        open_until_s = 0
        if begin > 0:
            first = await self._first(partition, begin, end)
            if first is not None:
                self._share.first_ms[partition] = first.timestamp
                open_until_s = first.timestamp // 1000 + DEDUPE_SECONDS
        each = partial(self._share.marks.add, partition)
        identities = Identities(self._directory / f"identities-{partition}", end - begin, open_until_s, each)
        asked = Identities(self._directory / f"asked-{partition}", end - begin, open_until_s)
        batches = self._log.read(Topic.PRICED, partition, *priced_range)
        beside = PricedPartition(partition, batches, end, self._priced)
        await beside.begin(priced_range[0] > 0)
        judge = self._judge_of(partition)
        async for batch in self._log.read(Topic.USAGE, partition, begin, end):
            await beside.fill(batch[-1].offset)
            self._read(partition, batch, judge, identities, asked, beside)
            self._step(len(batch))
        await beside.finish()
        self._share.priced_found += beside.found
        await self._put_right(partition, identities, priced_range)
        for ruling in asked.rulings():
            self._share.entries.repeats.add(Topic.USAGE, partition, ruling.offset)
            if ruling.rule is Rule.CONFLICT:
                self._letters.conflict(f"{partition}:{ruling.offset}")

    def _judge_of(self, partition: int) -> Judge:
        return Judge(partition, self._cut.homes, self._told.get(partition), self._cut.now_ms + CLOCK_AHEAD_MS_MAX)

    async def _first(self, partition: int, begin: int, end: int) -> ConsumerRecord | None:
        async for batch in self._log.read(Topic.USAGE, partition, begin, end):
            return batch[0]
        return None

    def _read(
        self,
        partition: int,
        batch: list[ConsumerRecord],
        judge: Judge,
        identities: Identities,
        asked: Identities,
        beside: PricedPartition,
    ) -> None:
        quote_of = self._prices.quoter()
        users_end, add = self._cut.users[partition], self._totals.add
        credits_from = self._cut.credits_from[partition]
        ends = sorted(offsets[partition] for offsets in self._cut.shared.values())
        outcomes, meters, entries = self._share.outcomes, self._share.meters, self._share.entries
        keeps_entries = bool(self._cut.entries)
        everyone = frozenset(self._cut.shared)
        for record in batch:
            offset = record.offset
            if record.headers and (origin := origin_of(record)) is not None:
                self._forwards.arrived(record, origin)
            verdict = judge.judge(record)
            if not isinstance(verdict, Candidate):
                self._put_elsewhere(record, verdict, judge.stamp_ms(record), asked)
                continue
            event = verdict.event
            claim = Claim.COUNTED
            quote = quote_of(event.data, event.time_ms)
            cost, retail = quote.cost_picousd, quote.retail_picousd
            if beside.take(as_expected(event, quote, partition, offset, credits_from), offset):
                self._priced.costs += 1
            elif offset < beside.first:
                claim = Claim.UNKNOWN
                outcomes.unpriced += 1
            elif (priced := beside.of(offset)) is not None:
                cost, retail = self._priced.compare(event, partition, offset, priced, credits_from)
            else:
                claim = Claim.NOT_COUNTED
                self._letters.not_counted(record)
            seen_s = judge.stamp_ms(record) // 1000
            identities.add(identity_of(event), said_by(event), offset, seen_s, claim, verdict.held)
            if claim is not Claim.NOT_COUNTED:
                event = as_summed(event, offset, credits_from)
                owners = everyone if offset < ends[0] else self._owners(partition, offset)
                add(event, verdict.hour_ms, verdict.held, cost, retail, offset < users_end, owners)
                if keeps_entries and offset < users_end:
                    entries.event(event, (partition, offset), cost)
                if not meters.is_idle:
                    at = Counting(partition, offset, verdict.clock_ms, offset < users_end, owners)
                    meters.add(event, at, cost, retail)

    def _put_elsewhere(
        self, record: ConsumerRecord, verdict: Refused | Unread | Forwarded | Asked, stamp_ms: int, asked: Identities
    ) -> None:
        """Note what must have become of a record that is not a usage event to count here."""
        outcomes, letters = self._share.outcomes, self._letters
        if isinstance(verdict, Refused):
            outcomes.refused += 1
            letters.refused(record, verdict.reason)
        elif isinstance(verdict, Unread):
            outcomes.refused += 1
            if verdict.is_last:
                letters.unread(record)
        elif isinstance(verdict, Forwarded):
            outcomes.forwarded += 1
            self._forwards.sent(record, verdict.home)
        else:
            outcomes.asked += 1
            entry, said = verdict.entry, said_by_entry(verdict.entry)
            asked.add(identity_of_entry(entry), said, record.offset, stamp_ms // 1000, Claim.COUNTED, 0)
            letters.not_counted(record)
            self._share.entries.entry(entry, (record.partition, record.offset), stamp_ms)

    def _owners(self, partition: int, offset: int) -> Owners:
        """The partitions of shared scopes that count the event at this offset at their cut."""
        return frozenset(q for q, ends in self._cut.shared.items() if offset < ends[partition])

    async def _put_right(self, partition: int, identities: Identities, priced_range: tuple[int, int]) -> None:
        """Apply the rule of identities to the events that were read, and correct the sums where they differ from it."""
        wrong: dict[int, tuple[Claim, Rule, int]] = {}
        for ruling in identities.rulings():
            place = f"{partition}:{ruling.offset}"
            if ruling.rule is Rule.CONFLICT:
                self._letters.conflict(place)
            elif ruling.rule in (Rule.OPEN, Rule.RESTATED):
                self._letters.either(place)
            agrees = (ruling.rule is Rule.COUNTED) == (ruling.claim is not Claim.NOT_COUNTED)
            if not agrees and ruling.rule is not Rule.OPEN:
                wrong[ruling.offset] = (ruling.claim, ruling.rule, ruling.held)
        counts, outcomes = identities.counts, self._share.outcomes
        outcomes.counted += counts[Rule.COUNTED]
        outcomes.duplicate += counts[Rule.DUPLICATE] + counts[Rule.RESTATED]
        outcomes.refused += counts[Rule.CONFLICT]
        outcomes.open += counts[Rule.OPEN]
        recorded = await self._costs_of(
            partition, {at for at, (claim, _, _) in wrong.items() if claim is Claim.COUNTED}, priced_range
        )
        judge = self._judge_of(partition)
        async for record in self._again(partition, sorted(wrong)):
            claim, _, held = wrong[record.offset]
            verdict = judge.judge(record)
            assert isinstance(verdict, Candidate), "it was one when it was read first"
            event, offset = verdict.event, record.offset
            quote = self._prices.today(event)
            by_user = offset < self._cut.users[partition]
            owners = self._owners(partition, offset)
            cost, retail = recorded.get(offset, (quote.cost_picousd, quote.retail_picousd))
            summed = as_summed(event, offset, self._cut.credits_from[partition])
            at = Counting(partition, offset, verdict.clock_ms, by_user, owners)
            if claim is Claim.NOT_COUNTED:
                self._priced.missing(event, partition, offset)
                self._totals.add(summed, verdict.hour_ms, held, cost, retail, by_user, owners)
                self._share.meters.add(summed, at, cost, retail)
                if self._cut.entries and by_user:
                    self._share.entries.event(summed, (partition, offset), cost)
                continue
            if claim is Claim.COUNTED:
                self._priced.repeated(event, partition, offset)
            else:
                self._share.outcomes.unpriced -= 1
            self._totals.take_back(summed, verdict.hour_ms, held, cost, retail, by_user, owners)
            self._share.meters.add(summed, at, cost, retail, sign=-1)
            if self._cut.entries and by_user:
                self._share.entries.event(summed, (partition, offset), cost, sign=-1)

    async def _costs_of(
        self, partition: int, offsets: set[int], priced_range: tuple[int, int]
    ) -> dict[int, tuple[int, int]]:
        """What the events at these offsets were counted at, by their priced records."""
        found: dict[int, tuple[int, int]] = {}
        if not offsets:
            return found
        again = PricedCheck(self._prices)
        beside = PricedPartition(
            partition, self._log.read(Topic.PRICED, partition, *priced_range), self._cut.usage[partition], again
        )
        judge = self._judge_of(partition)
        async for record in self._again(partition, sorted(offsets)):
            await beside.fill(record.offset)
            priced, verdict = beside.of(record.offset), judge.judge(record)
            if priced is not None and isinstance(verdict, Candidate):
                found[record.offset] = again.compare(verdict.event, partition, record.offset, priced)
        return found

    async def _again(self, partition: int, offsets: list[int]) -> AsyncIterator[ConsumerRecord]:
        """The records at these ascending offsets."""
        wanted = set(offsets)
        for first, last in runs(offsets):
            async for batch in self._log.read(Topic.USAGE, partition, first, last + 1):
                for record in batch:
                    if record.offset in wanted:
                        yield record


def runs(offsets: Iterable[int]) -> Iterable[tuple[int, int]]:
    """Ascending offsets as ranges (first, last) without wide gaps: 1, 2, 90000 are (1, 2) and (90000, 90000)."""
    first = last = -1
    for offset in offsets:
        if first < 0:
            first = offset
        elif offset - last > _GAP_MAX:
            yield first, last
            first = offset
        last = offset
    if first >= 0:
        yield first, last
