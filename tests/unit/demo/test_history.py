"""The invented month: what is in it, and that it is the same whenever it is made."""

import json
from collections import Counter
from datetime import UTC, date, datetime

from tollgate.demo import OVERSPENDER, USERS, HistoryEvent, days_before, events_of
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.schemas.amounts import PICO
from tollgate.schemas.instants import to_ms
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event

TODAY = date(2026, 11, 21)
SATURDAY = date(2026, 11, 14)
MONDAY = date(2026, 11, 16)


def month() -> list[HistoryEvent]:
    return [event for day in days_before(TODAY) for event in events_of(day)]


def read(event: HistoryEvent) -> EventRecord:
    decoded = decode_usage_event(json.dumps(event.event).encode())
    assert isinstance(decoded, EventRecord), decoded
    return decoded


def test_a_day_is_the_same_whenever_it_is_made() -> None:
    assert list(events_of(MONDAY)) == list(events_of(MONDAY))


def test_a_day_does_not_depend_on_the_days_before_it() -> None:
    tomorrow = [event for day in days_before(date(2026, 11, 22)) for event in events_of(day)]
    assert tomorrow[:-220] == [event for event in month() if event.time_ms >= tomorrow[0].time_ms]


def test_an_id_has_its_day_and_its_number_in_the_day() -> None:
    ids = [event.event["id"] for event in events_of(MONDAY)]
    assert ids[0] == "history-2026-11-16-0000"
    assert ids[-1] == "history-2026-11-16-0479"


def test_thirty_days_before_a_saturday_have_12160_events_of_different_ids() -> None:
    # 22 working days of 480, four Saturdays of 220 and four Sundays of 180.
    assert len({event.event["id"] for event in month()}) == 12_160


def test_the_history_ends_before_today_and_begins_thirty_days_earlier() -> None:
    times = [event.time_ms for event in month()]
    assert min(times) >= to_ms(datetime(2026, 10, 22, tzinfo=UTC))
    assert max(times) < to_ms(datetime(2026, 11, 21, tzinfo=UTC))


def test_a_days_events_are_in_order_of_time_and_within_the_day() -> None:
    times = [event.time_ms for event in events_of(SATURDAY)]
    assert times == sorted(times)
    assert len(times) == 220
    assert to_ms(datetime(2026, 11, 14, tzinfo=UTC)) <= times[0]
    assert times[-1] < to_ms(datetime(2026, 11, 15, tzinfo=UTC))


def test_more_happens_at_noon_than_at_night() -> None:
    hours = Counter(event.time_ms // 3_600_000 % 24 for event in month())
    assert sum(hours[hour] for hour in range(9, 17)) > 5 * sum(hours[hour] for hour in range(6))


def test_all_forty_users_take_part_and_the_busiest_makes_a_tenth_of_all_calls() -> None:
    calls = Counter(event.user for event in month())
    assert len(calls) == len(USERS) == 40
    assert OVERSPENDER in calls
    assert 1_000 < max(calls.values()) < 3_000


def test_every_provider_and_every_agent_of_the_shipped_tables_is_there() -> None:
    events = [read(event) for event in month()]
    assert {event.data.provider for event in events} == {
        *("", "anthropic", "aws", "bfl", "cloudflare", "elevenlabs", "fly.io", "google", "groq", "huggingface", "luma"),
        *("midjourney", "mistral", "novita", "openai", "pika", "replicate", "runway", "stability", "temporal"),
    }
    assert {event.data.agent for event in events} == {
        *("", "AD", "BRAND_VOICE", "CONTENT", "DESIGN", "EMAIL", "GOAL_PLANNER", "INSIGHT", "OUTREACH"),
        *("PATTERN_MINER", "SEGMENT_ANALYZER", "SEO", "SOCIAL", "SUPPORT", "TREND"),
    }


def test_every_price_is_known_and_the_month_costs_less_than_the_companys_budget() -> None:
    pricer = Pricer(load_price_book())
    cost_picousd = 0
    by_status: Counter[str] = Counter()
    for event in map(read, month()):
        quote = pricer.price(event.data, event.time_ms)
        by_status[quote.status] += 1
        cost_picousd += quote.cost_picousd
    assert set(by_status) == {"priced", "free"}
    # A tenth of the weight lies on free offers and failed calls.
    assert 700 < by_status["free"] < 1_300
    assert 600 * PICO < cost_picousd < 1_100 * PICO


def test_two_calls_in_a_hundred_fail_and_the_cancelled_ones_are_billed() -> None:
    failed = [event for event in map(read, month()) if event.data.status != "success"]
    assert 120 < len(failed) < 320
    assert {(event.data.status, event.data.billed) for event in failed} == {
        ("error", False),
        ("rate_limited", False),
        ("cancelled", True),
    }
