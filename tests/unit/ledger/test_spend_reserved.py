"""What open reservations hold of a user, in the records of the spend topic."""

import pytest
from tests.support.accounts import USER, Bench, credit, policy, release, reservation, usage, values
from tests.support.cores import CORES
from tests.support.usage import TIME_MS, event

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.reservations import Reserved
from tollgate.domain.spend import Spend
from tollgate.domain.windows import Horizon, windows_at
from tollgate.ledger.core import Core
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.scopes import Scopes
from tollgate.schemas.topics import Topic

SCOPE = f"user/{USER}"
DAY_MS = 86_400_000
ALL = {"lifetime", "month", "day", "hour"}


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> Core:
    found: Core = request.param
    return found


def said(outbox: Outbox, scope: str = SCOPE) -> dict[str, str]:
    """By kind of window what the records of a transaction say to be reserved."""
    return {v["window"]["kind"]: v["reserved_usd"] for v in values(outbox, Topic.SPEND) if v["scope"] == scope}


def test_spend_tells_what_is_reserved_until_it_is_settled_released_or_expired(core: Core) -> None:
    of = Bench(policy(), core)
    of.send(usage("e1"))
    first = of.write()
    assert said(first) == dict.fromkeys(ALL, "0")
    assert {v["revenue_usd"] for v in values(first, Topic.SPEND)} == {"0"}
    of.send(reservation("r1"), reservation("r2", "0.25"), reservation("r3", "0.05"))
    assert said(of.write()) == dict.fromkeys(ALL, "0.4")
    of.send(usage("e2", reservation_id="r2"))
    assert said(of.write()) == dict.fromkeys(ALL, "0.15")
    of = of.restarted()
    of.send(release("r3"))
    assert said(of.write()) == dict.fromkeys(ALL, "0.1")
    of.stage.tick(TIME_MS)
    of.stage.tick(TIME_MS + 61_000)
    of.stage.tick(TIME_MS + 67_000)
    assert of.stage.pending()
    assert said(of.write(TIME_MS + 67_000)) == dict.fromkeys(ALL, "0")


def test_only_the_windows_of_now_tell_it(core: Core) -> None:
    of = Bench(policy(), core)
    of.send(usage("e1"))
    of.write()
    of.send(reservation("r1"))
    assert said(of.write(TIME_MS + DAY_MS)) == {"lifetime": "0.1", "month": "0.1", "day": "0", "hour": "0"}


def test_a_window_that_ends_while_something_is_reserved_tells_nothing_any_more(core: Core) -> None:
    hour_ms = 3_600_000
    of = Bench(policy(), core)
    of.send(usage("e1"), reservation("r1", ttl_seconds=3600))
    assert said(of.write()) == dict.fromkeys(ALL, "0.1")
    of.send(event("e2", USER, time="2026-11-21T11:00:00Z"), timestamp=TIME_MS + hour_ms - 1)
    records = values(of.write(TIME_MS + hour_ms - 1), Topic.SPEND)
    (ended,) = [v for v in records if v["window"]["start"] == "2026-11-21T10:00:00Z" and v["scope"] == SCOPE]
    assert (ended["spent_usd"], ended["reserved_usd"]) == ("0.0035", "0")


def test_a_combination_with_a_budget_tells_it_and_a_shared_scope_does_not(core: Core) -> None:
    pair = f"{SCOPE}+model/gpt-4o"
    of = Bench(policy({"id": "b1", "scope": pair, "limit": "5", "window": "day"}), core)
    of.send(usage("e1", model="gpt-4o"))
    of.write()
    of.send(reservation("r1", model="gpt-4o"), reservation("r2", model="gpt-4.1"))
    outbox = of.write()
    assert said(outbox, pair) == {"day": "0.1"}
    assert said(outbox) == dict.fromkeys(ALL, "0.2")
    assert said(outbox, "model/gpt-4o") == {}


def test_who_has_spent_nothing_has_no_record_and_credits_are_not_money(core: Core) -> None:
    of = Bench(policy(), core)
    of.send(reservation("r1"))
    assert said(of.write()) == {}
    of.send(usage("e1"))
    assert said(of.write()) == dict.fromkeys(ALL, "0.1")
    of.send_entries(credit("c1", "50"))
    of.send(reservation("r2", None, credits="5"))
    assert said(of.write()) == {}


def test_what_was_not_told_before_a_crash_is_told_after_it() -> None:
    held = {SCOPE: Reserved()}

    def scopes() -> Scopes:
        return Scopes(0, Topic.USER_STATE, Horizon(), BudgetBook(), reserved=held.__getitem__, spend_apart_ms=500)

    of, rows = scopes(), dict[str, bytes]()

    def write(now_ms: int) -> tuple[Outbox, dict[str, int]]:
        outbox = Outbox()
        numbers = of.write(outbox, 1, now_ms)
        rows.update(
            {(key or b"").decode(): value or b"" for key, value, _ in outbox.records.get((Topic.USER_STATE, 0), [])}
        )
        return outbox, numbers

    of.add(SCOPE, windows_at(TIME_MS), Spend(1, 0, 1, {}))
    assert said(write(TIME_MS)[0]) == dict.fromkeys(ALL, "0")
    held[SCOPE] = Reserved(10**12, 0, 1)
    of.note_reserved(SCOPE)
    outbox, numbers = write(TIME_MS + 50)
    assert said(outbox) == {}
    of = scopes()
    of.restore(dict(rows), numbers)
    assert said(write(TIME_MS + 100)[0]) == dict.fromkeys(ALL, "1")
