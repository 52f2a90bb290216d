"""The verification: choose the offsets up to which everything is compared (the cut), recompute, compare."""

import asyncio
import time
from pathlib import Path
from typing import Final

from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import connect
from tollgate.verification.audit import compare_audit
from tollgate.verification.balance_rows import BalanceRowsCheck, encode_row
from tollgate.verification.clickhouse import Tables
from tollgate.verification.control import Control, read_control
from tollgate.verification.entry_checks import EntryChecks, is_needed
from tollgate.verification.explain import explain
from tollgate.verification.flags import FlagsCheck
from tollgate.verification.folding import folded
from tollgate.verification.following import Kind, Row, add_row
from tollgate.verification.log import Log
from tollgate.verification.meters import Meters, compare_meters, read_meters
from tollgate.verification.names import written
from tollgate.verification.prices import Prices
from tollgate.verification.processes import Job, dealt, processes_for, shared_out
from tollgate.verification.recount import origin_of
from tollgate.verification.report import Check, Report
from tollgate.verification.several_users import of_several_users
from tollgate.verification.share import Share
from tollgate.verification.snapshot import Progress, Snapshot, not_caught_up
from tollgate.verification.spend import (
    Range,
    WindowsCheck,
    compare_months,
    compare_spend,
    compare_state,
    compare_table,
)
from tollgate.verification.spill import Spill, Workspace
from tollgate.verification.stop import StopAlert, check_stop_alert, note_of
from tollgate.verification.sums import USD_DECIMALS, plain
from tollgate.verification.totals import Totals
from tollgate.verification.view import encode_sum, load

_POLL_SECONDS: Final = 0.3

# A bucket of scopes is held in memory as a whole; this many records take about 100 MB.
_BUCKET_RECORDS: Final = 50_000
_BUCKETS_MIN: Final = 16
_BUCKETS_MAX: Final = 1_024


async def verify(
    settings: Settings,
    wait_seconds: float,
    *,
    clickhouse: bool,
    progress: Progress,
    directory: Path | None = None,
    processes: int | None = None,
) -> Report:
    """Compare everything the system says with a recount of the usage topic, as of a cut; events may keep arriving.

    Waits up to `wait_seconds` for each of the worker, its outputs and the sink to catch up. What does not fit into
    memory goes to a temporary directory in `directory`. Up to `processes` recount at the same time, each a share of the
    partitions; None is as many as processors, up to four, if there is enough for them to do. Raises aiokafka's
    KafkaError and the sink's UnavailableError when a service cannot be reached, SpaceError when the disk is full.
    """
    with Workspace(directory) as space:
        async with Log(settings) as log:
            verification = _Verification(settings, log, space.path, wait_seconds, progress, processes)
            return await verification.run(clickhouse)


