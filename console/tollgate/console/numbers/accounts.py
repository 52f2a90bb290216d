"""Credits and reservations of a user, as ClickHouse has them."""

from typing import Final, NamedTuple

from tollgate.console.numbers.questions import Questions

SHOWN_MAX: Final = 1_000


class Granted(NamedTuple):
    """Credits that a user got, or that were taken back. Amounts are decimal strings, times milliseconds."""

    time_ms: int
    id: str
    source: str
    kind: str
    credits: str
    expires_ms: int | None
    note: str


class Decided(NamedTuple):
    """A decision about a reservation."""

    decided_ms: int
    reservation_id: str
    source: str
    granted: bool
    amount_usd: str
    credits: str
    expires_ms: int | None
    error: str
    scope: str
    budget: str
    message: str


async def credit_entries(questions: Questions, user: str, limit: int, before: tuple[int, str] | None) -> list[Granted]:
    """What the user was granted, the newest first; only what comes after the place `before` in this order."""
    time_ms, entry_id = before if before is not None else (2**53, "")
    rows = await questions.rows(
        """
        SELECT toUnixTimestamp64Milli(recorded_at) AS at, id, source, kind, toString(credits),
            if(expires_at IS NULL, NULL, toUnixTimestamp64Milli(assumeNotNull(expires_at))), note
        FROM entries
        WHERE user = {user:String} AND type = 'tollgate.credit.v1' AND (at, id) < ({time_ms:Int64}, {id:String})
        ORDER BY at DESC, id DESC
        LIMIT {limit:UInt32}
        """,
        {"user": user, "time_ms": time_ms, "id": entry_id, "limit": limit},
    )
    return [Granted(*row) for row in rows]


async def decisions(questions: Questions, user: str, limit: int) -> list[Decided]:
    """The newest decisions about the user's reservations, the newest first."""
    rows = await questions.rows(
        """
        SELECT toUnixTimestamp64Milli(decided_at) AS at, reservation_id, source, granted, toString(amount_usd),
            toString(credits), if(expires_at IS NULL, NULL, toUnixTimestamp64Milli(assumeNotNull(expires_at))), error,
            scope, budget, message
        FROM decisions
        WHERE user = {user:String}
        ORDER BY at DESC, reservation_id
        LIMIT {limit:UInt32}
        """,
        {"user": user, "limit": limit},
    )
    return [Decided(*row) for row in rows]
