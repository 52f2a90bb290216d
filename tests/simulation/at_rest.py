"""What readers see when nothing is left to do, against what was published."""

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.simulation.rules import BASE, Rules, covers, parts, window
from tests.simulation.sums import Sum, SumKey, expect

if TYPE_CHECKING:
    from tests.simulation.checker import Checker


def compare_at_rest(
    checker: "Checker", identities: set[tuple[str, str]], rules: Rules, stopped: str | None, now_ms: int
) -> None:
    """Everything is counted, every reservation has ended, and spend, flags and balances are right.

    `stopped`: why all spending is stopped by hand, None when it is not.
    """
    assert checker.broker is not None
    expect(set(checker.priced) == identities, "not counted", len(identities), identities ^ set(checker.priced))
    for partition in range(2 * len(checker.folds)):
        fold = checker.folds[partition] if partition < len(checker.folds) else checker.forwarders[partition]
        left = [r.offset for r in checker.broker.fetch(("entries", partition), fold.next_entries, 1 << 60)[0]]
        expect(not left, "entries are not counted", partition, fold.next_entries, left)
    letters = sum(1 for _ in checker.broker.committed(("dead-letters", 0)))
    refused = sum(fold.letters for fold in checker.folds)
    refused += sum(fold.letters for fold in checker.forwarders.values())
    expect(letters == refused, "dead letters", letters, refused)
    right = _sums(checker)
    _spend(checker, right)
    _flags(checker, right, rules, stopped, now_ms)
    _accounts(checker)


def _sums(checker: "Checker") -> dict[SumKey, Sum]:
    """What all partitions should have counted together."""
    right: dict[SumKey, Sum] = defaultdict(Sum)
    for fold in checker.folds:
        for event in fold.counted:
            shared = ("service", "agent", "provider", "model", "feature")
            scopes = ["global", *(f"{name}/{event.names[name]}" for name in shared if name in event.names)]
            for scope in scopes:
                for calendar in BASE:
                    key = scope, calendar, window(calendar, event.time_ms)[0]
                    right[key].add(event.cost, event.retail, 1, event.tokens)
        for key, found in fold.sums.items():
            right[key].add(found.cost, found.retail, found.events, found.tokens)
    return right


def _truth(checker: "Checker", key: SumKey) -> Sum:
    """All that was ever spent in a window."""
    scope, calendar, start = key
    truth = Sum()
    for fold in checker.folds:
        for event in fold.counted:
            is_in = all(event.names.get(dimension) == name for dimension, name in parts(scope))
            if is_in and window(calendar, event.time_ms)[0] == start:
                truth.add(event.cost, event.retail, 1, event.tokens)
    return truth


def _spend(checker: "Checker", right: dict[SumKey, Sum]) -> None:
    said: dict[SumKey, dict[str, Any]] = {}
    for text, value in checker.newest("spend").items():
        scope, calendar, start_text = text.rsplit("|", 2)
        said[scope, calendar, int(datetime.fromisoformat(start_text).timestamp()) * 1000] = value
    for key, value in said.items():
        usage = {dimension: int(amount) for dimension, amount in value["usage"].items()}
        cost, retail = (Decimal(value[name]) * 10**12 for name in ("spent_usd", "retail_usd"))
        wanted = right.get(key, Sum())
        same = wanted.is_said(cost, int(retail), value["events"], usage, checker.names_in(key))
        expect(same, "spend", key, value, wanted)
        expect(value["reserved_usd"] == "0", "something is still reserved", key, value)
    for key in right.keys() - said.keys():
        scope, calendar, start = key
        is_kept = calendar in BASE and len(parts(scope)) < 2
        users = [name for dimension, name in parts(scope) if dimension == "user"]
        folds = [fold for fold in checker.folds if not users or fold.homes[users[0]] == fold.partition]
        meters = [m for fold in folds for m in fold.meters.values()]
        is_kept = is_kept or any(m.calendar == calendar and covers(m.scope, scope) for m in meters)
        # A meter that ended and began again has forgotten the windows before.
        begun = [m.start_ms for m in meters if m.calendar == calendar and covers(m.scope, scope)]
        is_kept = is_kept and (not begun or start >= max(begun))
        expect(not is_kept, "no spend record", key, right[key])


def _flags(checker: "Checker", right: dict[SumKey, Sum], rules: Rules, stopped: str | None, now_ms: int) -> None:
    flags = checker.newest("flags")
    note = None if stopped is None else f"ada stopped all spending: {stopped}"
    said = flags.get("global", {"state": "ok"})
    expect(said.get("note") == note, "the stop", said, note)
    if note is not None:
        expect((said["state"], said["blocked"], said["until"]) == ("stopped", True, None), "the stop's flag", said)
    for scope in {scope for scope, _, _ in right} | flags.keys():
        if scope == "global" and note is not None:
            continue
        flag = flags.get(scope, {"state": "ok", "blocked": False})
        expect("reserved" not in flag, "something is still reserved", scope, flag)
        limits = [(limit, window(limit.calendar, now_ms)[0]) for limit in rules.on(scope)]
        keys = [(limit, (scope, limit.calendar, start)) for limit, start in limits]
        full = [limit for limit, key in keys if key in right and right[key].measure(limit.unit) >= limit.most]
        expect(flag["blocked"] == bool(full), "flag", scope, flag, full, [(k, right.get(k)) for _, k in keys])
        if len(keys) != 1 or flag["state"] == "ok":
            continue
        key = keys[0][1]
        if "incomplete" in flag:
            meters = [fold.first_of(*key) for fold in checker.folds]
            expect(
                any(meter is None or not meter.is_filled for meter in meters), "whole and said to be incomplete", flag
            )
        else:
            truth = _truth(checker, key)
            expect(right[key] == truth, "incomplete and said to be whole", flag, right[key], truth)


def _accounts(checker: "Checker") -> None:
    assert checker.broker is not None
    for fold in checker.folds:
        purses = fold.purses
        expect(not purses.open, "reservations that never end", fold.partition, purses.open)
        rows: dict[str, bytes | None] = {}
        for record in checker.broker.committed(("internal.user-state", fold.partition)):
            rows[record.key.decode()] = record.value
        held = [key for key, row in rows.items() if key[:2] == "h|" and row is not None and row[:4] == b'["o"']
        expect(not held, "rows of reservations that have ended", held)
        for user, purse in purses.purses.items():
            said = checker.balances.get(user)
            right = purse.said(fold.rules.free_of(user)[0], 0)
            if said is None:
                expect(not (purse.granted or purse.burned), "no balance", user, purse)
                continue
            # What is available of free credits follows from the date, and is written with the next change.
            names = ("reserved", "burned", "expired")
            found, wanted = ({name: int(each[name]) for name in names} for each in (said, right))
            expect(found == wanted, "the last balance", user, said, right)
