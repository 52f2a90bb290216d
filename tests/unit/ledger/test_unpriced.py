"""The alert of what lacks a price: what it names, and what its command sets when it is followed to the letter."""

import shlex

from tests.support.usage import TIME_MS, event
from tests.unit.ledger.test_users import BOOK, USER, Bench, values

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.pricing import Pricer
from tollgate.ledger import Policy
from tollgate.schemas.control import PriceRecord
from tollgate.schemas.outputs import Alert
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventData

FILM = {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1000, "video_seconds": 3}}


def record_set_by(command: str, usd: str) -> PriceRecord:
    """What the command sets, with the placeholder filled in and nothing else changed."""
    words = shlex.split(command)
    assert words[:3] == ["tollgate", "price", "set"]
    provider, _, model = words[3].partition("/")
    flags = list(zip(words[4::2], words[5::2], strict=True))
    rates = [value.replace("USD", usd) for flag, value in flags if flag == "--rate"]
    return PriceRecord.model_validate(
        {
            "provider": provider,
            "model": model,
            "rates": [
                {"dimension": d, "usd": usd, "per": "1000000" if rest.endswith("/1M") else "1"}
                for d, _, rest in (rate.partition("=") for rate in rates)
            ],
            "options": dict(value.split("=", 1) for flag, value in flags if flag == "--option"),
            "effective_from": "2026-11-01T00:00:00Z",
        }
    )


def test_the_alert_names_what_lacks_a_price_and_its_advice_changes_nothing_else() -> None:
    bench = Bench()
    bench.send(event("e1", USER), event("e2", USER, data=FILM))
    first = bench.write()
    normal, film = values(first, Topic.PRICED)
    assert (normal["price_status"], film["price_status"]) == ("priced", "unpriced")
    (alert,) = values(first, Topic.ALERTS)
    assert alert["dimensions"] == ["video_seconds"]
    assert alert["reason"].startswith("no price is known for video_seconds of openai/gpt-4o: ")
    Alert.model_validate(alert)
    command = alert["reason"].partition("in place of USD: ")[2]
    assert command == "tollgate price set openai/gpt-4o --rate video_seconds=USD"
    book = BOOK.with_prices([record_set_by(command, "0.1")])
    bench.stage.set_policy(Policy(BudgetBook(), lambda: Pricer(book)))
    bench.send(event("e3", USER), event("e4", USER, data=FILM))
    second = bench.write()
    again, priced = values(second, Topic.PRICED)
    assert (again["cost_usd"], again["price_id"]) == (normal["cost_usd"], normal["price_id"])
    # 1,000 x 2.50 per million and 3 x 0.1.
    assert (priced["cost_usd"], priced["price_status"]) == ("0.3025", "priced")
    assert [a["level"] for a in values(second, Topic.ALERTS)] == ["resolved"]


def test_another_dimension_without_a_price_is_told_too_and_a_third_of_the_same_is_not() -> None:
    bench = Bench()
    bench.send(event("e1", USER, data=FILM))
    bench.write()
    bench.send(event("e2", USER, data=FILM | {"usage": {"sheep": 1}}))
    (alert,) = values(bench.write(), Topic.ALERTS)
    assert alert["dimensions"] == ["video_seconds", "sheep"]
    bench.send(event("e3", USER, data=FILM | {"usage": {"sheep": 7, "video_seconds": 1}}))
    assert values(bench.write(), Topic.ALERTS) == []
    price = record_set_by("tollgate price set openai/gpt-4o --rate video_seconds=USD", "0.1")
    book = BOOK.with_prices([price])
    bench.stage.set_policy(Policy(BudgetBook(), lambda: Pricer(book)))
    (left,) = values(bench.write(TIME_MS + 1), Topic.ALERTS)
    assert (left["level"], left["dimensions"]) == ("warning", ["sheep"])


def test_the_advice_names_the_options_that_a_price_depends_on_and_quotes_every_name() -> None:
    bench = Bench()
    odd = {"provider": "openai", "model": "dall-e-3", "usage": {"images": 1}, "options": {"size": "7x7"}}
    hostile = {"provider": "openai", "model": "u$(touch x)`'", "usage": {"images": 1}}
    bench.send(event("e1", USER, data=odd), event("e2", USER, data=hostile))
    first, second = (a["reason"].partition("in place of USD: ")[2] for a in values(bench.write(), Topic.ALERTS))
    assert first == "tollgate price set openai/dall-e-3 --rate images=USD --option size=7x7"
    assert shlex.split(second) == ["tollgate", "price", "set", "openai/u$(touch x)`'", "--rate", "images=USD"]
    book = BOOK.with_prices([record_set_by(first, "0.5")])
    usual = EventData(provider="openai", model="dall-e-3", usage={"images": 1})
    assert Pricer(book).price(usual, TIME_MS).cost_picousd == 40_000_000_000


def test_the_advice_for_an_unknown_model_asks_for_input_and_output() -> None:
    bench = Bench()
    bench.send(event("e1", USER, data={"provider": "openai", "model": "gpt-99", "usage": {"cached_input_tokens": 1}}))
    (alert,) = values(bench.write(), Topic.ALERTS)
    assert alert["reason"].endswith("gpt-99 --rate input_tokens=USD/1M --rate output_tokens=USD/1M")
