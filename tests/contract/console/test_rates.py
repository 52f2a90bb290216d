"""How many requests a caller may make in a minute."""

from typing import Any

import pytest
from tests.support.console import ConsoleUnderTest, bearer, make_token
from tests.support.probe_room import probe_room

from tollgate.console import rates
from tollgate.schemas.tokens import Role, TokenKind

WHO = "/api/v1/who"


def console(**settings: Any) -> ConsoleUnderTest:
    return ConsoleUnderTest([probe_room()], **settings)


async def test_a_token_may_make_a_hundred_requests_a_minute() -> None:
    made = console()
    token = await make_token(made.control, Role.VIEWER)
    client = made.client(headers=bearer(token))
    left = []
    for _ in range(100):
        answer = await client.get(WHO)
        assert answer.status_code == 200
        left.append(answer.headers["ratelimit"].partition(";r=")[2].partition(";")[0])
    assert left == [str(number) for number in range(99, -1, -1)]
    answer = await client.get(WHO)
    assert (answer.status_code, answer.json()["error"]) == (429, "too_many_requests")
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    assert answer.headers["ratelimit-policy"] == '"caller";q=100;w=60'
    assert answer.headers["ratelimit"].startswith('"caller";r=0;t=')


async def test_each_token_is_counted_by_itself() -> None:
    made = console(console_requests_per_minute=2)
    tokens = [await make_token(made.control, Role.VIEWER, name="same") for _ in range(2)]
    for token in tokens:
        answers = [(await made.client().get(WHO, headers=bearer(token))).status_code for _ in range(3)]
        assert answers == [200, 200, 429]


async def test_services_have_a_limit_of_their_own() -> None:
    made = console(console_requests_per_minute=1, console_service_requests_per_minute=3)
    token = await make_token(made.control, Role.SERVICE)
    answers = [(await made.client().get(WHO, headers=bearer(token))).status_code for _ in range(4)]
    assert answers == [200, 200, 200, 429]
    answer = await console().client().get(WHO)
    assert answer.headers["ratelimit-policy"] == '"address";q=100;w=60'


async def test_pages_of_people_may_ask_ten_times_as_often() -> None:
    made = console(console_requests_per_minute=1)
    text = await make_token(made.control, Role.VIEWER, kind=TokenKind.SESSION, lifetime_ms=60_000)
    client = made.client(headers={"Cookie": f"tollgate_session={text}"})
    assert [(await client.get(WHO)).status_code for _ in range(11)] == [200] * 10 + [429]


async def test_wrong_tokens_are_counted_by_address() -> None:
    made = console(console_requests_per_minute=3)
    client, other = made.client(address="192.0.2.1"), made.client(address="192.0.2.2")
    answers = [(await client.get(WHO, headers=bearer(f"wrong{n}"))).status_code for n in range(4)]
    assert answers == [401, 401, 401, 429]
    assert (await other.get(WHO)).status_code == 401
    token = await make_token(made.control, Role.VIEWER)
    assert (await client.get(WHO, headers=bearer(token))).status_code == 200


async def test_a_flood_of_addresses_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_GROUPS", 8)
    made = console(console_requests_per_minute=10_000)
    for number in range(300):
        await made.client(address=f"198.51.{number // 250}.{number % 250}").get(WHO)
    storage: Any = made.access.rates._limiter.storage
    assert 1 <= len(storage.storage) <= 8 * 3
