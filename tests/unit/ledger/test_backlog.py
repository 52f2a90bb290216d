"""What a worker that was down for days, or whose partitions lag, must not lose."""

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.spend import ScopeSpend, Spend
from tollgate.domain.windows import DAY_MS, HOUR_MS, Horizon, Windows, windows_at
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.scopes import Scopes
from tollgate.schemas.topics import Topic
from tollgate.schemas.vocabulary import WindowKind

# 2026-11-21T10:00:00Z
TEN_MS = 1_795_255_200_000


def without_hour(instant_ms: int) -> Windows:
    return tuple(window for window in windows_at(instant_ms) if window[0] is not WindowKind.HOUR)


def one() -> Spend:
    return Spend(cost_picousd=5, events=1)


def test_every_hour_of_a_backlog_of_a_week_is_written_once_even_when_it_is_no_longer_held() -> None:
    horizon = Horizon()
    scopes = Scopes(0, Topic.USER_STATE, horizon, BudgetBook())
    hours = range(7 * 24)
    for hour in hours:
        horizon.advance(TEN_MS + hour * HOUR_MS)
        scopes.add("user/u1", windows_at(TEN_MS + hour * HOUR_MS), one())
    outbox = Outbox()
    scopes.write(outbox, len(hours), TEN_MS + 7 * DAY_MS)
    keys = [key for key, _, _ in outbox.to(Topic.SPEND, 0) if key is not None and b"|hour|" in key]
    assert len(keys) == len(set(keys)) == 168


def test_windows_of_a_backlog_are_forgotten_once_they_have_been_written() -> None:
    horizon = Horizon()
    scopes = Scopes(0, Topic.USER_STATE, horizon, BudgetBook())
    for hour in range(7 * 24):
        horizon.advance(TEN_MS + hour * HOUR_MS)
        scopes.add("user/u1", windows_at(TEN_MS + hour * HOUR_MS), one())
        scopes.write(Outbox(), 1, TEN_MS + hour * HOUR_MS)
    spend = scopes.spend.find("user/u1")
    assert spend is not None
    hours = [start for kind, start in spend.closed if kind is WindowKind.HOUR]
    assert len(hours) == 72


def test_a_day_that_was_opened_by_a_partition_ahead_does_not_take_the_spend_of_the_day_before() -> None:
    # The clock of one partition is days ahead of the other's: for it 10:00 and the next day are no longer held by hour.
    scope = ScopeSpend()
    scope.add(without_hour(TEN_MS), one())
    scope.add(without_hour(TEN_MS + DAY_MS), one())
    scope.add(windows_at(TEN_MS), one())
    day = TEN_MS - 10 * HOUR_MS
    found = scope.window(WindowKind.DAY, day)
    assert found is not None
    assert found.events == 2
    later = scope.window(WindowKind.DAY, day + DAY_MS)
    assert later is not None
    assert later.events == 1
