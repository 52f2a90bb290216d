"""Late events and events out of order: each changes its own windows, none the present, whatever the order; and a cost
of half a picodollar. Of either core.
"""

import json
import random
from typing import Any

import pytest
from tests.support.cores import CORES
from tests.support.usage import event, record

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.pricing import PriceBook, Pricer, load_price_book
from tollgate.ledger import Counters, Policy
from tollgate.ledger.core import Core
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.control import BudgetRecord, PriceRecord
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic

BOOK = load_price_book("default")
USER = next(u for u in (f"u{n}" for n in range(200)) if partition_of(u.encode(), 8) == 0)


@pytest.fixture(autouse=True, params=CORES)
def _core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test holds for either core."""
    monkeypatch.setattr(Ledger, "core", request.param)


class Ledger:
    """A stage for partition 0, the newest value of all it said, and the flags it wrote in order."""

    core: Core = "python"

    def __init__(self, *budgets: dict[str, Any], prices: PriceBook = BOOK) -> None:
        book = BudgetBook(
            Budget.from_record(BudgetRecord.model_validate(b | {"updated_at": "2026-01-01T00:00:00Z"})) for b in budgets
        )
        self.stage = UserStage(0, Policy(book, lambda: Pricer(prices)), Counters(), core=self.core)
        self.spend: dict[str, tuple[str, int]] = {}
        self.rows: dict[str, bytes] = {}
        self.flags: list[tuple[str, str]] = []
        self.offset = 0

    def count(self, arrival: str, *events: dict[str, Any]) -> None:
        """Events that reach the broker then, in one transaction."""
        now_ms = parse_instant(arrival)
        self.stage.apply([record(e, self.offset + n, timestamp=now_ms) for n, e in enumerate(events)])
        self.offset += len(events)
        self.write(now_ms)

    def write(self, now_ms: int) -> None:
        outbox = Outbox()
        self.stage.write(outbox, now_ms)
        for key, value, _ in outbox.records.get((Topic.SPEND, 0), []):
            read = json.loads(value or b"")
            self.spend[(key or b"").decode().split("|", 1)[1]] = (read["spent_usd"], read["events"])
        for _, value, _ in outbox.records.get((Topic.FLAGS, 0), []):
            flag = json.loads(value or b"")
            self.flags.append((flag["state"], flag["spent"]))
        for key, value, _ in outbox.records.get((Topic.USER_STATE, 0), []):
            if value is None:
                self.rows.pop((key or b"").decode(), None)
            else:
                self.rows[(key or b"").decode()] = value

    def months(self) -> dict[str, tuple[str, int]]:
        return {key: spent for key, spent in self.spend.items() if key.startswith("month")}


def paid(number: int, usd: str, time: str) -> dict[str, Any]:
    return event(f"e{number}", USER, time=time, data={"cost_usd": usd})


def test_an_event_of_last_month_changes_last_month_and_neither_this_month_nor_a_flag() -> None:
    ledger = Ledger({"scope": f"user/{USER}", "limit": "10", "window": "month"})
    ledger.count("2026-10-31T23:59:59Z", paid(1, "9", "2026-10-31T23:59:58Z"))
    assert ledger.flags == [("warning", "9")]
    # A new month: the flag of the old one is over, whoever looks.
    ledger.count("2026-11-01T00:00:10Z", paid(2, "1", "2026-11-01T00:00:09Z"))
    flags = list(ledger.flags)
    assert flags == [("warning", "9"), ("ok", "1")]
    # 9 + 5 USD would have blocked October; nobody is blocked for it in November.
    ledger.count("2026-11-02T12:00:00Z", paid(3, "5", "2026-10-31T23:00:00Z"))
    assert ledger.months() == {"month|2026-10-01T00:00:00Z": ("14", 2), "month|2026-11-01T00:00:00Z": ("1", 1)}
    assert ledger.spend["hour|2026-10-31T23:00:00Z"] == ("14", 2)
    assert ledger.spend["day|2026-10-31T00:00:00Z"] == ("14", 2)
    assert ledger.spend["day|2026-11-01T00:00:00Z"] == ("1", 1)
    assert ledger.spend["lifetime|1970-01-01T00:00:00Z"] == ("15", 3)
    assert ledger.flags == flags
    # [sequence, cost in 10⁻¹² USD, retail, events, usage in 10⁻⁹]
    october = json.loads(ledger.rows[f"w|month|1790812800000|user/{USER}"])
    assert october[1:4] == [14_000_000_000_000, 0, 2]


def test_an_event_of_last_month_neither_blocks_nor_frees_a_user_who_is_blocked_now() -> None:
    ledger = Ledger({"scope": f"user/{USER}", "limit": "10", "window": "month"})
    ledger.count("2026-11-02T12:00:00Z", paid(1, "11", "2026-11-02T11:00:00Z"))
    ledger.count("2026-11-02T12:01:00Z", paid(2, "100", "2026-10-05T11:00:00Z"))
    assert ledger.flags == [("blocked", "11")]
    assert ledger.months() == {"month|2026-10-01T00:00:00Z": ("100", 1), "month|2026-11-01T00:00:00Z": ("11", 1)}


@pytest.mark.parametrize(
    ("arrival", "last", "first", "old", "new"),
    [
        ("2028-03-01T00:00:01Z", "2028-02-29T23:59:59.999Z", "2028-03-01T00:00:00Z", "2028-02", "2028-03"),
        ("2027-03-01T00:00:01Z", "2027-02-28T23:59:59.999Z", "2027-03-01T00:00:00Z", "2027-02", "2027-03"),
        ("2027-01-01T00:00:01Z", "2026-12-31T23:59:59.999Z", "2027-01-01T00:00:00Z", "2026-12", "2027-01"),
        ("2026-05-01T00:00:01Z", "2026-04-30T23:59:59.999Z", "2026-05-01T00:00:00Z", "2026-04", "2026-05"),
    ],
)
def test_a_months_last_millisecond_and_the_next_ones_first_are_two_months(
    arrival: str, last: str, first: str, old: str, new: str
) -> None:
    ledger = Ledger()
    ledger.count(arrival, paid(1, "1", first), paid(2, "2", last))
    assert ledger.months() == {f"month|{old}-01T00:00:00Z": ("2", 1), f"month|{new}-01T00:00:00Z": ("1", 1)}


@pytest.mark.parametrize(
    ("time", "hour", "day"),
    [
        # Berlin sets its clocks back on 25 October 2026: 02:30 comes twice, an hour apart.
        ("2026-10-25T02:30:00+02:00", "2026-10-25T00:00:00Z", "2026-10-25T00:00:00Z"),
        ("2026-10-25T02:30:00+01:00", "2026-10-25T01:00:00Z", "2026-10-25T00:00:00Z"),
        # The day there begins at 22:00 of the day before in UTC, which is what windows are cut by.
        ("2026-10-25T00:30:00+02:00", "2026-10-24T22:00:00Z", "2026-10-24T00:00:00Z"),
        # And forward on 29 March: 01:59:59.999 is followed by 03:00.
        ("2026-03-29T01:59:59.999+01:00", "2026-03-29T00:00:00Z", "2026-03-29T00:00:00Z"),
        ("2026-03-29T03:00:00+02:00", "2026-03-29T01:00:00Z", "2026-03-29T00:00:00Z"),
    ],
)
def test_an_hour_that_comes_twice_or_never_is_told_by_its_offset(time: str, hour: str, day: str) -> None:
    ledger = Ledger()
    ledger.count(f"{time[:10]}T12:00:00Z", paid(1, "1", time))
    month = f"{day[:7]}-01T00:00:00Z"
    wanted = {f"hour|{hour}", f"day|{day}", f"month|{month}", "lifetime|1970-01-01T00:00:00Z"}
    assert set(ledger.spend) == wanted


@pytest.mark.parametrize(
    ("time", "windows"),
    [
        # While it is 10:30 on 21 November 2026: 72 hours before 10:00, 62 days before that day, 25 months before that
        # month; and the last millisecond before each.
        ("2026-11-18T10:00:00Z", {"hour|2026-11-18T10", "day|2026-11-18T00", "month|2026-11-01T00"}),
        ("2026-11-18T09:59:59.999Z", {"day|2026-11-18T00", "month|2026-11-01T00"}),
        ("2026-09-20T00:00:00Z", {"day|2026-09-20T00", "month|2026-09-01T00"}),
        ("2026-09-19T23:59:59.999Z", {"month|2026-09-01T00"}),
        ("2024-10-01T00:00:00Z", {"month|2024-10-01T00"}),
        ("2024-09-30T23:59:59.999Z", set()),
    ],
)
def test_an_event_counts_in_the_windows_that_are_held_to_the_millisecond(time: str, windows: set[str]) -> None:
    ledger = Ledger()
    ledger.count("2026-11-21T10:30:00Z", paid(1, "1", time))
    assert ledger.spend == {f"{window}:00:00Z": ("1", 1) for window in {*windows, "lifetime|1970-01-01T00"}}


def test_both_passes_of_an_hour_that_comes_twice_are_counted() -> None:
    ledger = Ledger()
    ledger.count(
        "2026-10-25T12:00:00Z",
        *(paid(n, "1", f"2026-10-25T02:30:00{offset}") for n, offset in enumerate(("+02:00", "+01:00"))),
    )
    assert ledger.spend["hour|2026-10-25T00:00:00Z"] == ("1", 1)
    assert ledger.spend["hour|2026-10-25T01:00:00Z"] == ("1", 1)
    assert ledger.spend["day|2026-10-25T00:00:00Z"] == ("2", 2)


@pytest.mark.parametrize(
    ("tokens", "usd"),
    [
        # A token costs 0.5 picodollars: ties go to the even neighbour.
        (1, "0"),
        (2, "0.000000000001"),
        (3, "0.000000000002"),
        (5, "0.000000000002"),
        (7, "0.000000000004"),
    ],
)
def test_half_a_picodollar_goes_to_the_even_neighbour(tokens: int, usd: str) -> None:
    price = PriceRecord.model_validate(
        {
            "provider": "openai",
            "model": "gpt-4o",
            "rates": [{"dimension": "input_tokens", "usd": "0.000001", "per": "2000000"}],
            "effective_from": "2026-01-01T00:00:00Z",
            "source": "test",
        }
    )
    ledger = Ledger(prices=BOOK.with_prices([price]))
    now = "2026-11-21T10:00:00Z"
    # The compiled core learns the price by the first event, which costs nothing.
    ledger.count(now, event("e0", USER, time=now, data={"usage": {"input_tokens": 0}}))
    ledger.count(now, event("e1", USER, time=now, data={"usage": {"input_tokens": tokens}}))
    assert ledger.spend["hour|2026-11-21T10:00:00Z"] == (usd, 2)


def test_any_order_in_any_batches_leaves_every_window_equal() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rnd = random.Random(seed)
    # Over a leap day, a month's end and the horizon of the hours, all of them before the arrival.
    arrival = "2028-03-02T12:00:00Z"
    start = parse_instant("2028-01-20T00:00:00Z")
    events = []
    for number in range(120):
        time = format_instant(start + rnd.randrange(42 * 24 * 60 * 60 * 1000))
        events.append(paid(number, f"0.{rnd.randrange(1, 10**6):06d}", time))
    first: dict[str, tuple[str, int]] | None = None
    for _ in range(6):
        rnd.shuffle(events)
        ledger = Ledger()
        at = 0
        while at < len(events):
            size = rnd.randrange(1, 60)
            ledger.count(arrival, *events[at : at + size])
            at += size
        while ledger.stage.pending():
            ledger.write(parse_instant(arrival))
        first = first or ledger.spend
        assert ledger.spend == first
    assert first is not None
    assert first["lifetime|1970-01-01T00:00:00Z"][1] == 120
    for kind in ("day", "month"):
        assert sum(count for key, (_, count) in first.items() if key.startswith(kind)) == 120


def test_a_present_window_that_an_event_of_the_next_one_closed_is_still_decided() -> None:
    ledger = Ledger({"scope": f"user/{USER}", "limit": "10", "window": "hour"})
    ledger.count("2026-11-21T10:58:00Z", paid(1, "1", "2026-11-21T11:02:00Z"))
    assert ledger.flags == []
    ledger.count("2026-11-21T10:58:01Z", paid(2, "10", "2026-11-21T10:57:00Z"))
    assert ledger.flags == [("blocked", "10")]
