"""State, spend records, ClickHouse's rows and flags against the recount and each other."""

from typing import Any

import msgspec
import pytest

from tollgate.schemas.control import AssignmentRecord, BudgetRecord, PlanRecord
from tollgate.verification.flags import FlagsCheck
from tollgate.verification.limits import Limits
from tollgate.verification.meters import Began, Meter, Meters
from tollgate.verification.report import Check
from tollgate.verification.snapshot import Cut
from tollgate.verification.spend import Range, WindowsCheck, compare_spend, compare_state, compare_table
from tollgate.verification.sums import Sum, plain, scaled
from tollgate.verification.view import View

USD = 10**12
MONTH = "user/u1|month|2026-11-01T00:00:00Z"
NOW_MS = 1_795_255_200_000  # 2026-11-21T10:00:00Z


def spend_record(**changes: Any) -> bytes:
    window = {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC"}
    value = {"scope": "user/u1", "window": window, "spent_usd": "20", "retail_usd": "0", "events": 2, "usage": {}}
    return msgspec.json.encode(value | changes)


PLACE = (0, 7)
# With one partition of everything; the clock is that of the test.
CUT = Cut(
    1,
    users={0: 100}, shared={0: {0: 100}}, user_rows={0: 50}, shared_rows={0: 50},
    user_clocks={0: NOW_MS}, shared_clocks={0: NOW_MS}, spend_rows={0: 50},
)  # fmt: skip


def view(
    *records: tuple[str, bytes], state: dict[str, Sum] | None = None, since: dict[str, list[Sum]] | None = None
) -> View:
    rows: dict[str, list[list[tuple[str, Sum | None]]]] = {
        key.rsplit("|", 2)[0]: [[(key, amount)] for amount in sums] for key, sums in (since or {}).items()
    }
    return View(
        state=state or {},
        since=rows,
        moved=since or {},
        spend={key: (PLACE, value) for key, value in records},
    )


def spend(windows: dict[str, Sum], found: View, first_ms: dict[int, int] | None = None) -> WindowsCheck:
    check = WindowsCheck("spend windows", "spend")
    compare_spend(check, windows, found, Range(CUT, first_ms or {}))
    return check


def state(windows: dict[str, Sum], found: dict[str, Sum], first_ms: dict[int, int] | None = None) -> WindowsCheck:
    check = WindowsCheck("state", "state")
    compare_state(check, windows, view(state=found), Range(CUT, first_ms or {}))
    return check


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("2.5", 25 * 10**11), ("0.000000000001", 1)])
def test_money_is_read_and_written_exactly(text: str, value: int) -> None:
    assert (scaled(text, 12), plain(value, 12)) == (value, text)


@pytest.mark.parametrize("text", ["", "-1", "1e3", "0.0000000000001", ".5", "\u0661"])
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no decimal"):
        scaled(text, 12)


TWENTY = Sum(20 * USD, 0, 2)


def test_equal_spend_is_equal_and_usage_of_zero_is_none() -> None:
    with_zero = {MONTH: Sum(20 * USD, 0, 2, {"images": 0})}
    check = spend(with_zero, view((MONTH, spend_record()), state=with_zero))
    assert check.ok, check.difference


def test_a_difference_of_one_picodollar_is_told_with_both_values() -> None:
    more = {MONTH: Sum(20 * USD + 1, 0, 2)}
    check = spend(more, view((MONTH, spend_record()), state=more))
    assert check.difference == f"spend {MONTH}: expected 20.000000000001 USD, 2 events, found 20 USD, 2 events"
    check = state(more, {MONTH: TWENTY})
    assert check.difference == f"state {MONTH}: expected 20.000000000001 USD, 2 events, found 20 USD, 2 events"


def test_a_window_without_a_record_and_a_record_without_a_window_are_differences() -> None:
    assert spend({MONTH: TWENTY}, view(state={MONTH: TWENTY})).differences == 1
    assert spend({}, view((MONTH, spend_record()))).differences == 1


def test_a_window_that_the_state_must_hold_and_one_that_nobody_spent_in_are_differences() -> None:
    assert state({MONTH: TWENTY}, {}).differences == 1
    assert state({}, {MONTH: TWENTY}).differences == 1


