"""Puts the first page together: sums of now from memory (the worker's own), history from ClickHouse.

Each panel is asked for by itself. One that cannot be told now is null, and `unavailable` says why; the others are there
all the same.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from tollgate.console.api.sums import limit_of, live_picousd, profit
from tollgate.console.dashboard import budgets
from tollgate.console.numbers import EventFilter, NumbersError, Restriction, Series, UnavailableError
from tollgate.console.numbers import Share as NumbersShare
from tollgate.console.numbers import Shares as NumbersShares
from tollgate.console.numbers.projections import DAYS, HOUR_DAYS, note
from tollgate.console.numbers.sums import percent, picousd, shares_of
from tollgate.console.pages.overview_model import (
    Age,
    Block,
    Call,
    Dashboard,
    Month,
    Point,
    Projected,
    Projection,
    Share,
    Shares,
    Standing,
    Stop,
)
from tollgate.console.parts import Parts
from tollgate.domain.budgets import window_json
from tollgate.domain.forecast import Forecast, Method
from tollgate.domain.windows import DAY_MS, HOUR_MS, day_start, month_start, window_end, window_start
from tollgate.schemas.amounts import format_usd
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.outputs import EventStatus, Flag, FlagState, SpendRecord, Window
from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension, scope_of
from tollgate.schemas.vocabulary import WindowKind
from tollgate.sdk.in_words import sentence

SHOWN: Final = 8
CALLS: Final = 10
DIMENSIONS: Final = (Dimension.SERVICE, Dimension.MODEL, Dimension.AGENT, Dimension.CAMPAIGN)
# With more names than this, ClickHouse sums them up faster than memory is read.
_NAMES_FROM_MEMORY: Final = 300
# The sink writes once a second; later than this, what ClickHouse has is old.
_BEHIND_MS_MAX: Final = 30_000

_KAFKA_UNREAD: Final = "Kafka was not read to its end yet."

_Part = TypeVar("_Part")


class _Unknown(Exception):  # noqa: N818 # not an error: it says why a panel is null
    """Why a panel cannot be told now."""


async def dashboard(parts: Parts, org: str, now_ms: int) -> Dashboard:
    """The first page as somebody of this org may see it; empty for the whole company."""
    # Not shared like the questions to ClickHouse: whoever asks after a change must see it.
    return await _Builder(parts, org, now_ms).build()


class _Builder:
    def __init__(self, parts: Parts, org: str, now_ms: int) -> None:
        self._parts, self._live, self._numbers, self._now = parts, parts.live, parts.numbers, now_ms
        self._org = org
        self._restriction = Restriction(org=org)
        self._scope = scope_of(Dimension.ORG, org) if org else GLOBAL_SCOPE
        self._month = month_start(now_ms)
        self._month_end = window_end(WindowKind.MONTH, self._month)
        self._unavailable: dict[str, str] = {}

    async def build(self) -> Dashboard:
        """Everything at once: the slowest panel decides how long it takes."""
        async with asyncio.TaskGroup() as group:
            month = group.create_task(self._try("month", self._month_so_far()))
            hours = group.create_task(self._try("hours", self._hours()))
            days = group.create_task(self._try("days", self._days()))
            forecast = group.create_task(self._try("projection", self._forecast()))
            shares = group.create_task(self._try("shares", self._shares()))
            users = group.create_task(self._try("users", self._users()))
            calls = group.create_task(self._try("calls", self._calls()))
            history = group.create_task(self._history_age())
            budget = group.create_task(self._try("budget", self._company_budget()))
            worst = group.create_task(self._try("budgets", self._worst_budgets()))
        found = forecast.result()
        if found is None:
            self._unavailable.setdefault("projected", self._unavailable.get("projection", ""))
        shown, projected = self._projection(found)
        ages = {name: self._age(name) for name in ("spend", "flags", "alerts", "control")} | {
            "history": history.result()
        }
        knows_flags, knows_alerts = ages["flags"].as_of is not None, ages["alerts"].as_of is not None
        for name, known in (("blocked", knows_flags), ("alerts", knows_alerts)):
            if not known:
                self._unavailable[name] = _KAFKA_UNREAD
        blocked = self._blocked() if knows_flags else []
        alerts = [a for a in self._live.alerts(SHOWN if not self._org else None) if self._sees(a.scope)]
        return Dashboard(
            as_of=format_instant(self._now),
            stop=self._stop(),
            month=month.result(),
            budget=budget.result(),
            projection=shown,
            hours=hours.result(),
            days=days.result(),
            projected=projected,
            budgets=worst.result(),
            budgets_total=len(self._parts.control.budgets()) if not self._org else len(worst.result() or ()),
            shares=shares.result(),
            users=users.result(),
            calls=calls.result(),
            alerts=alerts[:SHOWN] if knows_alerts else None,
            alerts_total=self._live.alert_count if not self._org else len(alerts),
            blocked=blocked[:SHOWN] if knows_flags else None,
            blocked_total=self._live.blocked(self._now) if not self._org else len(blocked),
            ages=ages,
            unavailable={name: why for name, why in self._unavailable.items() if why},
        )

    async def _try(self, name: str, asked: Coroutine[Any, Any, _Part]) -> _Part | None:
        try:
            return await asked
        except (NumbersError, _Unknown) as error:
            self._unavailable[name] = str(error)
            return None

    def _sees(self, scope: str) -> bool:
        return not self._org or scope == self._scope

    async def _record(self, scope: str, kind: WindowKind) -> SpendRecord | None:
        """The scope's sum in the window of now; None when nothing was spent. Raises _Unknown."""
        known = await self._parts.sums.get(scope, kind, window_start(kind, self._now))
        if known is None:
            raise _Unknown(_KAFKA_UNREAD if self._live.knows(scope, kind, 0) else "ClickHouse does not answer.")
        return known.record

    async def _month_so_far(self) -> Month:
        record = await self._record(self._scope, WindowKind.MONTH)
        cost, retail = (record.spent_usd, record.retail_usd) if record else ("0", "0")
        gain, sold = picousd(profit(cost, retail)), picousd(retail)
        margin = None
        if sold > 0:
            text = percent(abs(gain), sold)
            margin = f"-{text}" if gain < 0 and text != "0.00" else text
        return Month(
            window=_window(WindowKind.MONTH, self._month),
            cost_usd=cost,
            retail_usd=retail,
            profit_usd=format_usd(gain),
            margin_percent=margin,
            events=record.events if record else 0,
        )

    async def _hours(self) -> list[Point]:
        today = day_start(self._now)
        starts = range(today, self._now + 1, HOUR_MS)
        memory = not self._live.freshness("spend").stale
        if memory and all(self._live.knows(self._scope, WindowKind.HOUR, start) for start in starts):
            return [_point(start, self._live.spend(self._scope, WindowKind.HOUR, start)) for start in starts]
        # The forecast's own question, so that it is asked once.
        found = await self._numbers.hourly(self._restriction, today - HOUR_DAYS * DAY_MS, today + DAY_MS)
        return _points(found)[HOUR_DAYS * 24 :][: len(starts)]

    async def _days(self) -> list[Point]:
        today = day_start(self._now)
        days = _points(await self._numbers.daily(self._restriction, today - DAYS * DAY_MS, today + DAY_MS))
        if self._live.knows(self._scope, WindowKind.DAY, today) and not self._live.freshness("spend").stale:
            days[-1] = _point(today, self._live.spend(self._scope, WindowKind.DAY, today))
        return days

    async def _forecast(self) -> Forecast:
        return await self._numbers.forecast(
            self._restriction,
            GLOBAL_SCOPE,
            WindowKind.MONTH,
            self._now,
            spent_picousd=live_picousd(self._parts, self._scope, WindowKind.MONTH, self._now),
            limit_picousd=limit_of(self._parts, self._scope, WindowKind.MONTH),
        )

    def _projection(self, found: Forecast | None) -> tuple[Projection | None, list[Projected] | None]:
        if found is None or found.method is Method.NOTHING_KNOWN:
            return None, None
        reached = found.limit_reached_ms
        shown = Projection(
            usd=format_usd(max(found.projected_picousd, 0)),
            low_usd=format_usd(max(found.low_picousd, 0)),
            high_usd=format_usd(max(found.high_picousd, 0)),
            method=found.method.value,
            note=note(found),
            # A budget that is used up already is not exceeded "at this rate".
            exceeds_at=format_instant(reached) if reached is not None and reached > self._now else None,
        )
        today = day_start(self._now)
        ahead = [
            Projected(
                start=format_instant(day.start_ms),
                cost_usd=format_usd(day.middle_picousd),
                low_usd=format_usd(day.low_picousd),
                high_usd=format_usd(day.high_picousd),
            )
            for day in found.days
            if day.start_ms > today
        ]
        return shown, ahead

    async def _company_budget(self) -> Standing | None:
        found = [
            b
            for b in self._live.book().in_force(self._scope, self._now)
            if b.calendar == WindowKind.MONTH and b.unit == "usd"
        ]
        if not found:
            return None
        record = await self._record(self._scope, WindowKind.MONTH)
        return budgets.of_record(min(found, key=lambda budget: budget.limit), self._scope, self._month, record)

    async def _worst_budgets(self) -> list[Standing]:
        if self._org:
            return (await budgets.of_scope(self._parts, self._scope, self._now))[:SHOWN]
        return await budgets.worst(self._parts, SHOWN, self._now)

    async def _shares(self) -> dict[str, Shares]:
        found = await asyncio.gather(*(self._shares_by(dimension) for dimension in DIMENSIONS))
        return {dimension.value: shares for dimension, shares in zip(DIMENSIONS, found, strict=True)}

    async def _shares_by(self, by: Dimension) -> Shares:
        scopes = self._live.scopes(by.value) if not self._org else []
        if self._org or len(scopes) > _NAMES_FROM_MEMORY or self._live.freshness("spend").stale:
            to_ms = day_start(self._now) + DAY_MS
            found = await self._numbers.breakdown(self._restriction, by, self._month, to_ms, SHOWN)
            return self._told(found, by)
        records = [
            (scope.partition("/")[2], record)
            for scope in scopes
            if (record := self._live.spend(scope, WindowKind.MONTH, self._month)) is not None
        ]
        whole = await self._record(GLOBAL_SCOPE, WindowKind.MONTH)
        return self._told(_shares_of(records, whole, self._now), by)

    async def _users(self) -> Shares:
        to_ms = day_start(self._now) + DAY_MS
        found = await self._numbers.top(self._restriction, Dimension.USER, self._month, to_ms, SHOWN)
        return self._told(found, Dimension.USER)

    def _told(self, found: NumbersShares, by: Dimension) -> Shares:
        return Shares(
            items=[self._share(share, by) for share in found.items],
            rest=self._share(found.rest, None) if found.rest is not None else None,
        )

    def _share(self, share: NumbersShare, by: Dimension | None) -> Share:
        values: dict[str, Any] = share._asdict()
        # A flag is about all that a scope spends, which somebody of one org does not see.
        if by is None or not share.name or self._org:
            return Share(**values)
        scope = scope_of(by, share.name)
        flag = self._live.flag(scope)
        limit = limit_of(self._parts, scope, WindowKind.MONTH)
        return Share(
            **values,
            state=flag.state if flag is not None and budgets.holds(flag, self._now) else FlagState.OK,
            budget_percent=None if limit is None else percent(picousd(share.cost_usd), limit),
        )

    async def _calls(self) -> list[Call]:
        page = await self._numbers.events(self._restriction, EventFilter(), CALLS)
        return [
            Call(
                time=row.time,
                event_id=row.event_id,
                user=row.user,
                service=row.service,
                model=row.model,
                agent=row.agent,
                operation=row.operation,
                status=EventStatus(row.status),
                cost_usd=row.cost_usd,
                price_status=row.price_status,
            )
            for row in page.items
        ]

    def _blocked(self) -> list[Block]:
        """The company first; then, of those that are blocked, the first by name."""
        found: list[Flag] = []
        for scope in sorted(self._live.flag_scopes(self._now), key=lambda scope: (scope != GLOBAL_SCOPE, scope)):
            flag = self._live.flag(scope) if self._sees(scope) else None
            if flag is not None and flag.blocked:
                found.append(flag)
            if len(found) == SHOWN:
                break
        return [
            Block(
                scope=flag.scope,
                state=flag.state,
                why=flag.note or f"{sentence(flag)}.",
                budget=flag.budget,
                limit=flag.limit,
                unit=flag.unit,
                spent=flag.spent,
                percent=flag.percent,
                since=flag.since,
                until=flag.until,
            )
            for flag in found
        ]

    def _stop(self) -> Stop | None:
        flag = self._live.flag(GLOBAL_SCOPE)
        if flag is None or flag.state is not FlagState.STOPPED or not budgets.holds(flag, self._now):
            return None
        # Numbers of the whole company are not for the people of one org.
        reason = flag.note or ("The company's budget is used up." if self._org else f"{sentence(flag)}.")
        return Stop(since=flag.since, until=flag.until, reason=reason, actor="")

    def _age(self, name: str) -> Age:
        fresh = self._live.freshness(name)
        return Age(as_of=format_instant(fresh.as_of_ms) if fresh.as_of_ms else None, stale=fresh.stale)

    async def _history_age(self) -> Age:
        """How far ClickHouse is: compared with the worker's newest sum in Kafka, which the sink writes as well."""
        try:
            written = await self._numbers.written_to()
        except UnavailableError:
            return Age(as_of=None, stale=True)
        newest = self._live.spend(GLOBAL_SCOPE, WindowKind.LIFETIME, 0)
        if newest is None or (written is not None and written >= newest.updated_at):
            return Age(as_of=format_instant(self._now), stale=False)
        if written is None:
            return Age(as_of=None, stale=True)
        behind_ms = parse_instant(newest.updated_at) - parse_instant(written)
        return Age(as_of=written, stale=behind_ms > _BEHIND_MS_MAX)


def _window(kind: WindowKind, start_ms: int) -> Window:
    return Window.model_validate(window_json(kind, start_ms))


def _point(start_ms: int, record: SpendRecord | None) -> Point:
    cost, retail, events = (record.spent_usd, record.retail_usd, record.events) if record else ("0", "0", 0)
    return Point(start=format_instant(start_ms), cost_usd=cost, retail_usd=retail, events=events)


def _points(found: Series) -> list[Point]:
    return [
        Point(start=format_instant(one.start_ms), cost_usd=one.cost_usd, retail_usd=one.retail_usd, events=one.events)
        for one in found.items
    ]


def _shares_of(records: list[tuple[str, SpendRecord]], whole: SpendRecord | None, now_ms: int) -> NumbersShares:
    """The largest of the records of a dimension, as parts of the whole."""
    rows: list[list[Any]] = [[name, record.spent_usd, record.retail_usd, record.events] for name, record in records]
    total = [whole.spent_usd, whole.retail_usd, whole.events] if whole is not None else ["0", "0", 0]
    return shares_of(rows, total, SHOWN, now_ms)
