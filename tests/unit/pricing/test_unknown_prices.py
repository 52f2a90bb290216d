"""An unknown price is never nothing, and never a way to exhaust the memory."""

import pytest
from tests.unit.pricing.events import NOW, M, cost, event, price_record

from tollgate.domain.pricing import Pricer
from tollgate.domain.pricing.pricer import _KEYS_MAX


@pytest.mark.parametrize(
    ("subject", "usage", "usd", "price_id"),
    [
        # o1-pro is the dearest of OpenAI's list: 150 and 600 per million. It has no price for cached tokens.
        ("openai/gpt-99", {"input_tokens": M}, "150", "fallback/openai"),
        ("openai/gpt-99", {"output_tokens": M}, "600", "fallback/openai"),
        ("openai/gpt-99", {"input_tokens": M, "cached_input_tokens": M}, "150", "fallback/openai"),
        ("openai/gpt-99", {"input_tokens": M, "requests": 9}, "150", "fallback/openai"),
        ("openai/gpt-99", {"images": 2}, "0.24", "fallback/openai"),
        ("runway/gen-9", {"video_seconds": 10}, "0.5", "fallback/runway"),
        ("bfl/flux-9", {"images": 1}, "0.06", "fallback/bfl"),
        # Runway has no price for images, so the configured one holds.
        ("runway/gen-9", {"images": 1}, "0.12", "fallback/runway"),
        ("nobody/model", {"input_tokens": M, "output_tokens": M}, "90", "fallback/default"),
        ("nobody/model", {"total_tokens": M}, "75", "fallback/default"),
        ("nobody/model", {"images": 1}, "0.12", "fallback/default"),
        ("nobody/model", {"sheep": 3}, "0.003", "fallback/default"),
        ("nobody/model", {"sheep": "0.5"}, "0.0005", "fallback/default"),
        ("/model", {"input_tokens": M}, "15", "fallback/default"),
    ],
)
def test_an_unknown_model_is_charged_by_the_dearest_known_price(
    pricer: Pricer, subject: str, usage: dict[str, int | str], usd: str, price_id: str
) -> None:
    data = event(subject, usage, agent="" if subject[0] != "/" else "SEO")
    quote = pricer.price(data, NOW)
    assert cost(pricer, data) == usd
    assert (quote.status, quote.price_id) == ("unpriced", price_id)


def test_an_unknown_agent_is_charged_like_the_dearest_one(pricer: Pricer) -> None:
    data = event(usage={"input_tokens": 600, "output_tokens": 400}, agent="NOBODY")
    quote = pricer.price(data, NOW)
    assert cost(pricer, data) == "0.07"
    assert (quote.status, quote.price_id) == ("unpriced", "fallback/agent")


def test_a_model_without_a_provider_is_found_by_its_name(pricer: Pricer) -> None:
    assert cost(pricer, event("/gpt-4o", {"input_tokens": 1000}, agent="SEO")) == "0.0025"


def test_a_size_nobody_sells_is_unpriced(pricer: Pricer) -> None:
    data = event("openai/dall-e-3", {"images": 1}, options={"size": "4096x4096"})
    assert cost(pricer, data) == "0.12"
    assert pricer.price(data, NOW).status == "unpriced"


def test_a_model_listed_without_a_price_is_unpriced_unless_it_is_named_free(pricer: Pricer) -> None:
    assert pricer.price(event("github-copilot/gpt-4o", {"input_tokens": 1}), NOW).status == "unpriced"
    assert pricer.price(event("openrouter/deepseek/deepseek-r1:free", {"input_tokens": 1}), NOW).status == "free"


def test_a_dimension_that_a_known_price_does_not_cover_is_charged_and_marked(pricer: Pricer) -> None:
    known = pricer.price(event("openai/gpt-4o", {"input_tokens": 1000}), NOW)
    data = event("openai/gpt-4o", {"input_tokens": 1000, "images": 1})
    quote = pricer.price(data, NOW)
    assert cost(pricer, data) == "0.1225"
    assert (quote.status, quote.price_id) == ("unpriced", f"{known.price_id}+fallback/openai")


@pytest.mark.parametrize("usage", [{"requests": 7}, {"total_tokens": 1300}, {"images": 0}, {"sheep": 0}])
def test_information_and_nothing_do_not_make_an_event_unpriced(pricer: Pricer, usage: dict[str, int | str]) -> None:
    quote = pricer.price(event("openai/gpt-4o", {"input_tokens": 1000, "output_tokens": 300, **usage}), NOW)
    assert (quote.cost_picousd, quote.status) == (5_500_000_000, "priced")


def test_a_total_alone_is_charged_like_output_and_marked(pricer: Pricer) -> None:
    data = event("openai/gpt-4o", {"total_tokens": M})
    assert cost(pricer, data) == "600"
    assert pricer.price(data, NOW).status == "unpriced"


@pytest.mark.parametrize(
    ("subject", "usd"), [("openai/text-embedding-3-small", "0.02"), ("voyageai/voyage-3.5", "0.06")]
)
def test_a_total_alone_is_charged_at_the_only_rate_of_a_model(pricer: Pricer, subject: str, usd: str) -> None:
    data = event(subject, {"total_tokens": M})
    assert (cost(pricer, data), pricer.price(data, NOW).status) == (usd, "priced")


