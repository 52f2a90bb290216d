"""The flag reader's memory, without Kafka: records are handed to it as they arrive."""

import json
from itertools import combinations
from typing import Any, Literal

import pytest

from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import FlagState
from tollgate.schemas.vocabulary import Dimension
from tollgate.sdk import FlagReader

NOW_MS = parse_instant("2026-11-21T10:00:00Z")


def value(
    scope: str, state: str = "blocked", revision: int = 1, excepted: list[str] | None = None, **changes: Any
) -> bytes:
    given = {
        "scope": scope,
        "state": state,
        "blocked": state in ("blocked", "stopped"),
        "reason": "usage_limit_exceeded",
        "since": "2026-11-21T09:00:00Z",
        "until": "2026-12-01T00:00:00Z",
        "revision": revision,
        "except": excepted,
    }
    return json.dumps(given | changes).encode()


@pytest.fixture
def flags() -> FlagReader:
    return FlagReader("nowhere:1", now_ms=lambda: NOW_MS, clock_ms=lambda: NOW_MS)


def test_a_call_is_checked_against_each_of_its_scopes_and_the_company(flags: FlagReader) -> None:
    flags.take("agent/SEO", value("agent/SEO"))
    assert flags.check(user="u1").allowed
    assert not flags.check(user="u1", agent="SEO").allowed
    assert flags.check(user="u1", agent=None, model="").allowed
    flags.take("global", value("global", "stopped", reason="spending_stopped"))
    assert flags.check().http_status == 503


def test_an_older_revision_changes_nothing(flags: FlagReader) -> None:
    flags.take("user/u1", value("user/u1", revision=7))
    flags.take("user/u1", value("user/u1", "ok", revision=6))
    assert flags.check(user="u1").state is FlagState.BLOCKED
    flags.take("user/u1", value("user/u1", "ok", revision=8))
    assert flags.check(user="u1").allowed


def test_a_null_removes_the_flag(flags: FlagReader) -> None:
    flags.take("user/u1", value("user/u1"))
    flags.take("user/u1", None)
    flags.take("user/never-seen", None)
    assert flags.flag("user/u1") is None
    assert flags.check(user="u1").allowed


def test_a_record_that_is_no_flag_is_ignored(flags: FlagReader) -> None:
    flags.take("user/u1", value("user/u1"))
    flags.take("user/u1", b"{")
    assert not flags.check(user="u1").allowed


def test_in_force_lists_what_warns_or_blocks_now(flags: FlagReader) -> None:
    flags.take("user/b", value("user/b"))
    flags.take("user/a", value("user/a", "warning"))
    flags.take("user/c", value("user/c", "ok"))
    flags.take("user/d", value("user/d", until="2026-11-21T10:00:00Z"))
    assert [flag.scope for flag in flags.in_force()] == ["user/a", "user/b"]


def test_an_unknown_dimension_is_a_mistake_in_the_program(flags: FlagReader) -> None:
    with pytest.raises(TypeError, match="'usr' is no dimension"):
        flags.check(usr="u1")


EVERY_NAME = {dimension.value: f"{dimension.value}-1" for dimension in Dimension}


@pytest.mark.parametrize(
    ("scope", "call", "allowed"),
    [
        ("user/u1+model/gpt-4o", {"user": "u1", "model": "gpt-4o"}, False),
        ("user/u1+model/gpt-4o", {"model": "gpt-4o", "user": "u1", "agent": "SEO"}, False),
        ("user/u1+model/gpt-4o", {"user": "u1", "model": "gpt-4o-mini"}, True),
        ("user/u1+model/gpt-4o", {"user": "u1"}, True),
        ("user/u1+model/gpt-4o", {"model": "gpt-4o"}, True),
        ("org/acme+model/a/b+feature/video", {"org": "acme", "model": "a/b", "feature": "video"}, False),
        ("org/acme+model/a/b+feature/video", {"org": "acme", "model": "a/b"}, True),
        # A user whose id looks like a combination is not one.
        ("user/u1+model/x", {"user": "u1+model/x"}, True),
        ("user/u1%2Bmodel/x", {"user": "u1+model/x"}, False),
        ("user/u1%2Bmodel/x", {"user": "u1", "model": "x"}, True),
    ],
)
def test_a_call_is_checked_against_the_combinations_of_its_names(
    flags: FlagReader, scope: str, call: dict[str, str], allowed: bool
) -> None:
    flags.take(scope, value(scope))
    assert flags.check(**call).allowed is allowed


