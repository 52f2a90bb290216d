"""Sums by combination: which events count in them, from which event on, where they go, and under which name."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from tests.support.cores import CORES
from tests.support.metered import Metered
from tests.support.usage import event
from tests.unit.ledger.test_users import BOOK, USER, Bench

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.pricing import Pricer
from tollgate.domain.spend import Spend
from tollgate.ledger import Policy
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.shared_stage import delta_of, in_records
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import DELTA_PARTITIONS, Topic

USER_MODEL, ORG_MODEL = "user/*+model/*", "org/*+model/*"
MONTH = "month|2026-11-01T00:00:00Z"
HOUR = "hour|2026-11-21T10:00:00Z"


@pytest.fixture(autouse=True, params=CORES)
def _core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test holds for either core."""
    monkeypatch.setattr(Bench, "core", request.param)


def bench_of(budgets: BudgetBook) -> Bench:
    bench = Bench()
    put(bench, budgets)
    return bench


def put(bench: Bench, budgets: BudgetBook) -> None:
    bench.stage.set_policy(Policy(budgets, lambda: Pricer(BOOK)))


def paid(event_id: str, usd: str, user: str = USER, **data: Any) -> dict[str, Any]:
    return event(event_id, user, data={"cost_usd": usd, **data})


def spend(outbox: Outbox) -> dict[str, tuple[str, int]]:
    """By key of the spend record what was spent in how many events; windows without events are left out."""
    said = {key: json.loads(value) for key, value, _ in outbox.records.get((Topic.SPEND, 0), []) if value is not None}
    return {(key or b"").decode(): (s["spent_usd"], s["events"]) for key, s in said.items() if s["events"]}


def deltas(outbox: Outbox) -> dict[str, list[tuple[int, int, list[str]]]]:
    """By scope the cost, the events and the calendars of its deltas."""
    found: dict[str, list[tuple[int, int, list[str]]]] = {}
    for (topic, _), records in outbox.records.items():
        for _, value, _ in records if topic is Topic.DELTAS else ():
            for scope, _, _, cost, _, events, _, _, calendars in json.loads(value or b"")[1]:
                found.setdefault(scope, []).append((cost, events, calendars))
    return found


def combined(keys: Iterable[str]) -> set[str]:
    return {key for key in keys if "+" in key}


def test_a_combination_with_a_user_counts_in_its_calendars_and_in_no_others() -> None:
    bench = bench_of(Metered({USER_MODEL: ["month", "hour"]}))
    bench.send(paid("e1", "1"), paid("e2", "2"), paid("e3", "4", model="gpt-4o-mini"))
    written = spend(bench.write())
    assert written[f"user/{USER}|{MONTH}"] == ("7", 3)
    assert {key: written[key] for key in combined(written)} == {
        f"user/{USER}+model/gpt-4o|{MONTH}": ("3", 2),
        f"user/{USER}+model/gpt-4o|{HOUR}": ("3", 2),
        f"user/{USER}+model/gpt-4o-mini|{MONTH}": ("4", 1),
        f"user/{USER}+model/gpt-4o-mini|{HOUR}": ("4", 1),
    }


def test_a_combination_without_a_user_goes_to_its_owner_with_its_calendars() -> None:
    bench = bench_of(Metered({ORG_MODEL: ["day", "month"]}))
    bench.send(paid("e1", "1", org="acme"), paid("e2", "2", org="acme"), paid("e3", "4", org="bolt"))
    outbox = bench.write()
    assert combined(spend(outbox)) == set()
    found = deltas(outbox)
    assert {scope: found[scope] for scope in combined(found)} == {
        "org/acme+model/gpt-4o": [(3 * 10**12, 2, ["day", "month"])],
        "org/bolt+model/gpt-4o": [(4 * 10**12, 1, ["day", "month"])],
    }
    assert found["org/acme"] == [(3 * 10**12, 2, [])]
    owner = partition_of(b"org/acme+model/gpt-4o", DELTA_PARTITIONS)
    # The mark that the meter begins comes before what is counted in it: else a restart between them forgot the sum.
    told, counted, *_ = [value or b"" for _, value, _ in outbox.records[Topic.DELTAS, owner]]
    assert b'"org/*+model/*|day"' in told
    assert b'"org/acme+model/gpt-4o"' in counted


