"""Single events: filters, and pages that neither skip nor repeat."""

import pytest
from clickhouse_connect.driver.client import Client
from tests.integration.numbers.ledger import Event, insert
from tests.integration.numbers.story import NOW
from tests.integration.numbers.test_sums import at

from tollgate.console.numbers import EVERYTHING, BadQuestionError, EventFilter, Numbers, Range, Restriction
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import EventStatus, PriceStatus
from tollgate.schemas.scopes import Dimension

pytestmark = pytest.mark.integration


async def ids(numbers: Numbers, wanted: EventFilter, restriction: Restriction = EVERYTHING) -> str:
    """The ids of the first page, the newest first."""
    return " ".join(event.event_id for event in (await numbers.events(restriction, wanted, 100)).items)


async def test_all_events_the_newest_first_each_once(numbers: Numbers) -> None:
    assert await ids(numbers, EventFilter()) == "a4 e3 e2 e1 b2 b1 a3 a2 a1"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (EventFilter({Dimension.USER: "ann"}), "a4 a3 a2 a1"),
        (EventFilter({Dimension.MODEL: "gpt-4o", Dimension.ORG: "acme"}), "a3 a2 a1"),
        (EventFilter({Dimension.AGENT: "SEO"}), "e2 a3 a2"),
        (EventFilter(within=Range(at("10-31"), at("11-02T10"))), "a3 a2"),
        (EventFilter(within=Range(at("11-01"), at("11-29"))), "e1 b2 b1 a3"),
        (EventFilter(event_id="b1"), "b1"),
        (EventFilter(source="other"), ""),
        (EventFilter(status=EventStatus.ERROR), ""),
        (EventFilter(price_status=PriceStatus.PRICED, by={Dimension.USER: "bob"}), "b2 b1"),
        (EventFilter(price_status=PriceStatus.UNPRICED), ""),
    ],
)
async def test_a_filter_leaves_what_has_all_that_it_names(numbers: Numbers, wanted: EventFilter, found: str) -> None:
    assert await ids(numbers, wanted) == found


async def test_an_event_has_all_its_columns(numbers: Numbers) -> None:
    (event,) = (await numbers.events(EVERYTHING, EventFilter(event_id="b2"), 10)).items
    assert event.model_dump() == {
        "time": "2026-11-28T10:00:00Z", "event_id": "b2", "source": "test", "kind": "usage", "user": "bob",
        "org": "acme", "service": "video", "provider": "", "model": "gen-3", "agent": "", "campaign": "", "feature": "",
        "product": "", "operation": "", "status": "success", "latency_ms": None, "resource_type": "",
        "resource_id": "", "request_id": "", "usage": {"video_seconds": "2.5"}, "options": {}, "cost_usd": "8",
        "retail_usd": "0", "price_id": "p", "price_status": "priced", "source_partition": 0, "source_offset": 4,
        "metadata": "{}",
    }  # fmt: skip


async def test_pages_neither_skip_nor_repeat_whatever_arrives_between(
    filled: object, numbers: Numbers, client: Client
) -> None:
    # Forty events of one instant, so that the time alone does not tell where a page ended.
    same = [Event(f"s{number:02}", "2026-11-20T00:00:00Z", "page", "1") for number in range(40)]
    insert(client, "usage_events", [event.row(1000 + number) for number, event in enumerate(same)])
    wanted = EventFilter({Dimension.USER: "page"})
    found, cursor, pages = [], "", 0
    while pages == 0 or cursor:
        page = await numbers.events(EVERYTHING, wanted, 7, cursor)
        found += [event.event_id for event in page.items]
        cursor, pages = page.cursor, pages + 1
        newer = Event(f"t{pages}", "2026-11-21T00:00:00Z", "page", "1")
        insert(client, "usage_events", [newer.row(2000 + pages)])
    assert pages == 6
    assert found == [f"s{number:02}" for number in reversed(range(40))]
    client.command("DELETE FROM usage_events WHERE user = 'page'", settings={"mutations_sync": 2})


@pytest.mark.parametrize(
    "cursor",
    ["x", "é", "a" * 3000, "W10", "WzEsMl0", "bnVsbA", "W1tbW1tbW1tbW10", "WzEuNSwiYSIsImIiLDEsMl0"],
)
async def test_a_cursor_of_somebody_elses_making_is_refused(numbers: Numbers, cursor: str) -> None:
    with pytest.raises(BadQuestionError):
        await numbers.events(EVERYTHING, EventFilter(), 10, cursor)
    with pytest.raises(BadQuestionError):
        await numbers.dead_letters(cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_has_1_to_1000_events(numbers: Numbers, limit: int) -> None:
    with pytest.raises(BadQuestionError):
        await numbers.events(EVERYTHING, EventFilter(), limit)


async def test_a_user_has_a_month_a_lifetime_four_cards_and_their_last_calls(numbers: Numbers) -> None:
    ann = await numbers.user(EVERYTHING, "ann", parse_instant(NOW))
    assert (ann.month.cost_usd, ann.month.events) == ("4.5", 2)
    assert (ann.lifetime.cost_usd, ann.lifetime.retail_usd, ann.lifetime.events) == ("7.500000000001", "10", 4)
    assert [(card.name, card.events, card.amount, card.unit, card.cost_usd) for card in ann.cards] == [
        ("content", 1, "10", "output_tokens", "4.5"),
        ("images", 0, "0", "images", "0"),
        ("videos", 0, "0", "video_seconds", "0"),
        ("chats", 1, "10", "output_tokens", "0"),
    ]
    assert [call.event_id for call in ann.last_calls] == ["a4", "a3", "a2", "a1"]
    # Bob's events name no feature: the cards follow what they made.
    bob = await numbers.user(EVERYTHING, "bob", parse_instant(NOW))
    assert [(card.name, card.events, card.amount) for card in bob.cards] == [
        ("content", 0, "0"), ("images", 1, "3"), ("videos", 1, "2.5"), ("chats", 0, "0"),
    ]  # fmt: skip
    nobody = await numbers.user(EVERYTHING, "nobody", parse_instant(NOW))
    assert (nobody.month.cost_usd, nobody.lifetime.events, nobody.last_calls) == ("0", 0, [])
