"""Sums and shares of the story, to the last 10⁻¹²: from the worker's sums where it holds them, else from events."""

import pytest
from tests.integration.numbers.story import NOW

from tollgate.console.numbers import EVERYTHING, BadQuestionError, Numbers, Restriction, Share
from tollgate.domain.windows import DAY_MS, HOUR_MS
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.scopes import Dimension
from tollgate.schemas.vocabulary import WindowKind

pytestmark = pytest.mark.integration


def at(text: str) -> int:
    """`at("11-02")` is midnight of that day of 2026; `at("11-02T10")` ten hours later."""
    day, _, hour = text.partition("T")
    return parse_instant(f"2026-{day}T{hour or '00'}:00:00Z")


NOVEMBER = (at("11-01"), at("12-01"))


async def test_a_sum_of_the_worker_is_as_it_wrote_it(numbers: Numbers) -> None:
    found = await numbers.spend_of("user/bob", WindowKind.MONTH, at("11-01"))
    assert found is not None
    assert found.model_dump(mode="json") == {
        "scope": "user/bob",
        "window": {
            "kind": "month",
            "start": "2026-11-01T00:00:00Z",
            "end": "2026-12-01T00:00:00Z",
            "timezone": "UTC",
        },
        "spent_usd": "8.25",
        "retail_usd": "1",
        "usage": {"images": "3", "video_seconds": "2.5"},
        "events": 2,
        "reserved_usd": "0",
        "revenue_usd": "0",
        "updated_at": NOW,
    }
    assert await numbers.spend_of("user/nobody", WindowKind.MONTH, at("11-01")) is None


async def test_days_include_their_first_instant_and_those_without_events(numbers: Numbers) -> None:
    days = (await numbers.daily(EVERYTHING, at("10-31"), at("11-04"))).items
    assert [(day.start_ms, day.cost_usd, day.retail_usd, day.events) for day in days] == [
        (at("10-31"), "2", "3", 1),
        (at("11-01"), "4.5", "5", 1),
        (at("11-02"), "0.25", "1", 1),
        (at("11-03"), "0", "0", 0),
    ]
    assert days[2].usage == {"images": "3"}


async def test_a_day_that_the_worker_no_longer_holds_is_summed_from_events(numbers: Numbers) -> None:
    days = (await numbers.daily(EVERYTHING, at("01-09"), at("01-12"))).items
    assert [day.cost_usd for day in days] == ["0", "1.000000000001", "0"]
    assert days[1].usage == {"input_tokens": "100", "output_tokens": "10"}


async def test_a_series_over_both_is_one_series(numbers: Numbers) -> None:
    days = (await numbers.daily(EVERYTHING, at("01-10"), at("11-30"))).items
    assert len(days) == 324
    assert {day.start_ms: day.cost_usd for day in days if day.events} == {
        at("01-10"): "1.000000000001",
        at("10-31"): "2",
        at("11-01"): "4.5",
        at("11-02"): "0.25",
        at("11-28"): "24",
        at("11-29"): "32.100000000001",
    }


async def test_hours_of_today_and_of_the_past(numbers: Numbers) -> None:
    today = (await numbers.hourly(EVERYTHING, at("11-29"), at("11-30"))).items
    assert {(hour.start_ms - at("11-29")) // HOUR_MS: hour.cost_usd for hour in today if hour.events} == {
        9: "0.000000000001",
        10: "32.1",
    }
    past = (await numbers.hourly(EVERYTHING, at("10-31T22"), at("11-01T02"))).items
    assert [hour.cost_usd for hour in past] == ["0", "2", "4.5", "0"]


async def test_a_range_that_cuts_windows_has_what_is_within_it(numbers: Numbers) -> None:
    cut = (await numbers.daily(EVERYTHING, at("11-28T11"), at("11-29T10"))).items
    assert [day.cost_usd for day in cut] == ["16", "0.000000000001"]


async def test_months(numbers: Numbers) -> None:
    months = (await numbers.monthly(EVERYTHING, at("01-01"), at("12-01"))).items
    assert [month.cost_usd for month in months] == [
        "1.000000000001", *["0"] * 8, "2", "60.850000000001",
    ]  # fmt: skip


