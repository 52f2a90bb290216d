"""What a transaction of a partition says of its users' reservations and credits, against what it should say."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiokafka import ConsumerRecord
from tests.simulation.broker import Place
from tests.simulation.sums import expect

if TYPE_CHECKING:
    from tests.simulation.checker import Checker
    from tests.simulation.user_fold import UserFold


def compare_accounts(checker: "Checker", partition: int, written: dict[Place, list[ConsumerRecord]]) -> None:
    """Compare decisions, balances and the rows of reservations that the partition wrote."""
    fold = checker.folds[partition]
    _decisions(checker, fold, [r for place, rs in written.items() if place[0] == "decisions" for r in rs])
    for record in written.get(("balances", partition), []):
        _balance(checker, fold, record.key.decode(), json.loads(record.value))
    for record in written["internal.user-state", partition]:
        if record.key[:2] == b"h|":
            user, source, name = record.key[2:].decode().split("|", 2)
            key = unquote(user), (unquote(source), name)
            found = None if record.value is None else json.loads(record.value)
            right = fold.purses.row_of(key)
            # The names and the answer of an open one are compared where they act.
            same = found is None if right is None else found is not None and found[: len(right)] == right
            expect(same, "reservation", key, found, right)
            fold.held.add(key)
            if found is None:
                fold.held.discard(key)
    held = fold.purses.open.keys() | fold.purses.early.keys()
    expect(fold.held == held, "reservations in the state", fold.partition, fold.held ^ held)


def _decisions(checker: "Checker", fold: "UserFold", records: Iterable[ConsumerRecord]) -> None:
    expected, fold.purses.expected = fold.purses.expected, {}
    found: dict[str, list[ConsumerRecord]] = {}
    for record in records:
        user = json.loads(record.value)["user"]
        if fold.homes[user] == fold.partition:
            found.setdefault(user, []).append(record)
    counts = {user: len(rs) for user, rs in found.items()}
    expect(counts == {user: len(es) for user, es in expected.items()}, "decisions", counts, expected)
    for user, answers in expected.items():
        for (name, answer), record in zip(answers, found[user], strict=True):
            said = json.loads(record.value)
            expect(said["reservation_id"] == name, "a decision about another", said, name)
            if answer == "same":
                first = checker.answers[user, name]
                expect(record.value == first, "a decision changed", record.value, first)
            else:
                outcome = "granted" if said["granted"] else said["error"]
                expect(outcome == answer, "decision", said, answer)
                if answer == "reservation_conflict":
                    continue
                known = checker.answers.setdefault((user, name), record.value)
                is_first = known is record.value
                expect(is_first or answer == "reservation_ended", "decided twice", said, known)


def _balance(checker: "Checker", fold: "UserFold", user: str, said: dict[str, Any]) -> None:
    purses = fold.purses
    purse = purses.purse(user, fold.rules, purses.clock_ms)
    assert purse is not None, f"{user} has a balance and no credits"
    right = purse.said(fold.rules.free_of(user)[0], purses.reserved_credits(user))
    found = {name: int(said[name]) for name in right}
    expect(found == right, "balance", user, found, right)
    spent = sum(found[name] for name in ("burned", "expired", "available", "reserved"))
    expect(found["granted"] == spent, "credits are made or lost", user, found)
    checker.balances[user] = said
