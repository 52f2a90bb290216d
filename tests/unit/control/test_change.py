"""Facts about what a change writes, and when it is refused."""

import json
from typing import Any

import pytest

from tollgate.control import InUseError, InvalidRecordError, NoRecordError, RepeatedKeyError, VersionConflictError
from tollgate.control.change import Change, Plan, new_change, plan
from tollgate.control.state import REQUEST_MS, State
from tollgate.schemas.tokens import Role, TokenKind, new_token_text, token_record
from tollgate.schemas.topics import Topic

NOW_MS = 1_795_000_000_000
NOW = "2026-11-18T11:06:40Z"
KEY = "budget/global:month:usd"
PRICE: dict[str, Any] = {
    "id": "stop",
    "provider": "p",
    "model": "m",
    "rates": [{"dimension": "images", "usd": "1"}],
    "effective_from": "2026-01-01T00:00:00Z",
}
BUDGET: dict[str, Any] = {"scope": "global", "limit": "100"}


def change(key: str = KEY, value: dict[str, Any] | None = BUDGET, **given: Any) -> Change:
    """A change by alice."""
    wanted: dict[str, Any] = {"actor": "cli:alice", "reason": "", "expect_version": None, "idempotency_key": ""}
    return new_change("change-1", key, value, **({**wanted, "request": None} | given))


def made(state: State, asked: Change, now_ms: int = NOW_MS) -> Plan:
    """Make the change and let the state read what it wrote."""
    done = plan(state, asked, now_ms)
    for record in done.records:
        if record.topic is Topic.CONTROL:
            state.take(record.key.decode(), record.value, record.headers)
    return done


def audits(done: Plan) -> list[dict[str, Any]]:
    """The audit records that the plan writes."""
    return [json.loads(record.value or b"") for record in done.records if record.topic is Topic.AUDIT]


def token(kind: TokenKind, lifetime_ms: int | None = None) -> tuple[str, dict[str, Any]]:
    """The key and value of a new token."""
    record = token_record(new_token_text(), Role.ADMIN, NOW_MS, kind=kind, lifetime_ms=lifetime_ms)
    return f"token/{record.id}", record.model_dump(mode="json")


def test_versions_count_from_1() -> None:
    state = State()
    assert [made(state, change()).changed.version for _ in range(3)] == [1, 2, 3]
    assert state.held[KEY].version == 3


def test_what_a_value_says_of_its_change_is_replaced() -> None:
    state = State()
    lie = BUDGET | {"actor": "somebody", "reason": "none", "version": 99, "updated_at": "2020-01-01T00:00:00Z"}
    after = made(state, change(value=lie, reason="more room")).changed.after
    assert after is not None
    assert list(after.items())[-4:] == [
        ("actor", "cli:alice"),
        ("reason", "more room"),
        ("version", 1),
        ("updated_at", NOW),
    ]


def test_an_audit_record_says_who_changed_what_from_what_to_what() -> None:
    state = State()
    made(state, change())
    (told,) = audits(made(state, change(value=BUDGET | {"limit": "150.0"}, reason="holidays")))
    assert {name: told[name] for name in ("id", "time", "actor", "action", "key", "kind", "reason", "version")} == {
        "id": "change-1",
        "time": NOW,
        "actor": "cli:alice",
        "action": "set",
        "key": KEY,
        "kind": "budget",
        "reason": "holidays",
        "version": 2,
    }
    assert (told["before"]["limit"], told["after"]["limit"]) == ("100", "150")


def test_a_removal_is_a_version_and_the_next_record_goes_on_counting() -> None:
    state = State()
    made(state, change())
    removal = made(state, change(value=None))
    assert (removal.changed.version, removal.changed.after) == (2, None)
    assert audits(removal)[0]["action"] == "remove"
    assert made(state, change(expect_version=0)).changed.version == 3


def test_a_removal_by_another_program_is_a_version_too() -> None:
    state = State()
    made(state, change())
    state.take(KEY, None, ())
    assert made(state, change()).changed.version == 3


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_any_other_version_than_the_expected_one_is_a_conflict(expected: int) -> None:
    state = State()
    made(state, change())
    made(state, change(actor="cli:bob"))
    with pytest.raises(VersionConflictError) as raised:
        plan(state, change(expect_version=expected), NOW_MS)
    assert (raised.value.expected, raised.value.found) == (expected, 2)
    assert f"it is at version 2, changed by cli:bob at {NOW}" in str(raised.value)
    assert made(state, change(expect_version=2)).changed.version == 3


