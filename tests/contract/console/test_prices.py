"""The room of prices: the list, new prices, and how an event would be priced."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.changing_rooms import API, changing_console, client_of

PRICES = f"{API}/prices"
BODY = {
    "provider": "openai",
    "model": "gpt-4o",
    "rates": [{"dimension": "input_tokens", "usd": "2.00", "per": "1000000"}],
    "effective_from": "2026-11-01T00:00:00Z",
    "reason": "our contract",
}
EVENT = {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1_000_000}}
AT = "2026-11-20T12:00:00Z"


def whole(data: dict[str, Any], time: str = AT) -> dict[str, Any]:
    envelope = {"specversion": "1.0", "type": "tollgate.usage.v1", "source": "s", "id": "e-1", "subject": "u-1"}
    return envelope | {"time": time, "data": data}


async def test_a_price_that_is_set_is_listed_first_and_prices_events() -> None:
    console = changing_console()
    admin = await client_of(console)
    before = (await admin.post(f"{PRICES}/explain", json=whole(EVENT))).json()
    # genai-prices: 2.50 USD per million input tokens.
    assert (before["cost_usd"], before["price_status"]) == ("2.5", "priced")
    made = await admin.put(PRICES, json=BODY)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"'), made.text
    price = made.json()
    assert (price["layer"], price["actor"], price["reason"], price["version"]) == (
        "runtime",
        "token:ada",
        "our contract",
        1,
    )
    assert price["id"].startswith("openai/gpt-4o@2026-11-01#")
    after = (await admin.post(f"{PRICES}/explain", json=whole(EVENT))).json()
    assert (after["cost_usd"], after["price_id"]) == ("2", price["id"])
    assert after["event_id"] == "e-1"
    listed = (await admin.get(PRICES, params={"provider": "OpenAI", "model": "GPT-4o"})).json()["items"]
    assert (listed[0]["id"], listed[0]["layer"]) == (price["id"], "runtime")
    assert any(one["layer"] == "list" and one["model"] == "gpt-4o" for one in listed)
    early = (await admin.get(PRICES, params={"layer": "runtime", "at": "2026-10-31T23:59:59Z"})).json()["items"]
    assert early == []
    removed = await admin.delete(f"{PRICES}/{price['id'].replace('#', '%23')}", headers={"If-Match": '"1"'})
    assert removed.status_code == 204
    again = (await admin.post(f"{PRICES}/explain", json=whole(EVENT))).json()
    assert again["cost_usd"] == "2.5"


async def test_a_price_is_never_changed() -> None:
    console = changing_console()
    admin = await client_of(console)
    price = (await admin.put(PRICES, json=BODY)).json()
    same = await admin.put(PRICES, json=BODY)
    assert (same.status_code, same.json()["version"]) == (200, 1)
    # Another figure is another price.
    dearer = BODY | {"rates": [{"dimension": "input_tokens", "usd": "3", "per": "1000000"}]}
    other = await admin.put(PRICES, json=dearer)
    assert (other.status_code, other.json()["id"] != price["id"]) == (201, True)
    wrong = await admin.put(PRICES, json=dearer | {"id": price["id"]})
    assert (wrong.status_code, wrong.json()["error"]) == (409, "price_exists")
    assert (await admin.put(PRICES, json=dearer | {"id": price["id"]}, headers={"If-Match": '"1"'})).status_code == 409


async def test_a_price_may_be_ended() -> None:
    console = changing_console()
    admin = await client_of(console)
    price = (await admin.put(PRICES, json=BODY)).json()
    ended = BODY | {"effective_to": "2026-12-01T00:00:00+00:00"}
    assert (await admin.put(PRICES, json=ended)).status_code == 428
    answers = await asyncio.gather(*(admin.put(PRICES, json=ended, headers={"If-Match": '"1"'}) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    now = next(answer for answer in answers if answer.status_code == 200).json()
    assert (now["id"], now["effective_to"], now["version"]) == (price["id"], "2026-12-01T00:00:00Z", 2)


async def test_a_repeated_request_sets_one_price() -> None:
    console = changing_console()
    admin = await client_of(console)
    key = {"Idempotency-Key": "k"}
    answers = [await admin.put(PRICES, json=BODY, headers=key) for _ in range(2)]
    assert [answer.json() for answer in answers] == [answers[0].json()] * 2
    reused = await admin.put(PRICES, json=BODY | {"model": "gpt-4o-mini"}, headers=key)
    assert (reused.status_code, reused.json()["error"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rates": []}, "rates"),
        ({"rates": [{"dimension": "input_tokens", "usd": 2}]}, "usd"),
        ({"rates": [{"dimension": "input_tokens", "usd": "-2"}]}, "usd"),
        ({"rates": [{"dimension": "input_tokens", "usd": "2", "pre": "3"}]}, "pre"),
        ({"rates": [{"dimension": "Input Tokens", "usd": "2"}]}, "dimension"),
        ({"rates": [{"dimension": "images", "usd": "2"}] * 2}, "twice"),
        ({"rates": [{"dimension": "images", "usd": "2", "per": "0"}]}, "per"),
        ({"provider": "", "model": ""}, "provider"),
        ({"effective_from": "yesterday"}, "effective_from"),
        ({"effective_from": None}, "effective_from"),
        ({"effective_to": "2026-11-01T00:00:00Z"}, "effective_to"),
        ({"model": "a\nb"}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"reasons": "x"}, "reasons"),
    ],
)
async def test_what_is_no_price_is_refused_and_says_where(change: dict[str, Any], told: str) -> None:
    admin = await client_of(changing_console())
    answer = await admin.put(PRICES, json=BODY | change)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert told in answer.json()["detail"]


async def test_names_of_others_come_back_as_they_are() -> None:
    console = changing_console()
    admin = await client_of(console)
    for name in ("<script>alert(1)</script>", "\u202eevil", "=cmd|'/c calc'!A1", "a\"b'c\\", "../..", "x|y", "m" * 256):
        made = await admin.put(PRICES, json=BODY | {"model": name})
        assert (made.status_code, made.json()["model"]) == (201, name)
        found = (await admin.get(PRICES, params={"model": name, "layer": "runtime"})).json()["items"]
        assert [one["model"] for one in found] == [name]


async def test_prices_are_paged_searched_and_listed_by_dimension() -> None:
    admin = await client_of(changing_console())
    ids: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (await admin.get(PRICES, params={"q": "claude", "limit": 100, "cursor": cursor})).json()
        ids += [one["id"] for one in page["items"]]
        assert all("claude" in f"{one['provider']} {one['model']}".lower() for one in page["items"])
        cursor = page["next_cursor"]
    assert len(ids) > 100
    images = (await admin.get(PRICES, params={"dimension": "images", "limit": 1000})).json()["items"]
    assert images
    assert all(any(rate["dimension"] == "images" for rate in one["rates"]) for one in images)
    agents = (await admin.get(PRICES, params={"agent": "seo", "layer": "book"})).json()["items"]
    assert all("seo" in one["agent"].lower() for one in agents)
    assert (await admin.get(PRICES, params={"at": "yesterday"})).status_code == 422
    assert (await admin.get(PRICES, params={"q": "x" * 257})).status_code == 422


async def test_an_event_may_be_explained_by_its_data_alone() -> None:
    admin = await client_of(changing_console())
    answer = await admin.post(f"{PRICES}/explain", json=EVENT)
    told = answer.json()
    assert (answer.status_code, told["cost_usd"], told["lines"][0]["dimension"]) == (200, "2.5", "input_tokens")
    now = datetime.fromisoformat(told["time"])
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)
    assert set(told["price_holds"]) == {"from", "to"}
    beside = await admin.post(f"{PRICES}/explain", json={"source": "s", "subject": "u", "data": EVENT})
    assert beside.json()["cost_usd"] == "2.5"


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 422, "not_json"),
        (b"{", 400, "invalid_json"),
        (b"[]", 422, None),
        (b'{"provider": "openai"}', 422, "missing_field"),
        (b'{"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": -1}}', 422, "negative_usage"),
        (json.dumps({"data": {"provider": "x" * 257}}).encode(), 422, None),
        (b'{"data": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, None),
    ],
)
async def test_what_is_no_event_is_refused_with_the_reason_of_its_dead_letter(
    body: bytes, status: int, error: str | None
) -> None:
    admin = await client_of(changing_console())
    answer = await admin.post(f"{PRICES}/explain", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    if error is not None:
        assert answer.json()["error"] == error