async def test_the_last_trillionth_is_there_however_it_is_asked_for(numbers: Numbers) -> None:
    for from_ms, to_ms in (NOVEMBER, (at("11-01"), at("11-30")), (at("11-01"), at("11-29T12"))):
        found = await numbers.breakdown(EVERYTHING, Dimension.SERVICE, from_ms, to_ms, 10)
        assert found.total.cost_usd == "60.850000000001"
        assert [(share.name, share.cost_usd, share.events) for share in found.items] == [
            ("images", "32.35", 2),
            ("chat", "20.500000000001", 4),
            ("video", "8", 1),
        ]
        assert found.rest is None


async def test_shares_are_percent_of_the_whole_rounded_down(numbers: Numbers) -> None:
    found = await numbers.breakdown(EVERYTHING, Dimension.SERVICE, *NOVEMBER, 10)
    assert [share.percent for share in found.items] == ["53.16", "33.68", "13.14"]


async def test_events_without_a_name_are_a_share_without_a_name(numbers: Numbers) -> None:
    for to_ms in (at("12-01"), at("11-29T12")):
        found = await numbers.breakdown(EVERYTHING, Dimension.AGENT, at("11-01"), to_ms, 10)
        assert [(share.name, share.cost_usd, share.events) for share in found.items] == [
            ("", "56.35", 5),
            ("SEO", "4.500000000001", 2),
        ]


async def test_what_is_over_the_limit_is_the_rest(numbers: Numbers) -> None:
    for restriction, scope in ((EVERYTHING, "global"), (Restriction(org="globex"), "service/chat")):
        found = await numbers.breakdown(restriction, Dimension.MODEL, *NOVEMBER, 1, scope)
        if scope == "global":
            assert found.items == [Share("dall-e", "32.35", "41", 2, "53.16")]
            assert found.rest == Share("", "28.500000000001", "25", 5, "46.83")
        else:
            assert found.items == [Share("gpt-4o", "16", "20", 1, "99.99")]
            assert found.rest == Share("", "0.000000000001", "0", 1, "0.00")


async def test_an_empty_range_has_no_shares_and_no_division_by_zero(numbers: Numbers) -> None:
    for restriction in (EVERYTHING, Restriction(org="acme"), Restriction(user="ann", org="globex")):
        found = await numbers.top(restriction, Dimension.USER, at("03-01"), at("04-01"), 10)
        assert (found.items, found.rest, found.total) == ([], None, Share("", "0", "0", 0, "0.00"))


async def test_top_users(numbers: Numbers) -> None:
    found = await numbers.top(EVERYTHING, Dimension.USER, *NOVEMBER, 2)
    assert [(share.name, share.cost_usd) for share in found.items] == [("eve", "48.100000000001"), ("bob", "8.25")]
    assert found.rest is not None
    assert found.rest.cost_usd == "4.5"


async def test_the_workers_sums_and_the_events_are_equal(numbers: Numbers) -> None:
    # The same days, once in whole windows and once not: one answer is the worker's, the other that of the events.
    aligned = await numbers.daily(EVERYTHING, at("10-31"), at("11-30"))
    cut = await numbers.daily(EVERYTHING, at("10-31"), at("11-29T12"))
    assert [day.cost_usd for day in aligned.items] == [day.cost_usd for day in cut.items]
    assert [day.usage for day in aligned.items] == [day.usage for day in cut.items]


async def test_the_sink_says_how_far_it_has_come(numbers: Numbers) -> None:
    assert await numbers.written_to() == NOW


async def test_a_question_that_makes_no_sense_is_refused_before_it_is_asked(filled: Settings) -> None:
    # Nothing listens there.
    away = Numbers(filled.model_copy(update={"clickhouse_url": "http://127.0.0.1:1"}))
    for ask in (
        lambda: away.daily(EVERYTHING, at("11-02"), at("11-02")),
        lambda: away.daily(EVERYTHING, at("11-02"), at("11-01")),
        lambda: away.daily(EVERYTHING, -DAY_MS, at("11-01")),
        lambda: away.hourly(EVERYTHING, at("01-01"), at("11-01")),
        lambda: away.daily(EVERYTHING, at("11-01"), at("11-02"), "users/ann"),
        lambda: away.breakdown(EVERYTHING, Dimension.MODEL, *NOVEMBER, 0),
        lambda: away.breakdown(EVERYTHING, Dimension.MODEL, *NOVEMBER, 1001),
    ):
        with pytest.raises(BadQuestionError):
            await ask()
