"""What one user has done and spent."""

import asyncio
from typing import Final

from tollgate.console.numbers import sums
from tollgate.console.numbers.answers import Card, UserNumbers
from tollgate.console.numbers.cards import CARDS, card_of
from tollgate.console.numbers.events import EventFilter, events
from tollgate.console.numbers.questions import Questions
from tollgate.console.numbers.ranges import Range
from tollgate.console.numbers.restriction import Names, Restriction, narrowed
from tollgate.domain.windows import month_start, window_end
from tollgate.schemas.scopes import Dimension, scope_of
from tollgate.schemas.vocabulary import WindowKind

LAST_CALLS: Final = 10


async def user_numbers(questions: Questions, restriction: Restriction, user: str, at_ms: int) -> UserNumbers:
    """The month of the instant, the lifetime, the cards of that month, and the last ten calls.

    A user who is not within the restriction has done nothing.
    """
    names = narrowed(restriction, scope_of(Dimension.USER, user))
    month_ms = month_start(at_ms)
    month = Range(month_ms, window_end(WindowKind.MONTH, month_ms))
    asked_at = questions.now_ms()
    (this_month, lifetime), cards, calls = await asyncio.gather(
        sums.month_and_lifetime(questions, names, month),
        user_cards(questions, names, month),
        events(questions, restriction, EventFilter({Dimension.USER: user}), LAST_CALLS),
    )
    return UserNumbers(
        user,
        this_month,
        lifetime,
        cards,
        calls.items,
        asked_at,
        sorted({call.org for call in calls.items if call.org}),
    )


async def user_cards(questions: Questions, names: Names, within: Range) -> list[Card]:
    """The four cards in their order, also those on which there is nothing."""
    where, parameters = sums.conditions(names)
    amounts = ", ".join(f"toString(sum({amount}))" for amount in sorted({rule.amount for rule in CARDS}))
    rows = await questions.rows(
        f"""
        SELECT {card_of()} AS card, count(), toString(sum(cost_usd)), toString(sum(retail_usd)), {amounts}
        FROM usage
        WHERE time >= fromUnixTimestamp64Milli({{from_ms:Int64}}) AND time < fromUnixTimestamp64Milli({{to_ms:Int64}})
            AND {where}
        GROUP BY card
        """,  # noqa: S608 # our own text and columns of the enumeration
        {"from_ms": within.from_ms, "to_ms": within.to_ms, **parameters},
    )
    found = {row[0]: row for row in rows}
    place = {amount: number for number, amount in enumerate(sorted({rule.amount for rule in CARDS}), 4)}
    cards = []
    for rule in CARDS:
        row = found.get(rule.name)
        cards.append(
            Card(rule.name, row[1], row[place[rule.amount]], rule.amount, row[2], row[3])
            if row is not None
            else Card(rule.name, 0, "0", rule.amount, "0", "0")
        )
    return cards