def test_a_record_that_was_removed_meanwhile_is_a_conflict() -> None:
    state = State()
    made(state, change())
    made(state, change(value=None))
    with pytest.raises(VersionConflictError, match="it does not exist any more"):
        plan(state, change(expect_version=1), NOW_MS)


def test_a_key_without_a_record_cannot_be_removed() -> None:
    with pytest.raises(NoRecordError):
        plan(State(), change(value=None), NOW_MS)


def test_a_setting_is_changed_and_removed_and_leaves_a_price_of_its_name() -> None:
    state = State()
    made(state, change("price/stop", PRICE))
    stopped = {"name": "stop", "value": {"stopped": True}}
    after = made(state, change("setting/stop", stopped, reason="why")).changed.after
    assert after == stopped | {"actor": "cli:alice", "reason": "why", "version": 1, "updated_at": NOW}
    made(state, change("setting/stop", None))
    assert list(state.prices) == ["stop"]


def test_a_record_of_an_earlier_release_is_version_1() -> None:
    state = State()
    state.take(KEY, json.dumps(BUDGET | {"updated_at": NOW}).encode(), ())
    assert (state.held[KEY].version, state.held[KEY].actor) == (1, "")
    assert made(state, change(expect_version=1)).changed.version == 2


def test_a_record_that_cannot_be_read_can_be_replaced_and_removed() -> None:
    state = State()
    state.take(KEY, b'{"scope": "global", "limit": "-1"}', ())
    assert KEY not in state.held
    assert state.unreadable == {KEY}
    assert plan(state, change(value=None), NOW_MS).changed.before is None
    assert made(state, change(expect_version=1)).changed.version == 2
    assert not state.unreadable


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (KEY, {"scope": "global"}),
        (KEY, BUDGET | {"id": "another"}),
        ("budget/", BUDGET),
        ("budget", BUDGET),
        ("plan/free", {"id": "free"}),
        ("request/1", None),
        ("setting/stop", {"name": "stop", "value": {"stopped": "no"}}),
        ("setting/stop", {"name": "stop"}),
        ("setting/stop", {"name": "other", "value": {"stopped": True}}),
    ],
)
def test_what_is_no_record_of_a_known_kind_is_refused(key: str, value: dict[str, Any] | None) -> None:
    with pytest.raises(InvalidRecordError):
        change(key, value)


@pytest.mark.parametrize("text", [{"actor": ""}, {"actor": "a\nb"}, {"reason": "x" * 1025}, {"reason": "\ud800"}])
def test_actor_and_reason_are_bounded_texts(text: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecordError):
        change(**text)


def test_the_same_request_again_changes_nothing_and_has_the_same_answer() -> None:
    state = State()
    first = made(state, change(idempotency_key="k"))
    again = plan(state, change(idempotency_key="k"), NOW_MS + REQUEST_MS - 1)
    assert again.records == ()
    assert again.changed == first.changed._replace(replayed=True)


def test_an_idempotency_key_stands_for_one_request_of_one_actor() -> None:
    state = State()
    made(state, change(idempotency_key="k"))
    with pytest.raises(RepeatedKeyError):
        plan(state, change(value=BUDGET | {"limit": "1"}, idempotency_key="k"), NOW_MS)
    assert made(state, change(actor="cli:bob", idempotency_key="k")).changed.version == 2


def test_a_request_may_say_itself_what_makes_it_the_same() -> None:
    state = State()
    key, value = token(TokenKind.API)
    first = made(state, change(key, value, idempotency_key="k", request="a token for grafana"))
    other, value = token(TokenKind.API)
    again = plan(state, change(other, value, idempotency_key="k", request="a token for grafana"), NOW_MS)
    assert (again.changed.key, again.changed.replayed) == (first.changed.key, True)


def test_an_idempotency_key_is_cleared_away_after_24_hours() -> None:
    state = State()
    made(state, change(idempotency_key="k"))
    made(state, change(), NOW_MS + REQUEST_MS - 1)
    assert len(state.requests) == 1
    made(state, change(), NOW_MS + REQUEST_MS)
    assert state.requests == {}


