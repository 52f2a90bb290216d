"""Credits, balances, decisions and open reservations against what the log says of them."""

import json
from pathlib import Path
from typing import Any

import msgspec
from tests.support.usage import TIME, event

from tollgate.schemas.entries import CreditEntry, ReleaseEntry, ReservationEntry
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.verification.accounts import AccountsCheck
from tollgate.verification.entry_log import Decided, EntryLog
from tollgate.verification.view import View

NOW_MS = 1_795_255_200_000  # 2026-11-21T10:00:00Z
NANO = 10**9
USD = 10**12


class Story:
    """What was read of one partition, in its order, with one bucket of users."""

    def __init__(self, directory: Path) -> None:
        self.log = EntryLog(directory / "entries", 1)
        self.view = View()
        self._offset = 0

    def _next(self) -> tuple[int, int]:
        self._offset += 1
        return 0, self._offset

    def credit(self, credits_given: str, *, repeated: bool = False, **changes: Any) -> None:
        entry = {"type": "tollgate.credit.v1", "data": {"credits": credits_given, "kind": "bonus"}}
        place = self._next()
        self.log.entry(CreditEntry.model_validate(_envelope("c1") | entry | changes), place, NOW_MS)
        if repeated:
            self.log.repeats.add(Topic.ENTRIES, *place)

    def used(self, **data: Any) -> None:
        found = decode_usage_event(msgspec.json.encode(event(data=data)))
        assert isinstance(found, EventRecord)
        self.log.event(found, self._next(), 30 * USD // 1000)

    def asked(self, usd: str = "0.10", credits_asked: str = "5") -> None:
        data = {"amount_usd": usd, "credits": credits_asked, "model": "gpt-4o"}
        entry = _envelope("r1") | {"type": "tollgate.reservation.v1", "data": data}
        self.log.entry(ReservationEntry.model_validate(entry), self._next(), NOW_MS)

    def released(self) -> None:
        entry = _envelope("x") | {"type": "tollgate.release.v1", "data": {"reservation_id": "r1"}}
        self.log.entry(ReleaseEntry.model_validate(entry), self._next(), NOW_MS)

    def decided(self, **changes: Any) -> None:
        value = {
            "reservation_id": "r1", "source": "tests", "user": "u1", "granted": True, "amount_usd": "0.1",
            "credits": "5", "expires_at": "2026-11-21T10:01:00Z", "decided_at": TIME,
        } | changes  # fmt: skip
        self.log.decided(Decided(("u1", "tests", "r1"), json.dumps(value).encode()))

    def open(self, picousd: int = USD // 10, nano: int = 5 * NANO) -> None:
        row = ["o", picousd, nano, NOW_MS + 60_000, {"model": "gpt-4o"}, "tests", 0, {}]
        self.view.accounts["h|u1|tests|r1"] = json.dumps(row).encode()

    def account(self, granted: int, burned: int, left: int, *, expired: int = 0, owed: int = 0) -> None:
        row = [granted, burned, expired, owed, 0, 0, 0, 1, [["bonus", left, None]] if left else []]
        self.view.accounts["c|u1"] = json.dumps(row).encode()

    def balance(self, **changes: Any) -> None:
        value = {
            "user": "u1", "available": "70", "reserved": "0", "granted": "100", "burned": "30", "expired": "0",
            "free_today": "0", "free_per_day": "0", "free_until": None,
            "buckets": [{"kind": "bonus", "left": "70", "expires_at": None}], "revision": 1, "updated_at": TIME,
        } | changes  # fmt: skip
        self.view.balances["u1"] = json.dumps(value).encode()

    def wrong(self) -> dict[str, str]:
        check = AccountsCheck(self.log, {0: 1_000}, NOW_MS, 0)
        check.compare(0, self.view)
        return {found.name: found.difference for found in check.finish() if not found.ok}


def _envelope(id_: str) -> dict[str, Any]:
    return {"specversion": "1.0", "source": "tests", "id": id_, "subject": "u1", "time": TIME}


def paid(directory: Path) -> Story:
    """100 credits granted, 10 and 20 of them burned."""
    directory.mkdir(exist_ok=True)
    story = Story(directory)
    story.credit("100")
    story.used(retail_tokens=10)
    story.used(retail_tokens=20)
    story.account(100 * NANO, 30 * NANO, 70 * NANO)
    story.balance()
    return story


def test_granted_less_burned_is_what_is_left(tmp_path: Path) -> None:
    assert not paid(tmp_path).wrong()


def test_a_credit_that_was_granted_twice_is_told(tmp_path: Path) -> None:
    story = paid(tmp_path)
    story.credit("100", repeated=True)
    assert not story.wrong()
    story.account(200 * NANO, 30 * NANO, 170 * NANO)
    story.balance(available="170", granted="200", buckets=[{"left": "170"}])
    assert story.wrong() == {"credits": "credits granted to u1: expected 100, found 200"}


def test_an_account_counts_what_was_burned_since_it_began(tmp_path: Path) -> None:
    for burned, ok in ((30, True), (20, True), (0, True), (10, False), (31, False)):
        story = paid(tmp_path / str(burned))
        story.account(100 * NANO, burned * NANO, (100 - burned) * NANO)
        left = str(100 - burned)
        story.balance(available=left, burned=str(burned), buckets=[{"left": left}])
        assert ("credits" not in story.wrong()) is ok
    assert "credits burned by u1: expected 30, found 31" in story.wrong()["credits"]


def test_a_credit_that_is_lost_between_its_numbers_is_told(tmp_path: Path) -> None:
    story = paid(tmp_path)
    story.account(100 * NANO, 30 * NANO, 70 * NANO - 1)
    assert story.wrong()["credits"] == ("account of u1: expected 70 left of what was granted, found 69.999999999")
    story = paid(tmp_path / "b")
    story.balance(available="70.000000001")
    assert story.wrong() == {
        "balances": "balance of u1: expected 70 available or reserved, found 70.000000001 available and 0 reserved"
    }


def test_a_balance_is_that_of_the_account_at_the_cut_or_since(tmp_path: Path) -> None:
    story = paid(tmp_path)
    story.balance(available="60", burned="40", buckets=[{"left": "60"}])
    assert set(story.wrong()) == {"balances"}
    since = [100 * NANO, 40 * NANO, 0, 0, 0, 0, 0, 2, [["bonus", 60 * NANO, None]]]
    story.view.accounts_since["c|u1"] = [json.dumps(since).encode()]
    assert not story.wrong()


def test_a_grant_without_an_account_and_an_account_without_a_balance_are_told(tmp_path: Path) -> None:
    story = paid(tmp_path)
    del story.view.balances["u1"]
    assert story.wrong() == {"balances": "balance of u1: expected one, found none"}
    del story.view.accounts["c|u1"]
    assert story.wrong()["credits"] == "account of u1: expected 100 credits granted, found no account"


def test_what_is_owed_is_below_zero(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.credit("5")
    story.used(retail_tokens=8)
    story.account(5 * NANO, 8 * NANO, 0, owed=3 * NANO)
    story.balance(available="-3", granted="5", burned="8", buckets=[])
    assert not story.wrong()


def held(directory: Path) -> Story:
    """A reservation that was granted and is open."""
    directory.mkdir(exist_ok=True)
    story = Story(directory)
    story.asked()
    story.decided()
    story.open()
    return story


def test_a_reservation_that_was_granted_is_open_with_what_is_left(tmp_path: Path) -> None:
    assert not held(tmp_path).wrong()
    story = held(tmp_path / "b")
    story.used(reservation_id="r1", more=True, retail_tokens=2)
    # 0.10 less 0.03 USD, 5 less 2 credits.
    assert story.wrong() == {
        "reservations": "reservation r1 of tests for u1: expected open with 0.07 USD and 3 credits left, "
        "found open with 0.1 USD and 5 credits left"
    }
    story.open(7 * USD // 100, 3 * NANO)
    assert not story.wrong()


def test_a_reservation_that_was_settled_or_released_is_no_longer_open(tmp_path: Path) -> None:
    for number, is_settled in enumerate((True, False)):
        story = held(tmp_path / str(number))
        if is_settled:
            story.used(reservation_id="r1")
        else:
            story.released()
        assert story.wrong() == {
            "reservations": "reservation r1 of tests for u1: expected none, because it has ended, found an open one"
        }
        del story.view.accounts["h|u1|tests|r1"]
        assert not story.wrong()


def test_a_reservation_that_is_missing_is_told_until_its_end(tmp_path: Path) -> None:
    story = held(tmp_path)
    del story.view.accounts["h|u1|tests|r1"]
    assert "expected open with 0.1 USD and 5 credits left, found none" in story.wrong()["reservations"]
    # Its end has passed: whether the partition's clock has seen that cannot be told.
    (tmp_path / "ended").mkdir()
    ended = Story(tmp_path / "ended")
    ended.asked()
    ended.decided(expires_at=TIME)
    assert not ended.wrong()
    ended.open()
    assert not ended.wrong()


def test_a_decision_that_was_changed_is_told(tmp_path: Path) -> None:
    story = held(tmp_path)
    story.decided()
    # Asked for again after its end, and its id taken for another one.
    story.decided(granted=False, error="reservation_ended")
    story.decided(granted=False, error="reservation_conflict")
    assert not story.wrong()
    story.decided(granted=False, error="usage_limit_exceeded")
    assert story.wrong()["decisions"] == (
        "decision of reservation r1 of tests for u1: expected one, found granted: 0.1 USD and 5 credits, "
        "and denied (usage_limit_exceeded): 0.1 USD and 5 credits"
    )


def test_a_decision_about_another_amount_and_one_that_is_missing_are_told(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.asked()
    assert story.wrong() == {"decisions": "decision of reservation r1 of tests for u1: expected one, found none"}
    story.decided(amount_usd="0.2", granted=False, error="usage_limit_exceeded")
    assert "expected on 0.1 USD and 5 credits, found denied" in story.wrong()["decisions"]
