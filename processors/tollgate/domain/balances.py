"""A user's credits as readers show them: the balance that was last written, with the free credits of now. Pure.

The worker writes a balance when a grant, a burn, a reservation or an expiry changes it. A new day and another plan
change free credits too, without a record: a million users may have them.
"""

from tollgate.domain.credits import FreeCredits
from tollgate.domain.standings import sum_of_amount
from tollgate.schemas.amounts import format_amount
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.outputs import Balance


def balance_now(balance: Balance | None, user: str, free: FreeCredits, now_ms: int) -> Balance | None:
    """The user's balance at this moment; None when they have no account and no plan gives them free credits.

    `free` is what their plan gives now. What of it was burned today is known by the balance if that is of today: 3 left
    of 10 are 13 of the 20 of a larger plan. Debt is paid from what a new plan, the days that have passed since, and
    this day give.
    """
    per_day = free.per_day_nano
    until = format_instant(free.next_midnight_ms(now_ms)) if per_day else None
    if balance is None:
        if not per_day:
            return None
        given = format_amount(per_day)
        return Balance(
            user=user,
            available=given,
            reserved="0",
            granted=given,
            burned="0",
            free_today=given,
            free_per_day=given,
            free_until=until,
            revision=1,
            updated_at=format_instant(now_ms),
        )
    left, given_then = sum_of_amount(balance.free_today), sum_of_amount(balance.free_per_day)
    is_of_today = balance.free_until is not None and now_ms < parse_instant(balance.free_until)
    if per_day == given_then and (is_of_today or not per_day):
        return balance
    burned_today = given_then - left if is_of_today else 0
    gives = max(0, per_day - burned_today)
    available = sum_of_amount(balance.available)
    debt = max(0, -(available + sum_of_amount(balance.reserved)))
    paid = min(debt, _days_between(balance, free, now_ms) * per_day)
    more = gives - left + paid
    return balance.model_copy(
        update={
            "available": format_amount(available + more),
            "granted": format_amount(sum_of_amount(balance.granted) + more),
            "free_today": format_amount(max(0, gives - (debt - paid))),
            "free_per_day": format_amount(per_day),
            "free_until": until,
        }
    )


def _days_between(balance: Balance, free: FreeCredits, now_ms: int) -> int:
    """The user's days between the one of which the balance tells and this one."""
    if balance.free_until is None:
        return 0
    return max(0, free.day_of(now_ms) - free.day_of(parse_instant(balance.free_until) - 1) - 1)
