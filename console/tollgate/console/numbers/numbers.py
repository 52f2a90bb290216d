"""`Numbers`: what the console and the command line ask ClickHouse, in one object for a process."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Sequence
from typing import Final, TypeVar

from tollgate.console.numbers import accounts, events, history, projections, reports, spends, sums, trends, users
from tollgate.console.numbers.accounts import Decided, Granted
from tollgate.console.numbers.answers import Card, CountedEvent, Page, Series, Shares, UserNumbers
from tollgate.console.numbers.errors import BadQuestionError
from tollgate.console.numbers.events import EventFilter
from tollgate.console.numbers.history import AlertRevision, AuditRow, FlagRevision, LetterRow
from tollgate.console.numbers.questions import Questions, now_ms
from tollgate.console.numbers.ranges import Range
from tollgate.console.numbers.reports import ReportKey, ReportStart
from tollgate.console.numbers.restriction import EVERYTHING, Names, Restriction, narrowed
from tollgate.console.numbers.sharing import SharedAnswers
from tollgate.console.numbers.spends import Near, SpendKey
from tollgate.console.numbers.tables import ReportFormat
from tollgate.domain.forecast import Forecast
from tollgate.domain.spend import Spend
from tollgate.domain.windows import month_start
from tollgate.runtime.settings import Settings
from tollgate.schemas.outputs import SpendRecord
from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension, parse_names, scope_of
from tollgate.schemas.vocabulary import WindowKind

# A first page; larger ones would take memory for what nobody asks twice.
_SHARED_EVENTS_MAX: Final = 100

_Answer = TypeVar("_Answer")


class Numbers:
    """Sums, shares, events and history, narrowed down to what a caller may see.

    Ranges are half-open. Every method may raise UnavailableError (ClickHouse is away), TooLargeError and
    BadQuestionError. Equal questions within a few seconds share one answer: see `sharing`.
    """

    def __init__(self, settings: Settings, now_ms: Callable[[], int] = now_ms) -> None:
        self._questions = Questions(settings, now_ms)
        self._shared = SharedAnswers()

    async def start(self) -> None:
        """Nothing waits for ClickHouse: the first question connects."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._shared.stop()
        await self._questions.stop()

    async def spend_of(
        self, scope: str, calendar: str, start_ms: int, r: Restriction = EVERYTHING
    ) -> SpendRecord | None:
        """The worker's own sum of a scope in a window; None when nothing was spent, or none of it is to be seen."""
        names = _names(r, scope)
        if names.impossible or names.by != dict(parse_names(scope)):
            return None
        key = ("spend_of", scope, calendar, start_ms)
        return await self._share(key, lambda: sums.spend_of(self._questions, scope, calendar, start_ms))

    async def sum_of(self, scope: str, calendar: str, start_ms: int) -> SpendRecord | None:
        """The sum of a scope in a window that no worker counts, added up from its events. Not narrowed."""
        key = ("sum_of", scope, calendar, start_ms)
        return await self._share(key, lambda: sums.sum_of(self._questions, scope, calendar, start_ms))

    async def credit_entries(self, user: str, limit: int, before: tuple[int, str] | None = None) -> list[Granted]:
        """What a user was granted, the newest first, behind a place in this order. Not narrowed."""
        return await accounts.credit_entries(self._questions, user, limit, before)

    async def decisions(self, user: str, limit: int) -> list[Decided]:
        """The newest decisions about a user's reservations. Not narrowed."""
        return await accounts.decisions(self._questions, user, limit)

    async def spends_of(self, keys: Collection[SpendKey], units: Collection[str] = ()) -> dict[SpendKey, Spend]:
        """The worker's own sums of up to 20,000 scopes, with the usage of these units alone. What is missing spent
        nothing. Not narrowed.
        """
        return await spends.spends(self._questions, keys, units)

    async def near(
        self,
        pattern: str,
        calendar: str,
        start_ms: int,
        unit: str,
        spans: Sequence[tuple[int, int | None]],
        limit: int,
    ) -> Near:
        """The scopes of a pattern (`user/*`) whose sum is within one of the spans, which are in the unit of a budget.
        Not narrowed.
        """
        return await spends.near(self._questions, pattern, calendar, start_ms, unit, spans, limit)

    async def hourly(self, r: Restriction, from_ms: int, to_ms: int, scope: str = GLOBAL_SCOPE) -> Series:
        """The scope's sum of every hour that touches the range."""
        return await self.series(r, WindowKind.HOUR, from_ms, to_ms, scope)

    async def daily(self, r: Restriction, from_ms: int, to_ms: int, scope: str = GLOBAL_SCOPE) -> Series:
        """The scope's sum of every day that touches the range."""
        return await self.series(r, WindowKind.DAY, from_ms, to_ms, scope)

    async def monthly(self, r: Restriction, from_ms: int, to_ms: int, scope: str = GLOBAL_SCOPE) -> Series:
        """The scope's sum of every month that touches the range."""
        return await self.series(r, WindowKind.MONTH, from_ms, to_ms, scope)

    async def breakdown(
        self, r: Restriction, by: Dimension, from_ms: int, to_ms: int, limit: int, scope: str = GLOBAL_SCOPE
    ) -> Shares:
        """The names of a dimension with the highest costs. Events without a name are one of them, named ""."""
        if not 1 <= limit <= sums.SHARES_MAX:
            raise BadQuestionError(f"limit is from 1 to {sums.SHARES_MAX}.")
        within, names = Range(from_ms, to_ms), _names(r, scope)
        key = ("breakdown", r, by, within, limit, scope)
        return await self._share(key, lambda: sums.shares(self._questions, names, by, within, limit))

    async def top(self, r: Restriction, by: Dimension, from_ms: int, to_ms: int, limit: int) -> Shares:
        """`breakdown` of everything that the caller may see."""
        return await self.breakdown(r, by, from_ms, to_ms, limit)

    async def trends(
        self, r: Restriction, by: Dimension, names: Sequence[str], from_ms: int, to_ms: int
    ) -> dict[str, list[str]]:
        """The cost of every day that touches the range, by name; of the first 200 names."""
        within, key = Range(from_ms, to_ms), ("trends", r, by, tuple(names), from_ms, to_ms)
        return await self._share(key, lambda: trends.trends(self._questions, narrowed(r), by, names, within))

    async def events(self, r: Restriction, wanted: EventFilter, limit: int, cursor: str = "") -> Page[CountedEvent]:
        """Single events, the newest first."""
        if limit > _SHARED_EVENTS_MAX or cursor:
            return await events.events(self._questions, r, wanted, limit, cursor)
        key = ("events", r, limit, wanted.key())
        return await self._share(key, lambda: events.events(self._questions, r, wanted, limit))

    def export(
        self, r: Restriction, by: Sequence[ReportKey], from_ms: int, to_ms: int, form: ReportFormat
    ) -> AsyncIterator[bytes]:
        """A report as CSV or JSON in parts. An error in its midst is raised: never end a document after one."""
        return reports.report(self._questions, narrowed(r), by, Range(from_ms, to_ms), form)

    async def report_start(
        self, r: Restriction, by: Sequence[ReportKey], from_ms: int, to_ms: int, limit: int
    ) -> ReportStart:
        """The first rows of a grouped report, and the sums of all of it."""
        within, key = Range(from_ms, to_ms), ("report", r, tuple(by), from_ms, to_ms, limit)
        return await self._share(key, lambda: reports.report_start(self._questions, narrowed(r), by, within, limit))

    async def user(self, r: Restriction, user: str, at_ms: int) -> UserNumbers:
        """One user's month (that of the instant), lifetime, usage cards and last calls."""
        _names(r, f"user/{user}")
        key = ("user", r, user, month_start(at_ms))
        return await self._share(key, lambda: users.user_numbers(self._questions, r, user, at_ms))

    async def cards(self, r: Restriction, user: str, from_ms: int, to_ms: int) -> list[Card]:
        """A user's four usage cards for a range."""
        within, names = Range(from_ms, to_ms), _names(r, scope_of(Dimension.USER, user))
        return await self._share(("cards", r, user, within), lambda: users.user_cards(self._questions, names, within))

    async def flags_history(
        self, scope: str = "", within: Range | None = None, limit: int = 100, cursor: str = ""
    ) -> Page[FlagRevision]:
        """Revisions of one scope's flag, or of all flags. Not narrowed: for those who may see everything."""
        return await history.flags(self._questions, scope, within, limit, cursor)

    async def alerts_history(
        self, scope: str = "", within: Range | None = None, limit: int = 100, cursor: str = "", level: str = ""
    ) -> Page[AlertRevision]:
        """Revisions of one scope's alerts, or of all, of one level or of any. Not narrowed: for those who may see
        everything.
        """
        return await history.alerts(self._questions, scope, within, limit, cursor, level)

    async def audit(
        self,
        *,
        kind: str = "",
        key: str = "",
        actor: str = "",
        within: Range | None = None,
        limit: int = 100,
        cursor: str = "",
    ) -> Page[AuditRow]:
        """Changes of budgets, prices, tokens and settings. Not narrowed: for those who may see everything."""
        wanted = {"kind": kind, "key": key, "actor": actor}
        return await history.audit(self._questions, wanted, within, limit, cursor)

    async def dead_letters(
        self, reason: str = "", within: Range | None = None, limit: int = 100, cursor: str = ""
    ) -> Page[LetterRow]:
        """Refused records, without their content. Not narrowed: for those who may see everything."""
        return await history.letters(self._questions, reason, within, limit, cursor)

    async def forecast(
        self,
        r: Restriction,
        scope: str,
        kind: WindowKind,
        now_ms: int,
        *,
        spent_picousd: int | None = None,
        limit_picousd: int | None = None,
    ) -> Forecast:
        """Where the scope's window of this kind will end: see `tollgate.domain.forecast`. `spent_picousd` is what is
        known to be spent in it, where that is later than ClickHouse.
        """
        return await projections.project(
            self, r, scope, kind, now_ms, spent_picousd=spent_picousd, limit_picousd=limit_picousd
        )

    async def written_to(self) -> str | None:
        """`updated_at` of the worker's newest sum that the sink has written, as in the topic; None before the first.

        Beside the same sum in Kafka it says whether the sink is behind.
        """
        everything = await self.spend_of(GLOBAL_SCOPE, WindowKind.LIFETIME, 0)
        return everything.updated_at if everything is not None else None

    async def series(
        self, r: Restriction, kind: WindowKind, from_ms: int, to_ms: int, scope: str = GLOBAL_SCOPE
    ) -> Series:
        """The scope's sum of every window of this kind that touches the range."""
        within, names = Range(from_ms, to_ms), _names(r, scope)
        key = ("series", r, kind, within, scope)
        return await self._share(key, lambda: sums.series(self._questions, names, kind, within))

    async def _share(self, key: Hashable, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        return await self._shared.get(key, ask)


def _names(r: Restriction, scope: str) -> Names:
    try:
        return narrowed(r, scope)
    except ValueError as error:
        raise BadQuestionError(f"{error}.") from None