def test_the_state_may_have_forgotten_what_is_no_longer_held_but_its_record_stays() -> None:
    # The clock is at 2026-11-21T10:00Z, so the hour from 09:00 on the 18th is one too old.
    gone, held = "user/u1|hour|2026-11-18T09:00:00Z", "user/u1|hour|2026-11-18T10:00:00Z"
    assert state({gone: TWENTY}, {}).ok
    assert not state({held: TWENTY}, {}).ok
    window = {"kind": "hour", "start": "2026-11-18T09:00:00Z", "end": "2026-11-18T10:00:00Z", "timezone": "UTC"}
    assert spend({gone: TWENTY}, view((gone, spend_record(window=window)))).ok
    assert not spend({gone: TWENTY}, view((gone, spend_record(window=window, events=3)))).ok
    # The worker has removed its record, or never did in a release before this.
    assert spend({gone: TWENTY}, view()).ok
    assert not spend({held: TWENTY}, view()).ok


def test_a_record_that_was_removed_with_its_window_after_the_cut_is_no_difference() -> None:
    gone = view(state={MONTH: TWENTY})
    assert not spend({MONTH: TWENTY}, gone).ok
    gone.forgotten = {MONTH}
    assert spend({MONTH: TWENTY}, gone).ok
    # What is there must still be right.
    wrong = view((MONTH, spend_record(events=3)), state={MONTH: TWENTY})
    wrong.forgotten = {MONTH}
    assert not spend({MONTH: TWENTY}, wrong).ok


def test_clickhouse_keeps_a_window_whose_record_was_removed_and_has_it_right() -> None:
    gone, held = "user/u1|hour|2026-11-18T09:00:00Z", "user/u1|hour|2026-11-18T10:00:00Z"
    for key, amount, ok in ((gone, 20, True), (gone, 21, False), (held, 20, False)):
        found = view()
        found.table = {key: (Sum(amount * USD, 0, 2), PLACE)}
        assert table(found, {key: TWENTY}).ok is ok
    # A row that the recount knows nothing of.
    found.table = {gone: (TWENTY, PLACE)}
    assert not table(found, {}).ok
    found = view(state={held: TWENTY})
    found.table, found.forgotten = {held: (TWENTY, PLACE)}, {held}
    assert table(found, {}).ok