def test_what_becomes_of_a_meter_is_told_to_the_owner_of_its_scope_and_of_a_pattern_to_all() -> None:
    exact = "org/acme+model/gpt-4o"
    bench = bench_of(Metered({exact: ["month"], "service/*+model/*": ["month"]}))
    told: dict[str, set[int]] = {}
    for (topic, partition), records in bench.write().records.items():
        for _, value, _ in records if topic is Topic.DELTAS else ():
            for _, meter, _ in json.loads(value or b"")[4]:
                told.setdefault(meter, set()).add(partition)
    assert told == {
        f"{exact}|month": {partition_of(exact.encode(), DELTA_PARTITIONS)},
        "service/*+model/*|month": set(range(DELTA_PARTITIONS)),
    }


def test_an_event_without_one_of_the_names_adds_nothing() -> None:
    bench = bench_of(Metered({"user/*+org/*+feature/*": ["month"], ORG_MODEL: ["month"]}))
    bench.send(
        paid("e1", "1"),
        paid("e2", "2", org="acme"),
        paid("e3", "4", feature="chat"),
        paid("e4", "8", org="acme", feature="chat", model=None, agent="SEO"),
    )
    outbox = bench.write()
    written, sent = spend(outbox), deltas(outbox)
    assert combined(written) == {f"user/{USER}+org/acme+feature/chat|{MONTH}"}
    assert written[f"user/{USER}+org/acme+feature/chat|{MONTH}"] == ("8", 1)
    assert {scope: sent[scope] for scope in combined(sent)} == {"org/acme+model/gpt-4o": [(2 * 10**12, 1, ["month"])]}


@pytest.mark.parametrize(
    ("scope", "features"),
    [
        (f"user/{USER}+feature/video", {"video"}),
        ("user/*+feature/video", {"video"}),
        (f"user/{USER}+feature/*", {"video", "chat"}),
        ("user/*+feature/*", {"video", "chat"}),
        ("user/somebody+feature/*", set()),
        ("user/*+feature/image", set()),
    ],
)
def test_only_combinations_that_a_budget_is_on_are_summed(scope: str, features: set[str]) -> None:
    bench = bench_of(Metered({scope: ["month"]}))
    bench.send(paid("e1", "1", feature="video"), paid("e2", "2", feature="chat"))
    rows = list(bench.stage._tally.take_sums())
    assert {name for position, name, *_ in rows if position >= 10} == {f"user/{USER}+feature/{f}" for f in features}
    bench.send(paid("e3", "1", feature="video"), paid("e4", "2", feature="chat"))
    assert combined(spend(bench.write())) == {f"user/{USER}+feature/{feature}|{MONTH}" for feature in features}


def test_a_combination_that_no_budget_is_on_is_not_kept() -> None:
    bench = bench_of(Metered({USER_MODEL: []}))
    bench.send(paid("e1", "1"))
    outbox = bench.write()
    assert combined(spend(outbox)) == set()
    assert combined(deltas(outbox)) == set()
    assert combined(bench.rows) == set()


def test_a_combination_counts_from_the_first_event_after_its_budget_and_until_its_window_ends() -> None:
    bench = Bench()
    bench.send(paid("e1", "1", org="acme"))
    put(bench, Metered({USER_MODEL: ["month"], ORG_MODEL: ["month"]}))
    bench.send(paid("e2", "2", org="acme"))
    put(bench, Metered({USER_MODEL: ["month"]}))
    bench.send(paid("e3", "4", org="acme"))
    outbox = bench.write()
    written, sent = spend(outbox), deltas(outbox)
    assert written[f"user/{USER}|{MONTH}"] == ("7", 3)
    assert written[f"user/{USER}+model/gpt-4o|{MONTH}"] == ("6", 2)
    assert sum(cost for cost, _, _ in sent["org/acme+model/gpt-4o"]) == 6 * 10**12
    assert sum(cost for cost, _, _ in sent["org/acme"]) == 7 * 10**12
    assert sum(events for _, events, _ in sent["global"]) == 3