@pytest.mark.parametrize("usage", [{"requests": 2}, {"requests": 2, "input_tokens": 0}])
def test_calls_of_which_nothing_else_is_known_are_unpriced(pricer: Pricer, usage: dict[str, int | str]) -> None:
    # A call is taken to cost what a message does, 0.075.
    data = event("openai/gpt-4o", usage)
    assert (cost(pricer, data), pricer.price(data, NOW).status) == ("0.15", "unpriced")


def test_calls_are_charged_where_a_price_names_them(pricer: Pricer) -> None:
    per_call = pricer.with_prices([price_record({"requests": "0.5"})])
    data = event("openai/gpt-4o", {"requests": 2})
    assert (cost(per_call, data), per_call.price(data, NOW).status) == ("1", "priced")


def test_a_price_of_one_dimension_leaves_the_others_as_they_were(pricer: Pricer) -> None:
    normal = event("openai/gpt-4o", {"input_tokens": 1200, "cached_input_tokens": 1000, "output_tokens": 300})
    film = event("openai/gpt-4o", {"input_tokens": 1000, "video_seconds": 3})
    before = pricer.price(normal, NOW)
    assert pricer.price(film, NOW).status == "unpriced"
    record = price_record({"video_seconds": "0.1"})
    after = pricer.with_prices([record])
    assert after.price(normal, NOW) == before
    quote = after.price(film, NOW)
    # 1,000 x 2.50 per million and 3 x 0.1; the ids of both prices.
    assert (quote.cost_picousd, quote.status) == (302_500_000_000, "priced")
    assert quote.price_id == f"{record.id}+{before.price_id}"
    assert after.price(event("openai/gpt-4o", {"video_seconds": 3}), NOW).price_id == record.id


def test_prices_of_several_dimensions_set_one_after_the_other_all_hold(pricer: Pricer) -> None:
    records = [
        price_record({"video_seconds": "0.1"}),
        price_record({"sheep": "2"}, effective_from="2026-02-01T00:00:00Z"),
        price_record({"video_seconds": "0.2"}, effective_from="2026-03-01T00:00:00Z"),
    ]
    data = event("openai/gpt-4o", {"video_seconds": 1, "sheep": 1, "input_tokens": M})
    quote = pricer.with_prices(records).price(data, NOW)
    assert (quote.cost_picousd, quote.status) == (4_700_000_000_000, "priced")
    assert quote.price_id.startswith(f"{records[2].id}+{records[1].id}+openai/gpt-4o@genai")


def test_a_cached_token_keeps_its_list_price_when_the_input_gets_another(pricer: Pricer) -> None:
    dearer = pricer.with_prices([price_record({"input_tokens": "5 per 1000000"})])
    data = event("openai/gpt-4o", {"input_tokens": 2 * M, "cached_input_tokens": M})
    assert cost(dearer, data) == "6.25"


def test_a_price_that_comes_later_ends_it(pricer: Pricer) -> None:
    data = event("openai/gpt-99", {"input_tokens": M})
    record = price_record({"input_tokens": "2 per 1000000"}, model="gpt-99")
    quote = pricer.with_prices([record]).price(data, NOW)
    assert (quote.cost_picousd, quote.status, quote.price_id) == (2 * 10**12, "priced", record.id)
    assert pricer.price(data, NOW).status == "unpriced"


def test_a_run_time_price_may_be_the_dearest_of_its_provider(pricer: Pricer) -> None:
    dear = pricer.with_prices([price_record({"input_tokens": "1 per 1000"}, model="gpt-dear")])
    assert cost(dear, event("openai/gpt-99", {"input_tokens": M})) == "1000"


def test_what_is_remembered_of_names_is_bounded(book: object, pricer: Pricer) -> None:
    fresh = pricer.with_prices([])
    known = event("openai/gpt-4o", {"input_tokens": 1000})
    assert cost(fresh, known) == "0.0025"
    for i in range(_KEYS_MAX * 3):
        fresh.price(event(f"nobody/{i}", {"input_tokens": 1}), NOW)
        fresh.price(known, NOW)
    assert len(fresh._young) <= _KEYS_MAX
    assert len(fresh._old) <= _KEYS_MAX
    assert ("openai", "gpt-4o", "inclusive") in fresh._young


def test_options_that_change_no_price_take_no_memory(pricer: Pricer) -> None:
    fresh = pricer.with_prices([])
    for i in range(50):
        fresh.price(event("openai/gpt-4o", {"input_tokens": 1}, options={f"colour_{i}": str(i)}), NOW)
    assert list(fresh._young) == [("openai", "gpt-4o", "inclusive")]


@pytest.mark.parametrize(
    "name", ["*", "[", "gpt-4o\u202e", "a" * 256, "../../etc/passwd", "gpt-4o%00", "(((((((((((((((", "-20251399" * 28]
)
def test_a_hostile_name_is_an_unknown_name(pricer: Pricer, name: str) -> None:
    quote = pricer.price(event(f"nobody/{name}", {"input_tokens": M}), NOW)
    assert (quote.cost_picousd, quote.price_id) == (15 * 10**12, "fallback/default")
    assert pricer.price(event(f"{name.replace('/', '')}/x", {"input_tokens": M}), NOW).cost_picousd > 0