def test_a_record_under_another_key_or_with_another_end_is_a_difference() -> None:
    held = {MONTH: TWENTY}
    assert not spend(held, view((MONTH, spend_record(scope="user/u2")), state=held)).ok
    window = {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-11-30T00:00:00Z", "timezone": "UTC"}
    assert not spend(held, view((MONTH, spend_record(window=window)), state=held)).ok


@pytest.mark.parametrize(("found", "ok"), [("19", False), ("20", True), ("20.5", False), ("21", True), ("22", True)])
def test_the_record_of_a_window_that_moved_is_one_of_the_sums_that_the_state_had(found: str, ok: bool) -> None:
    since = {MONTH: [Sum(21 * USD, 0, 2), Sum(22 * USD, 0, 2)]}
    moved = view((MONTH, spend_record(spent_usd=found)), state={MONTH: TWENTY}, since=since)
    assert spend({MONTH: TWENTY}, moved).ok is ok


def test_a_window_that_began_after_the_cut_may_have_a_record_or_none() -> None:
    since = {MONTH: [TWENTY]}
    assert spend({}, view((MONTH, spend_record()), since=since)).ok
    assert spend({}, view(since=since)).ok
    assert not spend({}, view((MONTH, spend_record(spent_usd="21")), since=since)).ok


def test_the_first_difference_is_that_of_the_first_scope_and_the_widest_window() -> None:
    check = WindowsCheck("state", "state")
    keys = (
        "user/b|lifetime|1970-01-01T00:00:00Z",
        "user/a|day|2026-11-02T00:00:00Z",
        "user/a|day|2026-11-01T00:00:00Z",
        "user/a|hour|2026-11-01T00:00:00Z",
    )
    for key in keys:
        check.window_differs(key, 1, 2)
    assert check.first is not None
    assert (check.first.scope, check.first.window, check.first.start) == ("user/a", "day", "2026-11-01T00:00:00Z")
    assert check.differences == 4


def test_sums_are_lower_bounds_for_windows_that_began_before_the_log() -> None:
    # The first record that is left arrived at 2026-11-10T00:00Z.
    first_ms = {0: 1_794_268_800_000}
    assert state({MONTH: TWENTY}, {MONTH: Sum(25 * USD, 0, 2)}, first_ms).ok
    assert not state({MONTH: TWENTY}, {MONTH: Sum(19 * USD, 0, 2)}, first_ms).ok
    assert state({}, {MONTH: TWENTY}, first_ms).ok
    whole, too_early = "user/u1|day|2026-11-11T00:00:00Z", "user/u1|day|2026-11-10T00:00:00Z"
    assert not state({whole: TWENTY}, {whole: Sum(25 * USD, 0, 2)}, first_ms).ok
    assert state({too_early: TWENTY}, {too_early: Sum(25 * USD, 0, 2)}, first_ms).ok


def table(found: View, windows: dict[str, Sum] | None = None) -> WindowsCheck:
    check = WindowsCheck("ClickHouse spend", "ClickHouse spend")
    compare_table(check, windows or {}, found, Range(CUT, {}))
    return check


def test_a_row_of_clickhouse_is_the_record_at_the_cut_or_a_later_one() -> None:
    found = view((MONTH, spend_record()))
    found.spend_since = {MONTH: [((0, 60), spend_record(spent_usd="21"))]}
    for amount, place, ok in (
        (20, PLACE, True), (21, (0, 60), True), (21, PLACE, False), (20, (0, 60), False), (20, (0, 3), False),
    ):  # fmt: skip
        found.table = {MONTH: (Sum(amount * USD, 0, 2), place)}
        assert table(found).ok is ok
    found.table = {}
    assert table(found).difference.endswith("found no row")


BUDGET = BudgetRecord.model_validate(
    {"scope": "user/*", "limit": "20", "unit": "usd", "window": "month", "updated_at": "2026-11-01T00:00:00Z"}
)
BLOCKED: dict[str, Any] = {
    "scope": "user/u1", "state": "blocked", "blocked": True, "action": "block", "reason": "usage_limit_exceeded",
    "budget": "user/*:month:usd", "limit": "20", "unit": "usd", "spent": "20.5", "percent": "102.50",
    "window": {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC"},
    "since": "2026-11-21T09:00:00Z", "until": "2026-12-01T00:00:00Z", "revision": 3,
}  # fmt: skip


def flags(
    spent_picousd: int,
    flag: dict[str, Any] | None,
    *budgets: BudgetRecord,
    now_ms: int = NOW_MS,
    since: tuple[int, ...] = (),
) -> Check:
    check = FlagsCheck(Limits(budgets))
    later = {MONTH: [Sum(picousd, 0, 1) for picousd in since]} if since else {}
    found = view(state={MONTH: Sum(spent_picousd, 0, 1)}, since=later)
    found.flags = {"user/u1": msgspec.json.encode(flag)} if flag is not None else {}
    check.compare(found, now_ms)
    return check.finish()


def test_a_flag_that_says_what_the_budget_demands_is_right() -> None:
    assert flags(20 * USD + USD // 2, BLOCKED, BUDGET).ok


@pytest.mark.parametrize(
    "wrong", [{"spent": "20.4"}, {"percent": "102.51"}, {"state": "warning"}, {"until": "2027-01-01T00:00:00Z"}]
)
def test_a_flag_with_a_wrong_number_is_a_difference(wrong: dict[str, Any]) -> None:
    assert not flags(20 * USD + USD // 2, BLOCKED | wrong, BUDGET).ok


def test_no_flag_means_ok_until_a_threshold_is_reached() -> None:
    assert flags(16 * USD - 1, None, BUDGET).ok
    missing = flags(16 * USD, None, BUDGET)
    assert missing.difference == (
        "flag of user/u1: expected warning by user/*:month:usd: 16 of 20 usd (80.00 %), action alert, "
        "until 2026-12-01T00:00:00Z, found ok"
    )


def test_a_flag_without_a_budget_must_be_ok_or_past_its_end() -> None:
    assert not flags(0, BLOCKED).ok
    assert flags(0, BLOCKED, now_ms=1_796_083_200_000).ok
    assert flags(0, BLOCKED | {"state": "ok", "blocked": False}).ok


def test_an_exact_budget_replaces_the_pattern_of_the_same_window_and_unit() -> None:
    own = BUDGET.model_copy(update={"id": "own", "scope": "user/u1", "limit": "1000"})
    assert flags(20 * USD + USD // 2, None, BUDGET, own).ok
    events = own.model_copy(update={"unit": "events"})
    assert flags(20 * USD + USD // 2, BLOCKED, BUDGET, events).ok


def test_the_flag_of_a_scope_that_moved_says_what_held_at_the_cut_or_since() -> None:
    half = USD // 2
    assert flags(19 * USD, BLOCKED, BUDGET, since=(20 * USD + half, 21 * USD)).ok
    assert flags(20 * USD + half, BLOCKED, BUDGET, since=(21 * USD,)).ok
    assert not flags(19 * USD, BLOCKED, BUDGET, since=(21 * USD,)).ok


NOTE = "ada stopped all spending: why"
STOPPED: dict[str, Any] = {
    "scope": "global", "state": "stopped", "blocked": True, "action": "stop", "reason": "spending_stopped",
    "budget": None, "window": None, "limit": None, "unit": None, "spent": None, "percent": None,
    "since": "2026-11-21T09:00:00Z", "until": None, "revision": 3, "note": NOTE,
}  # fmt: skip


def global_flag(flag: dict[str, Any] | None, stopped: str | None = NOTE, spent_usd: int = 0) -> Check:
    budget = BUDGET.model_copy(update={"id": "company", "scope": "global"})
    check = FlagsCheck(Limits([budget]), stopped)
    month = MONTH.replace("user/u1", "global")
    found = view(state={month: Sum(spent_usd * USD, 0, 1)} if spent_usd else {})
    found.flags = {"global": msgspec.json.encode(flag)} if flag is not None else {}
    check.compare(found, NOW_MS)
    return check.finish()


def test_the_flag_of_a_stop_is_right_whatever_is_spent() -> None:
    assert global_flag(STOPPED).ok
    assert global_flag(STOPPED, spent_usd=30).ok


@pytest.mark.parametrize(
    "wrong", [{"note": "eve stopped all spending"}, {"state": "ok", "blocked": False}, {"budget": "company"},
              {"until": "2026-12-01T00:00:00Z"}, {"reason": "usage_limit_exceeded"}],
)  # fmt: skip
def test_a_flag_that_says_something_else_than_the_stop_is_a_difference(wrong: dict[str, Any]) -> None:
    assert not global_flag(STOPPED | wrong).ok


def test_a_stop_without_a_flag_is_a_difference_even_where_nothing_was_spent() -> None:
    assert global_flag(None).difference == (
        "flag of global: expected stopped by hand: ada stopped all spending: why, found none"
    )
    assert not global_flag(None, spent_usd=30).ok


def test_a_flag_that_is_stopped_by_nobody_is_a_difference() -> None:
    assert not global_flag(STOPPED, stopped=None).ok
    assert not global_flag(STOPPED, stopped=None, spent_usd=30).ok


def test_a_flag_that_is_no_json_is_a_difference() -> None:
    check = FlagsCheck(Limits())
    found = View(flags={"user/u1": b"{"})
    check.compare(found, NOW_MS)
    assert not check.finish().ok


def scoped(scope: str, key: str, flag: dict[str, Any] | None, limits: Limits, **given: Any) -> Check:
    """The flag of a scope that has spent 20.5 USD in 3 events in one window."""
    check = FlagsCheck(limits, None, given.pop("meters", ()), 1)
    found = view(state={key: Sum(20 * USD + USD // 2, 0, 3)})
    found.flags = {scope: msgspec.json.encode(flag)} if flag is not None else {}
    found.accounts = given.pop("accounts", {})
    found.accounts_since = given.pop("since", {})
    check.compare(found, NOW_MS)
    return check.finish()


PAIR, TOKYO = "user/u1+model/m", "user/u1+model/m|month@Asia/Tokyo|2026-10-31T15:00:00Z"
PATTERN = BUDGET.model_copy(update={"id": "p", "scope": "user/*+model/m", "timezone": "Asia/Tokyo"})
IN_TOKYO = {"kind": "month", "start": "2026-10-31T15:00:00Z", "end": "2026-11-30T15:00:00Z", "timezone": "Asia/Tokyo"}
PAIRS = BLOCKED | {"scope": PAIR, "budget": "p", "window": IN_TOKYO, "until": "2026-11-30T15:00:00Z"}
METER, MONTH_OF_TOKYO = Meter("user/*+model/m", "month@Asia/Tokyo"), (1_793_458_800_000, 1_796_050_800_000)
BEGAN = Meters({METER: {0: Began(7, *MONTH_OF_TOKYO, False)}})
WHOLE = Meters({METER: {0: Began(0, *MONTH_OF_TOKYO, True)}})


def test_the_flag_of_a_combination_is_that_of_its_calendars_window() -> None:
    limits = Limits([PATTERN])
    assert scoped(PAIR, TOKYO, PAIRS, limits, meters=(WHOLE,)).ok
    assert not scoped(PAIR, TOKYO, None, limits, meters=(WHOLE,)).ok
    # In UTC the month begins nine hours later.
    assert not scoped(PAIR, TOKYO, PAIRS | {"window": BLOCKED["window"]}, limits, meters=(WHOLE,)).ok
    assert not scoped(PAIR, TOKYO, PAIRS | {"until": "2026-12-01T00:00:00Z"}, limits, meters=(WHOLE,)).ok


def test_a_flag_says_that_its_sum_is_incomplete_exactly_while_it_is() -> None:
    limits, incomplete = Limits([PATTERN]), PAIRS | {"incomplete": True}
    assert scoped(PAIR, TOKYO, incomplete, limits, meters=(BEGAN,)).ok
    assert scoped(PAIR, TOKYO, PAIRS, limits, meters=(BEGAN,)).difference == (
        f"flag of {PAIR}: expected one that says that its sum is incomplete, found one of a whole sum"
    )
    assert not scoped(PAIR, TOKYO, incomplete, limits, meters=(WHOLE,)).ok
    # Filled since the state was read.
    for flag in (PAIRS, incomplete):
        assert scoped(PAIR, TOKYO, flag, limits, meters=(BEGAN, WHOLE)).ok


def test_a_flag_names_the_scopes_that_it_leaves_alone() -> None:
    excepted = BUDGET.model_copy(update={"except_": ("provider/groq",)})
    limits = Limits([excepted])
    assert scoped("user/u1", MONTH, BLOCKED | {"except": ["provider/groq"]}, limits).ok
    assert not scoped("user/u1", MONTH, BLOCKED, limits).ok
    assert not scoped("user/u1", MONTH, BLOCKED | {"except": ["provider/groq"]}, Limits([BUDGET])).ok


def test_of_several_blocks_a_flag_leaves_alone_what_all_of_them_leave_alone() -> None:
    """Of 20 USD 20.5 are spent, and of 3 calls 3 are made."""
    for usd, calls, left_alone in (
        (("provider/groq",), (), []),
        (("provider/groq",), ("provider/groq", "model/x"), ["provider/groq"]),
        (("provider/groq", "user/u1"), ("model/x",), ["provider/groq+model/x", "user/u1+model/x"]),
        (("model/y",), ("model/x",), []),
    ):
        both = [
            BUDGET.model_copy(update={"except_": usd}),
            BUDGET.model_copy(update={"except_": calls, "id": "calls", "unit": "events", "limit": "3"}),
        ]
        assert scoped("user/u1", MONTH, BLOCKED | {"except": left_alone}, Limits(both)).ok, left_alone
        assert not scoped("user/u1", MONTH, BLOCKED | {"except": ["model/z"]}, Limits(both)).ok
    # 3 of 4 calls are no block, whatever it leaves alone.
    both[1] = both[1].model_copy(update={"limit": "4"})
    assert scoped("user/u1", MONTH, BLOCKED | {"except": ["model/y"]}, Limits(both)).ok


def test_a_budget_may_end_between_two_seconds() -> None:
    ends = BUDGET.model_copy(update={"valid_to": "2026-11-25T12:00:00.250Z"})
    assert flags(20 * USD + USD // 2, BLOCKED | {"until": "2026-11-25T12:00:00.250Z"}, ends).ok
    assert not flags(20 * USD + USD // 2, BLOCKED | {"until": "2026-11-25T12:00:00Z"}, ends).ok


def test_a_flag_lasts_until_another_budget_replaces_the_one_it_names() -> None:
    """Of the budgets of the same names, window and unit; one that has begun and ended replaces none."""
    own = {"id": "own", "scope": "user/u1", "valid_from": "2026-11-25T00:00:00Z"}
    soon = BLOCKED | {"until": "2026-11-25T00:00:00Z"}
    assert flags(20 * USD + USD // 2, soon, BUDGET, BUDGET.model_copy(update=own)).ok
    assert not flags(20 * USD + USD // 2, BLOCKED, BUDGET, BUDGET.model_copy(update=own)).ok
    for other in ({"unit": "images"}, {"valid_from": "2026-11-01T00:00:00Z", "valid_to": "2026-11-21T00:00:00Z"}):
        assert flags(20 * USD + USD // 2, BLOCKED, BUDGET, BUDGET.model_copy(update=own | other)).ok


def test_a_level_does_no_less_than_those_below_it() -> None:
    levels = {"critical": {"percent": "100", "action": "block"}, "emergency": {"percent": "102", "action": "alert"}}
    given = BudgetRecord.model_validate(BUDGET.model_dump() | {"thresholds": levels})
    assert flags(20 * USD + USD // 2, BLOCKED, given).ok


def test_a_flag_says_what_open_reservations_hold_of_its_limit() -> None:
    accounts = {
        "h|u1|s|r1": msgspec.json.encode(["o", USD // 10, 0, NOW_MS, {"model": "m"}, "s", 0, {}]),
        "h|u1|s|r2": msgspec.json.encode(["o", USD // 2, 0, NOW_MS, {"model": "o"}, "s", 0, {}]),
        "h|u2|s|r3": msgspec.json.encode(["o", USD, 0, NOW_MS, {"model": "m"}, "s", 0, {}]),
    }
    given = {"accounts": accounts, "meters": (WHOLE,)}
    # Of the user 0.10 and 0.50 USD, and of the user and the model 0.10 USD.
    assert scoped("user/u1", MONTH, BLOCKED | {"reserved": "0.6"}, Limits([BUDGET]), **given).ok
    assert scoped(PAIR, TOKYO, PAIRS | {"reserved": "0.1"}, Limits([PATTERN]), **given).ok
    assert scoped(PAIR, TOKYO, PAIRS, Limits([PATTERN]), **given).difference == (
        f"flag of {PAIR}: expected 0.1 reserved, found nothing"
    )
    assert scoped("user/u1", MONTH, BLOCKED | {"reserved": "9"}, Limits([BUDGET]), since={"h|u1|s|r1": [None]}).ok


def test_the_limit_of_a_plan_is_told_as_its_budget() -> None:
    assigned = {"default": AssignmentRecord(plan="free")}
    scope = "user/u1+feature/video"
    key = f"{scope}|month|2026-11-01T00:00:00Z"
    # 3 of 10 videos.
    assert scoped(scope, key, None, Limits([], [], assigned)).ok
    plan = PlanRecord.model_validate({"id": "free", "name": "Free", "limits": [{"feature": "video", "limit": "3"}]})
    reached = BLOCKED | {
        "scope": scope, "budget": "plan/free/video/events", "limit": "3", "unit": "events", "spent": "3",
        "percent": "100.00",
    }  # fmt: skip
    whole = Meters({Meter("user/*+feature/video", "month"): {0: Began(0, 0, 0, True)}})
    assert scoped(scope, key, reached, Limits([], [plan], assigned), meters=(whole,)).ok
    assert not scoped(scope, key, None, Limits([], [plan], assigned), meters=(whole,)).ok


def test_a_spend_record_of_a_calendar_says_its_zone_and_its_end() -> None:
    value = Sum(20 * USD, 0, 2)
    wrong = (IN_TOKYO | {"timezone": "UTC"}, IN_TOKYO | {"end": "2026-11-30T16:00:00Z"})
    for given, ok in ((IN_TOKYO, True), *((one, False) for one in wrong)):
        record = spend_record(scope=PAIR, window=given)
        assert spend({TOKYO: value}, view((TOKYO, record), state={TOKYO: value})).ok is ok
