"""The verification: read, recompute, wait for what is on its way, compare."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import ValidationError

from tollgate.runtime.settings import Settings
from tollgate.schemas.control import BUDGET_KEY_PREFIX, PRICE_KEY_PREFIX, BudgetRecord, PriceRecord
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import connect
from tollgate.verification.clickhouse import Tables, compare_spend_table, compare_usage, compare_user_months
from tollgate.verification.flags import compare_flags
from tollgate.verification.letters import ForwardsCheck, LettersCheck
from tollgate.verification.log import Latest, Log, Offsets
from tollgate.verification.priced import PricedCheck, PricedPartition
from tollgate.verification.prices import Prices
from tollgate.verification.recount import Outcome, PartitionRecount, Totals, origin_of
from tollgate.verification.report import Check, Report
from tollgate.verification.spend import Recounted, Spent, compare_spend, read_spend
from tollgate.verification.sums import USD_DECIMALS, Sum, plain

# Called with what is being done, how much of it is done, and how much there is; 0 when that is not known.
Progress = Callable[[str, int, int], None]

_POLL_SECONDS = 0.3
_flag = msgspec.json.Decoder(dict[str, Any]).decode


async def verify(settings: Settings, wait_seconds: float, *, clickhouse: bool, progress: Progress) -> Report:
    """Compare everything the system says with a recount of the usage topic.

    Waits up to `wait_seconds` for each of the worker, its outputs and the sink to catch up. Raises aiokafka's
    KafkaError and the sink's UnavailableError when a service cannot be reached.
    """
    async with Log(settings) as log:
        return await _Verification(settings, log, wait_seconds, progress).run(clickhouse)


class _Verification:
    def __init__(self, settings: Settings, log: Log, wait_seconds: float, progress: Progress) -> None:
        self._settings = settings
        self._log = log
        self._wait_seconds = wait_seconds
        self._progress = progress
        self._report = Report()
        self._totals = Totals()
        self._later = Totals()
        self._begins: Offsets = {}
        self._cut: Offsets = {}
        self._read_to: Offsets = {}
        self._judges: dict[int, PartitionRecount] = {}
        self._spend: Latest[Spent] = Latest(log, Topic.SPEND, read_spend)
        self._flags: Latest[dict[str, Any]] = Latest(log, Topic.FLAGS, _flag)

    async def run(self, clickhouse: bool) -> Report:
        # Asked first: without it there is no use in waiting for the sink.
        tables = Tables(await asyncio.to_thread(connect, self._settings)) if clickhouse else None
        started_at = await self._log.ends(Topic.USAGE)
        if not await self._caught_up(self._settings.application, Topic.USAGE, "the worker"):
            return self._report
        # A record that was misrouted when we began stands in its own partition by now.
        self._cut = await self._log.ends(Topic.USAGE)
        for topic, who in ((Topic.USAGE, "the worker"), (Topic.DELTAS, "the worker's second stage")):
            if not await self._caught_up(self._settings.application, topic, who):
                return self._report
        prices, budgets = await self._control()
        await self._recount(prices, started_at)
        recounted = await self._outputs(prices, budgets)
        if tables is not None:
            await self._clickhouse(tables, recounted, prices)
        self._report.events = self._totals.all.events
        self._report.cost_usd = plain(self._totals.all.cost_picousd, USD_DECIMALS)
        return self._report

    async def _caught_up(self, group: str, topic: Topic, who: str) -> bool:
        """Wait until the group has read what the topic holds now; else report how far behind it is."""
        ends = await self._log.ends(topic)
        deadline = time.monotonic() + self._wait_seconds
        while behind := await self._log.lag(group, topic, ends):
            self._progress(f"waiting for {who}", 0, 0)
            if time.monotonic() >= deadline:
                check = Check(f"{who} has caught up")
                partitions = ", ".join(f"partition {partition} by {n}" for partition, n in sorted(behind.items()))
                check.differs(
                    f"{self._settings.topic(topic)} after {self._wait_seconds:g} s",
                    "everything read",
                    f"{sum(behind.values())} offsets behind ({partitions}); is it running?",
                )
                self._report.checks.append(check.shows("0 behind", f"{sum(behind.values())} behind"))
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    async def _control(self) -> tuple[Prices, list[BudgetRecord]]:
        """Prices and budgets in force, and the prices that the control topic remembers."""
        budgets: dict[str, BudgetRecord] = {}
        in_force: dict[str, PriceRecord] = {}
        remembered: dict[str, PriceRecord] = {}
        begins, ends = await self._log.begins(Topic.CONTROL), await self._log.ends(Topic.CONTROL)
        for partition, end in ends.items():
            async for batch in self._log.read(Topic.CONTROL, partition, begins[partition], end):
                for record in batch:
                    key = bytes(record.key or b"").decode("utf-8", "replace")
                    try:
                        if key.startswith(BUDGET_KEY_PREFIX):
                            budgets.pop(key, None) if record.value is None else budgets.update(
                                {key: BudgetRecord.model_validate_json(record.value)}
                            )
                        elif key.startswith(PRICE_KEY_PREFIX):
                            in_force.pop(key, None)
                            if record.value is not None:
                                in_force[key] = remembered[key] = PriceRecord.model_validate_json(record.value)
                    except ValidationError:
                        # The worker ignores it too, and says so in its log.
                        continue
        return Prices(self._settings.price_book, in_force.values(), remembered.values()), list(budgets.values())

    async def _recount(self, prices: Prices, started_at: Offsets) -> None:
        """Judge every record up to the cut, beside the priced topic; then look at dead letters and forwards."""
        self._begins = await self._log.begins(Topic.USAGE)
        letters = LettersCheck(self._settings.topic(Topic.USAGE), self._begins, self._cut)
        forwards = ForwardsCheck()
        priced = PricedCheck(prices)
        outcomes = dict.fromkeys(Outcome, 0)
        records = found = 0
        total = sum(self._cut[p] - self._begins[p] for p in self._cut)
        priced_begins, priced_ends = await self._log.begins(Topic.PRICED), await self._log.ends(Topic.PRICED)
        for partition, cut in self._cut.items():
            judge = self._judges[partition] = PartitionRecount(partition, len(self._cut))
            batches = self._log.read(Topic.PRICED, partition, priced_begins[partition], priced_ends[partition])
            beside = PricedPartition(partition, batches, cut, priced.check)
            async for batch in self._log.read(Topic.USAGE, partition, self._begins[partition], cut):
                for record in batch:
                    verdict = judge.judge(record)
                    outcomes[verdict.outcome] += 1
                    if (origin := origin_of(record)) is not None:
                        forwards.arrived(record, origin)
                    if verdict.outcome is Outcome.REFUSED:
                        letters.refused(record, verdict.reason)
                    elif verdict.outcome is Outcome.FORWARDED:
                        forwards.sent(record, verdict.home)
                    elif verdict.outcome is Outcome.COUNTED:
                        event = verdict.event
                        assert event is not None
                        place = f"{partition}:{record.offset}"
                        cost, retail = priced.compare(event, place, await beside.of(record.offset))
                        self._totals.add(event, verdict.kinds, cost, retail)
                records += len(batch)
                self._progress("recomputing", records, total)
            await beside.finish()
            found += beside.found
            self._read_to[partition] = cut
        await self._show_recount(priced, found, outcomes)
        await self._show_letters(letters, outcomes)
        self._report.checks.append(forwards.finish(self._begins, started_at))

    async def _show_recount(self, priced: PricedCheck, found: int, outcomes: dict[Outcome, int]) -> None:
        counted = outcomes[Outcome.COUNTED]
        notes = [f"{sum(outcomes.values())} usage records: " + ", ".join(f"{n} {o.value}" for o, n in outcomes.items())]
        if priced.unknown_prices:
            unknown, first = sum(priced.unknown_prices.values()), next(iter(priced.unknown_prices))
            notes.append(f"{unknown} costs taken as recorded, their price is no longer known, for example {first}")
        if any(self._begins.values()):
            notes.append("the beginning of the usage topic is past its retention: sums are lower bounds")
        check = priced.check
        check.note = "; ".join(notes)
        self._report.checks.append(check.shows(f"{counted} events", f"{found} events"))

    async def _show_letters(self, letters: LettersCheck, outcomes: dict[Outcome, int]) -> None:
        begins, ends = await self._log.begins(Topic.DEAD_LETTERS), await self._log.ends(Topic.DEAD_LETTERS)
        for partition, end in ends.items():
            async for batch in self._log.read(Topic.DEAD_LETTERS, partition, begins[partition], end):
                for record in batch:
                    letters.letter(record)
        self._report.checks.append(letters.finish().shows(outcomes[Outcome.REFUSED], letters.found))

    async def _outputs(self, prices: Prices, budgets: list[BudgetRecord]) -> Recounted:
        """Compare spend and flags, again and again while they differ and there is time: both may be on their way."""
        deadline = time.monotonic() + self._wait_seconds
        low = self._totals.windows()
        open_ended = any(self._begins.values())
        while True:
            await self._spend.advance()
            await self._flags.advance()
            now_ms = time.time_ns() // 1_000_000
            recounted = Recounted(low, await self._recount_later(prices, low), open_ended)
            spend = compare_spend(recounted, self._spend.values, self._spend.unreadable)
            flags = compare_flags(budgets, recounted, self._flags.values, self._flags.unreadable, now_ms)
            if (spend.ok and flags.ok) or time.monotonic() >= deadline:
                self._report.checks += [spend, flags]
                return recounted
            self._progress("waiting for spend and flags", 0, 0)
            await asyncio.sleep(_POLL_SECONDS)

    async def _recount_later(self, prices: Prices, low: dict[str, Sum]) -> dict[str, Sum]:
        """The windows with what has arrived since the cut, at today's prices: no sum that was read may be beyond it."""
        ends = await self._log.ends(Topic.USAGE)
        for partition, end in ends.items():
            async for batch in self._log.read(Topic.USAGE, partition, self._read_to[partition], end):
                for record in batch:
                    verdict = self._judges[partition].judge(record)
                    if verdict.outcome is Outcome.COUNTED and verdict.event is not None:
                        quote = prices.today(verdict.event)
                        self._later.add(verdict.event, verdict.kinds, quote.cost_picousd, quote.retail_picousd)
            self._read_to[partition] = max(end, self._read_to[partition])
        return self._later.windows(low) if self._later.all.events else low

    async def _clickhouse(self, tables: Tables, recounted: Recounted, prices: Prices) -> None:
        group = f"{self._settings.application}-sink-clickhouse"
        before = dict(self._spend.places)
        for topic in (Topic.PRICED, Topic.SPEND):
            if not await self._caught_up(group, topic, "the ClickHouse sink"):
                return
        self._progress("asking ClickHouse", 0, 0)
        usage = await asyncio.to_thread(tables.usage, self._begins, self._cut)
        user_months = await asyncio.to_thread(tables.user_months, self._begins, self._cut)
        rows = await asyncio.to_thread(tables.spend)
        await self._spend.advance()
        recounted.high = await self._recount_later(prices, recounted.low)
        self._report.checks += [
            compare_usage(self._totals, usage),
            compare_user_months(self._totals, user_months),
            compare_spend_table(recounted, before, (self._spend.values, self._spend.places), rows),
        ]