def test_a_scope_counts_in_the_windows_of_other_calendars_too() -> None:
    """It is 19:00 in Tokyo: the day began at 15:00 UTC the day before. The week began on Monday the 16th."""
    calendars = ["day@Asia/Tokyo", "week"]
    bench = bench_of(Metered({"user/*": calendars, USER_MODEL: calendars, "org/*": calendars}))
    bench.send(paid("e1", "1", org="acme"))
    outbox = bench.write()
    written = spend(outbox)
    for scope, base in ((f"user/{USER}", 4), (f"user/{USER}+model/gpt-4o", 0)):
        assert written[f"{scope}|day@Asia/Tokyo|2026-11-20T15:00:00Z"] == ("1", 1)
        assert written[f"{scope}|week|2026-11-16T00:00:00Z"] == ("1", 1)
        assert len([key for key in written if key.startswith(f"{scope}|")]) == base + 2
    assert deltas(outbox)["org/acme"] == [(10**12, 1, calendars)]


def test_budgets_that_come_in_one_hour_do_not_move_events_to_the_windows_of_the_next() -> None:
    """What was counted while the hour of 9:00 was held counts in it, though the batch ends when it is not."""
    bench = Bench()
    ten = 1_795_255_200_000
    bench.send(event("e1", USER, time="2026-11-18T09:10:00Z"), timestamp=ten - 60_000)
    put(bench, Metered({ORG_MODEL: ["month"]}))
    bench.send(event("e2", USER), timestamp=ten)
    outbox = bench.write()
    clocks = [
        (clock, [delta[5] for delta in sums if delta[0] == "global"])
        for (topic, _), records in outbox.records.items()
        if topic is Topic.DELTAS
        for clock, sums, *_ in (json.loads(value or b"") for _, value, _ in records)
    ]
    assert [(clock, events) for clock, events in clocks if events] == [(ten - 60_000, [1]), (ten, [1])]


def test_a_name_that_looks_like_a_combination_is_written_otherwise() -> None:
    user = next(u for u in (f"u{n}+model/gpt-4o" for n in range(100)) if partition_of(u.encode(), 8) == 0)
    base = user.partition("+")[0]
    bench = bench_of(Metered({USER_MODEL: ["month"]}))
    bench.send(paid("e1", "1", user), paid("e2", "2", user, model="a%2Bfeature/b"))
    written = spend(bench.write())
    assert {key: value for key, value in written.items() if key.endswith(MONTH)} == {
        f"user/{base}%2Bmodel/gpt-4o|{MONTH}": ("3", 2),
        f"user/{base}%2Bmodel/gpt-4o+model/gpt-4o|{MONTH}": ("1", 1),
        f"user/{base}%2Bmodel/gpt-4o+model/a%252Bfeature/b|{MONTH}": ("2", 1),
    }


def test_names_of_any_script_are_combined_as_they_are() -> None:
    bench = bench_of(Metered({USER_MODEL: ["month"]}))
    bench.send(paid("e1", "1", model="modèle/日本"), paid("e2", "2", model='a"b\\c'))
    assert combined(spend(bench.write())) == {
        f"user/{USER}+model/modèle/日本|{MONTH}",
        f'user/{USER}+model/a"b\\c|{MONTH}',
    }


def test_sums_of_a_combination_are_exact_however_large() -> None:
    bench = bench_of(Metered({USER_MODEL: ["month"]}))
    large = "99999999999999.999999999999"
    bench.send(paid("e1", large), paid("e2", large))
    assert spend(bench.write())[f"user/{USER}+model/gpt-4o|{MONTH}"] == ("199999999999999.999999999998", 2)


def test_a_combination_whose_usage_needs_several_records_has_its_calendars_in_each() -> None:
    usage = {f"{n:05d}{'x' * 250}": 10**37 for n in range(4_000)}
    delta = delta_of("org/acme+model/gpt-4o", 0, 4, Spend(7, 0, 1, usage), ("day", "month@Asia/Tokyo"))
    parts = [part for value in in_records(0, [delta]) for part in json.loads(value)[1]]
    assert len(parts) > 1
    assert [part[8] for part in parts] == [["day", "month@Asia/Tokyo"]] * len(parts)
    assert sum(part[3] for part in parts) == 7