def test_each_combination_of_two_or_three_names_blocks(flags: FlagReader) -> None:
    names = [f"{dimension}/{name}" for dimension, name in EVERY_NAME.items()]
    scopes = ["+".join(some) for count in (2, 3) for some in combinations(names, count)]
    assert len(scopes) == 36 + 84
    for scope in scopes:
        flags.take(scope, value(scope))
        assert flags.check(**EVERY_NAME).scope == scope
        flags.take(scope, None)
    assert flags.check(**EVERY_NAME).allowed


def test_only_shapes_that_are_held_are_looked_for(flags: FlagReader) -> None:
    asked = flags._knowledge._shapes.scopes_of
    assert asked({"user": "user/u1", "model": "model/x"}) == ["global", "user/u1", "model/x"]
    for user in ("u1", "u2"):
        flags.take(f"user/{user}+model/x", value(f"user/{user}+model/x"))
        flags.take(f"user/{user}+model/x", value(f"user/{user}+model/x", revision=2))
    combined = ["global", "user/u9", "model/x", "user/u9+model/x"]
    assert asked({"user": "user/u9", "model": "model/x"}) == combined
    flags.take("user/u1+model/x", None)
    assert asked({"user": "user/u9", "model": "model/x"}) == combined
    flags.take("user/u2+model/x", None)
    flags.take("user/u2+model/x", None)
    assert asked({"user": "user/u9", "model": "model/x"}) == combined[:3]


@pytest.mark.parametrize(
    ("excepted", "call", "allowed"),
    [
        (["provider/groq"], {"user": "u1", "provider": "groq"}, True),
        (["provider/groq"], {"user": "u1", "provider": "openai"}, False),
        (["provider/groq"], {"user": "u1"}, False),
        (["model/x", "provider/groq"], {"user": "u1", "provider": "groq", "model": "y"}, True),
        (["provider/groq+feature/chat"], {"user": "u1", "provider": "groq", "feature": "chat"}, True),
        (["provider/groq+feature/chat"], {"user": "u1", "provider": "groq", "feature": "video"}, False),
        # What is no scope, or is every call, excepts nothing.
        (["groq", "global"], {"user": "u1", "provider": "groq"}, False),
        ([], {"user": "u1", "provider": "groq"}, False),
    ],
)
def test_a_block_leaves_alone_the_calls_that_it_excepts(
    flags: FlagReader, excepted: list[str], call: dict[str, str], allowed: bool
) -> None:
    flags.take("user/u1", value("user/u1", excepted=excepted))
    assert flags.check(**call).allowed is allowed


def test_a_block_that_excepts_a_call_hides_no_other(flags: FlagReader) -> None:
    flags.take("user/u1", value("user/u1", "stopped", excepted=["provider/groq"]))
    flags.take("provider/groq", value("provider/groq", "warning"))
    decision = flags.check(user="u1", provider="groq")
    assert (decision.allowed, decision.state, decision.scope) == (True, FlagState.WARNING, "provider/groq")
    flags.take("org/acme", value("org/acme"))
    assert flags.check(user="u1", provider="groq", org="acme").scope == "org/acme"


def closed_budget(scope: str, **changes: Any) -> bytes:
    return json.dumps({"scope": scope, "limit": "100", "fail": "closed"} | changes).encode()