def test_sessions_and_login_links_are_cleared_away_when_they_expire_and_other_tokens_are_kept() -> None:
    state = State()
    for kind in TokenKind:
        made(state, change(*token(kind, lifetime_ms=1000)))
    made(state, change(), NOW_MS + 999)
    assert len([key for key in state.held if key.startswith("token/")]) == 3
    made(state, change(), NOW_MS + 1000)
    assert [held.value["kind"] for key, held in state.held.items() if key.startswith("token/")] == ["api"]


def test_the_audit_tells_api_tokens_and_new_login_links_and_never_a_hash() -> None:
    state, told = State(), []
    for kind in TokenKind:
        key, value = token(kind)
        for asked in (change(key, value), change(key, None)):
            done = made(state, asked)
            told += [(kind.value, record["action"]) for record in audits(done)]
            assert value["hash"] not in json.dumps(audits(done))
    assert told == [("api", "set"), ("api", "remove"), ("login", "set")]


PLAN: dict[str, Any] = {"name": "Team", "limits": [{"feature": "video", "limit": "10"}]}


def test_a_plan_has_versions_an_audit_and_conflicts() -> None:
    state = State()
    assert made(state, change("plan/team", PLAN)).changed.version == 1
    done = made(state, change("plan/team", PLAN | {"price_usd": "9"}, expect_version=1, reason="costs"))
    (told,) = audits(done)
    assert (told["kind"], told["before"]["price_usd"], told["after"]["price_usd"]) == ("plan", "0", "9")
    assert told["after"]["id"] == "team"
    with pytest.raises(VersionConflictError, match="plan/team was changed by somebody else: you expected version 1"):
        plan(state, change("plan/team", PLAN, expect_version=1), NOW_MS)
    assert state.plans["team"].price_usd == "9"


def test_a_plan_is_assigned_to_a_user_and_to_everybody_else() -> None:
    state = State()
    made(state, change("assignment/default", {"plan": "free"}))
    done = made(state, change("assignment/user/u1", {"plan": "pro", "timezone": "Asia/Tokyo"}))
    (told,) = audits(done)
    assert (told["kind"], told["key"], told["after"]["plan"]) == ("assignment", "assignment/user/u1", "pro")
    assert {key: record.plan for key, record in state.assignments.items()} == {"default": "free", "user/u1": "pro"}
    made(state, change("assignment/user/u1", None))
    assert list(state.assignments) == ["default"]


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("assignment/user/u1", {"plan": "gold"}, "there is no plan 'gold': see `tollgate plan list`."),
        ("assignment/default", {"plan": "gold"}, "there is no plan 'gold': see `tollgate plan list`."),
        (
            "assignment/org/acme",
            {"plan": "free"},
            "a plan is assigned to a user or to default, and not to 'org/acme'.",
        ),
        (
            "assignment/user/u1",
            {"plan": "free", "timezone": "Mars/Olympus"},
            "'assignment/user/u1': timezone: 'Mars/Olympus' is no IANA time zone; one is Europe/Amsterdam.",
        ),
        ("plan/other", PLAN | {"id": "team"}, "the id 'team' is not that of the key 'plan/other'."),
        (
            "plan/team",
            {"name": "Team", "credits_per_day": 0.5},
            "'plan/team': credits_per_day: Input should be a valid string.",
        ),
    ],
)
def test_a_refused_plan_or_assignment_changes_nothing(key: str, value: dict[str, Any], sentence: str) -> None:
    state = State()
    with pytest.raises(InvalidRecordError) as error:
        made(state, change(key, value))
    assert str(error.value) == sentence
    assert state.held == {}


def test_a_plan_that_somebody_has_is_not_removed() -> None:
    state = State()
    made(state, change("plan/team", PLAN))
    made(state, change("assignment/user/u1", {"plan": "team"}))
    made(state, change("assignment/user/u2", {"plan": "team"}))
    with pytest.raises(InUseError) as error:
        made(state, change("plan/team", None))
    assert str(error.value) == "the plan team is that of user/u1 and 1 more: give them another plan first."
    assert "team" in state.plans
    made(state, change("plan/free", PLAN))
    made(state, change("assignment/default", {"plan": "free"}))
    assert made(state, change("plan/free", None)).changed.after is None, "the shipped plan is there again"