class _Verification:
    def __init__(
        self,
        settings: Settings,
        log: Log,
        directory: Path,
        wait_seconds: float,
        progress: Progress,
        processes: int | None,
    ) -> None:
        self._settings = settings
        self._log = log
        self._directory = directory
        self._wait_seconds = wait_seconds
        self._progress = progress
        self._processes = processes
        self._report = Report()
        self._tables: Tables | None = None
        self._rows: Spill
        self._snapshot: Snapshot
        self._stop_alert: StopAlert
        self._usage_in_table: tuple[int, int] | None = None
        # Since they were read for the cut.
        self._meters = Meters()
        self._has_meters = self._has_entries = False
        # The range of each partition of the dead letters.
        self._letters: dict[int, tuple[int, int]] = {}

    async def run(self, clickhouse: bool) -> Report:
        # Asked first: without it there is no use in waiting for the sink.
        self._tables = Tables(await asyncio.to_thread(connect, self._settings)) if clickhouse else None
        self._has_meters = await self._log.exists(Topic.METERS)
        self._has_entries = await is_needed(self._log)
        buckets = await self._buckets()
        self._rows = Spill(self._directory / "rows", buckets)
        self._snapshot = Snapshot(self._settings, self._log, self._rows, self._deadline, self._progress)
        report, cut = self._report, self._snapshot.cut
        taken = await self._snapshot.take()
        report.begins = cut.begins
        if not taken:
            report.checks += self._snapshot.checks
            return report
        report.cut = cut.usage
        self._stop_alert = StopAlert(self._log)
        control = await self._settled()
        sink = await self._read_tables() if self._tables is not None else []
        recount = await self._recount(control.prices)
        audit = await self._audit()
        entries = await self._entries(recount)
        await self._compare(recount, control, entries)
        report.checks += [*audit, *self._snapshot.checks, *sink]
        report.events = recount.totals.events
        report.cost_usd = plain(recount.totals.cost_picousd, USD_DECIMALS)
        return report

    def _deadline(self) -> float:
        return time.monotonic() + self._wait_seconds

    async def _buckets(self) -> int:
        """How many buckets of scopes: no more than needed, for each is a file."""
        records = 0
        for topic in (Topic.USER_STATE, Topic.SHARED_STATE, Topic.SPEND):
            begins, ends = await self._log.begins(topic), await self._log.ends(topic)
            records += sum(ends[partition] - begins[partition] for partition in ends)
        return max(_BUCKETS_MIN, min(records // _BUCKET_RECORDS, _BUCKETS_MAX))

    async def _settled(self) -> Control:
        """Read spend, flags and the stop's alert beside the state, again while they differ from it and there is time.

        A budget or the stop may have been changed a moment ago, or a window have ended.
        """
        deadline = self._deadline()
        while True:
            control = await read_control(self._log)
            await self._snapshot.settle()
            await self._stop_alert.advance()
            self._meters = await read_meters(self._log)
            if time.monotonic() >= deadline or self._agrees(control):
                return control
            self._progress("waiting for spend and flags", 0, 0)
            await asyncio.sleep(_POLL_SECONDS)

    def _agrees(self, control: Control) -> bool:
        if not check_stop_alert(control.stop, self._stop_alert.value).ok:
            return False
        cut = self._snapshot.cut
        if self._has_meters and not self._meters_check(control).ok:
            return False
        flags = self._flags_check(control)
        spend = WindowsCheck("spend windows", "spend")
        range_ = Range(cut, {})
        for bucket in range(self._rows.buckets):
            view = load(self._rows, bucket, cut)
            flags.compare(view, cut.now_ms)
            compare_spend(spend, None, view, range_)
            if not (flags.ok and spend.ok):
                return False
        return flags.finish().ok

    def _flags_check(self, control: Control) -> FlagsCheck:
        cut = self._snapshot.cut
        return FlagsCheck(control.limits, note_of(control.stop), (cut.meters, self._meters), cut.homes)

    def _meters_check(self, control: Control) -> Check:
        return compare_meters(control.limits.meters(), self._meters, self._snapshot.cut.homes)

    async def _read_tables(self) -> list[Check]:
        """Read ClickHouse once the sink has everything up to the cut; returns the check that failed if it has not."""
        tables, cut = self._tables, self._snapshot.cut
        assert tables is not None
        group = f"{self._settings.application}-sink-clickhouse"
        written = {Topic.PRICED: await self._log.tips(Topic.PRICED), Topic.SPEND: cut.spend_rows}
        if self._has_entries and await asyncio.to_thread(tables.has_entries):
            written[Topic.BALANCES] = dict(self._snapshot.balances.next)
        for topic, ends in written.items():
            deadline = self._deadline()
            while behind := await self._log.behind(topic, await self._log.committed(group, topic), ends):
                if time.monotonic() >= deadline:
                    self._tables = None
                    return [not_caught_up("the ClickHouse sink", self._settings.topic(topic), behind)]
                self._progress("waiting for the ClickHouse sink", 0, 0)
                await asyncio.sleep(_POLL_SECONDS)
        self._progress("asking ClickHouse", 0, 0)
        self._usage_in_table = await asyncio.to_thread(tables.usage, cut.begins, cut.usage)
        await asyncio.to_thread(self._spill_tables, tables)
        # A row may be newer than the record that was read; it was a record before it was a row.
        await self._snapshot.spend.advance_to_tip()
        return []

    def _spill_tables(self, tables: Tables) -> None:
        cut = self._snapshot.cut
        for user, month_ms, amount in tables.user_months(cut.begins, cut.usage):
            add_row(
                self._rows,
                f"user/{written(user)}",
                Row(Kind.USER_MONTH, 0, month_ms, user.encode(), encode_sum(amount)),
            )
        has_entries = tables.has_entries()
        for user, said, place in tables.balances() if has_entries else ():
            add_row(
                self._rows, f"user/{written(user)}", Row(Kind.BALANCE_TABLE, *place, user.encode(), encode_row(said))
            )
        for key, amount, place in tables.spend(has_calendars=has_entries):
            scope = key.rsplit("|", 2)[0]
            add_row(self._rows, scope, Row(Kind.SPEND_TABLE, *place, key.encode(), encode_sum(amount)))

    async def _audit(self) -> list[Check]:
        """The audit beside the control topic, and ClickHouse beside the audit, when the sink has it in time."""
        self._progress("looking at the audit", 0, 0)
        check, records, end = await compare_audit(self._log)
        if self._tables is None:
            return [check]
        deadline = self._deadline()
        while (found := await asyncio.to_thread(self._tables.audit_records, end)) != records:
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(_POLL_SECONDS)
        return [check, Check("ClickHouse audit").shows(f"{records} changes", f"{found} changes")]

    async def _recount(self, prices: Prices) -> Share:
        """Judge every record up to the cut, beside the priced topic; then look at dead letters and forwards."""
        log, cut = self._log, self._snapshot.cut
        sizes = {partition: end - cut.begins[partition] for partition, end in cut.usage.items()}
        read, total = 0, sum(sizes.values())

        def step(records: int) -> None:
            nonlocal read
            read += records
            self._progress("recomputing", read, total)

        # What the cut counts was written in the same transactions as the state, so it lies before these.
        tips = await log.tips(Topic.USAGE)
        priced_begins, priced_ends = await log.begins(Topic.PRICED), await log.tips(Topic.PRICED)
        # What was added to the usage topic has no priced records of its own.
        priced = {partition: (priced_begins.get(partition, 0), priced_ends.get(partition, 0)) for partition in sizes}
        letter_begins, letter_ends = await log.begins(Topic.DEAD_LETTERS), await log.tips(Topic.DEAD_LETTERS)
        letters_range = {partition: (letter_begins[partition], end) for partition, end in letter_ends.items()}
        self._letters = letters_range
        step(0)
        hands = dealt(sizes, self._processes or processes_for(total, len(sizes)))
        share = await shared_out(
            [
                Job(
                    self._settings,
                    cut,
                    prices,
                    self._directory / f"share-{n}",
                    self._rows.buckets,
                    hand,
                    priced,
                    letters_range,
                )
                for n, hand in enumerate(hands)
            ],
            step,
        )
        self._progress("looking at dead letters", 0, 0)
        for partition, (begin, end) in letters_range.items():
            async for batch in log.read(Topic.DEAD_LETTERS, partition, begin, end):
                for record in batch:
                    share.letters.letter(record)
        for partition, end in tips.items():
            async for batch in log.read(Topic.USAGE, partition, cut.usage[partition], end):
                for record in batch:
                    if (origin := origin_of(record)) is not None:
                        share.forwards.arrived(record, origin)
        letters = share.letters
        self._report.checks.append(share.show_priced(cut.begins))
        letters.finish()
        self._report.checks.append(letters.check.shows(letters.expected, letters.found))
        self._report.checks.append(share.forwards.finish(cut.begins, cut.usage))
        self._report.faults = share.priced.faults
        self._report.several_users = await of_several_users(share.marks, log)
        return share

    async def _entries(self, recount: Share) -> EntryChecks | None:
        """None for an installation of a release that had no entries."""
        if not self._has_entries:
            return None
        entries = EntryChecks(self._log, self._snapshot.cut, recount)
        await entries.read(self._letters)
        return entries

    async def _compare(self, recount: Share, control: Control, entries: EntryChecks | None) -> None:
        """Compare a bucket of scopes after the other."""
        cut, tables = self._snapshot.cut, self._tables
        state, spend = WindowsCheck("state", "state"), WindowsCheck("spend windows", "spend")
        months, table = (
            WindowsCheck("ClickHouse user months", "ClickHouse usage"),
            WindowsCheck("ClickHouse spend", "ClickHouse spend"),
        )
        flags = self._flags_check(control)
        for problem in (*self._snapshot.users.faults, *self._snapshot.shared.faults):
            state.differs("row of the state", "a readable one", problem)
        range_ = Range(cut, recount.first_ms)
        balance_rows = BalanceRowsCheck(self._snapshot.balances.next)
        moved = 0
        for bucket in range(self._rows.buckets):
            self._progress("comparing", bucket, self._rows.buckets)
            view, recounted = load(self._rows, bucket, cut), recount.totals.bucket(bucket)
            windows = folded(recounted.windows | recount.meters.bucket(bucket), view.state)
            compare_state(state, windows, view, range_)
            moved += compare_spend(spend, windows, view, range_)
            flags.compare(view, cut.now_ms)
            if entries is not None:
                entries.accounts.compare(bucket, view)
            if tables is not None:
                compare_months(months, recounted.user_months, view.months)
                compare_table(table, windows, view, range_)
                balance_rows.compare(view)
        if moved:
            spend.note = (
                f"{moved} windows moved on since the cut: their records were compared with the state's rows since"
            )
        if range_.open_windows:
            state.note = f"{range_.open_windows} windows were compared with lower bounds"
        stop = check_stop_alert(control.stop, self._stop_alert.value)
        self._report.checks += [state.finish(), spend.finish(), flags.finish(), stop]
        if self._has_meters:
            self._report.checks.append(self._meters_check(control))
        if entries is not None:
            self._report.checks += entries.finish()
            if tables is not None and await asyncio.to_thread(tables.has_entries):
                self._report.checks += await entries.compare_tables(tables, self._deadline())
                self._report.checks.append(balance_rows.finish())
        by_window: list[WindowsCheck] = [state, spend]
        if tables is not None and self._usage_in_table is not None:
            self._report.checks.append(_compare_usage(recount.totals, self._usage_in_table))
            self._report.checks += [months.finish(), table.finish()]
            by_window += [months, table]
        first = next((check.first for check in by_window if check.first is not None), None)
        if first is not None:
            self._progress("looking for the events behind the first difference", 0, 0)
            await explain(self._log, cut, first, self._report.faults, tables)
            self._report.first = first


def _compare_usage(totals: Totals, found: tuple[int, int]) -> Check:
    """The number of events and their cost."""
    return Check("ClickHouse usage").shows(
        f"{totals.events} events, {plain(totals.cost_picousd, USD_DECIMALS)} USD",
        f"{found[0]} events, {plain(found[1], USD_DECIMALS)} USD",
    )