@pytest.mark.parametrize(
    ("scope", "call", "allowed"),
    [
        ("global", {}, False),
        ("user/u1", {"user": "u1"}, False),
        ("user/u1", {"user": "u2"}, True),
        ("user/*", {"user": "u2"}, False),
        ("user/*", {"agent": "SEO"}, True),
        ("user/*+feature/video", {"user": "u2", "feature": "video"}, False),
        ("user/*+feature/video", {"user": "u2", "feature": "chat"}, True),
        ("org/acme+model/*", {"org": "acme", "model": "x"}, False),
        ("org/acme+model/*", {"org": "acme"}, True),
    ],
)
def test_while_nothing_is_known_a_closed_budget_lets_nothing_through(
    flags: FlagReader, scope: str, call: dict[str, str], allowed: bool
) -> None:
    flags._knowledge.take_control("budget/b1", closed_budget(scope))
    decision = flags.check(**call)
    assert decision.allowed is allowed
    if not allowed:
        assert (decision.state, decision.http_status, decision.error) == ("blocked", 503, "limits_unknown")
    flags._knowledge._known_at_ms = NOW_MS - 60_000
    assert flags.check(**call).allowed
    flags._knowledge._known_at_ms = NOW_MS - 60_001
    assert flags.check(**call).allowed is allowed


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"fail": "open"}, True),
        ({"fail": "open", "note": "closed"}, True),
        ({"valid_from": "2026-11-21T10:00:00Z", "valid_to": "2026-11-21T10:00:00.001Z"}, False),
        ({"valid_from": "2026-11-21T10:00:00.001Z"}, True),
        ({"valid_to": "2026-11-21T10:00:00Z"}, True),
    ],
)
def test_a_budget_is_closed_while_it_is_valid_and_says_so(
    flags: FlagReader, changes: dict[str, str], allowed: bool
) -> None:
    flags._knowledge.take_control("budget/b1", closed_budget("user/u1", **changes))
    assert flags.check(user="u1").allowed is allowed


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        ({"user": "u1", "provider": "openai"}, False),
        ({"user": "u1", "provider": "groq"}, True),
        ({"user": "u1", "model": "gpt-4o-mini"}, True),
        ({"user": "u2", "model": "gpt-4o-mini"}, False),
    ],
)
def test_a_closed_budget_lets_through_what_its_block_would_leave_alone(
    flags: FlagReader, call: dict[str, str], allowed: bool
) -> None:
    excepted = ["provider/groq", "user/u1+model/gpt-4o-mini", "nonsense"]
    flags._knowledge.take_control("budget/b1", closed_budget("user/*", **{"except": excepted}))
    assert flags.check(**call).allowed is allowed
    flags._knowledge.take_control("budget/b2", closed_budget("global", **{"except": None}))
    assert not flags.check(**call).allowed


@pytest.mark.parametrize("change", [None, b'{"scope": "user/u1", "fail": "open"}', b'{"scope": "user/u2"}'])
def test_a_budget_that_is_removed_or_opened_closes_nothing(flags: FlagReader, change: bytes | None) -> None:
    flags._knowledge.take_control("budget/b1", closed_budget("user/u1"))
    flags._knowledge.take_control("price/b1", change)
    flags._knowledge.take_control("budget/b1", b'{"fail": "closed"}')
    flags._knowledge.take_control("budget/b1", closed_budget("nonsense"))
    assert not flags.check(user="u1").allowed
    flags._knowledge.take_control("budget/b1", change)
    assert flags.check(user="u1").allowed


@pytest.mark.parametrize(("when_unknown", "allowed"), [("open", True), ("closed", False)])
def test_a_reader_that_never_read_decides_as_it_was_told(
    when_unknown: Literal["open", "closed"], allowed: bool
) -> None:
    flags = FlagReader("nowhere:1", now_ms=lambda: NOW_MS, clock_ms=lambda: NOW_MS, when_unknown=when_unknown)
    assert flags.knowledge_age_ms is None
    assert flags.check(user="u1").allowed is allowed
    flags._knowledge._known_at_ms = NOW_MS - 250
    assert flags.knowledge_age_ms == 250
    assert flags.check(user="u1").allowed


def test_a_known_block_is_told_also_when_the_knowledge_is_old() -> None:
    flags = FlagReader("nowhere:1", now_ms=lambda: NOW_MS, clock_ms=lambda: NOW_MS, when_unknown="closed")
    flags.take("user/u1", value("user/u1"))
    assert flags.check(user="u1").http_status == 429


def test_to_reserve_needs_the_name_of_the_service(flags: FlagReader) -> None:
    with pytest.raises(TypeError, match=r"FlagReader\(\.\.\., source=\.\.\.\)"):
        flags.reserve(user="u1", usd="0.10")
    with pytest.raises(TypeError, match="'modle' is no dimension"):
        FlagReader("nowhere:1", source="s").reserve(user="u1", usd="0.10", modle="x")
