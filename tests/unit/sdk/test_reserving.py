"""Each answer goes to who asked for it."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

from tollgate.sdk.reserving import Reserving


class Publisher:
    """Takes everything."""

    async def send(self, _user: str, _value: bytes) -> None:
        """As if Kafka had stored it."""


def decision(reserving: Reserving, user: str, reservation_id: str, *, granted: bool, source: str = "s") -> Any:
    """A record of the decisions topic for this process."""
    value = {
        "reservation_id": reservation_id,
        "source": source,
        "user": user,
        "granted": granted,
        "amount_usd": "1",
        "credits": "0",
        "expires_at": "2026-11-21T10:01:00Z",
        "decided_at": "2026-11-21T10:00:00Z",
    }
    return SimpleNamespace(key=reserving._reply_to.encode(), value=json.dumps(value).encode())


async def asked(reserving: Reserving, *asking: tuple[str, str]) -> list["asyncio.Task[Any]"]:
    """Each of these users waits for the decision of this id."""
    data = {"amount_usd": "1", "ttl_seconds": 60}
    tasks = [asyncio.create_task(reserving.ask(reservation_id, user, data)) for user, reservation_id in asking]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_two_users_with_the_same_id_get_each_their_own_decision() -> None:
    reserving = Reserving("nowhere:1", source="s")
    reserving._publisher = cast("Any", Publisher())
    u1, u2 = await asked(reserving, ("u1", "order-1"), ("u2", "order-1"))
    reserving._take(decision(reserving, "u1", "order-1", granted=True))
    reserving._take(decision(reserving, "u2", "order-1", granted=False))
    assert (await u1).granted
    assert not (await u2).granted


async def test_one_decision_answers_all_who_asked_the_same_and_comes_in_vain_the_second_time() -> None:
    reserving = Reserving("nowhere:1", source="s")
    reserving._publisher = cast("Any", Publisher())
    first, second = await asked(reserving, ("u1", "r"), ("u1", "r"))
    reserving._take(decision(reserving, "u1", "r", granted=True, source="another"))
    reserving._take(SimpleNamespace(key=b"another process", value=b"{}"))
    reserving._take(decision(reserving, "u1", "r", granted=True))
    reserving._take(decision(reserving, "u1", "r", granted=True))
    assert (await first).granted
    assert (await second).granted
    assert reserving._waiting == {}
    # Nobody waits for an answer that comes late.
    (late,) = await asked(reserving, ("u1", "late"))
    late.cancel()
    await asyncio.wait([late])
    reserving._take(decision(reserving, "u1", "late", granted=True))
    assert reserving._waiting == {}
