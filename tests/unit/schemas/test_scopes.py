"""Scopes as text: one name, combinations, and names that look like combinations."""

import random

import pytest

from tollgate.schemas.scopes import Dimension, escaped, parse_names, parse_scope, scope_of, scope_of_all

USER, ORG, MODEL, FEATURE = Dimension.USER, Dimension.ORG, Dimension.MODEL, Dimension.FEATURE


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("global", ()),
        ("user/u1", ((USER, "u1"),)),
        ("model/meta/llama-3", ((MODEL, "meta/llama-3"),)),
        ("user/u1+model/gpt-4o", ((USER, "u1"), (MODEL, "gpt-4o"))),
        ("user/u1+model/meta/llama-3+feature/chat", ((USER, "u1"), (MODEL, "meta/llama-3"), (FEATURE, "chat"))),
        ("org/*+model/*", ((ORG, "*"), (MODEL, "*"))),
        # A plus is a joint only where a dimension follows.
        ("user/a+b", ((USER, "a+b"),)),
        ("user/a+team/b", ((USER, "a+team/b"),)),
        ("user/a++model/x", ((USER, "a+"), (MODEL, "x"))),
        ("user/u1%2Bmodel/x", ((USER, "u1+model/x"),)),
        ("user/u1%252Bmodel/x", ((USER, "u1%2Bmodel/x"),)),
        ("user/u1%2Bmodel/x+model/y", ((USER, "u1+model/x"), (MODEL, "y"))),
        ("user/100%2B", ((USER, "100%2B"),)),
    ],
)
def test_a_scope_has_these_names_and_they_have_this_scope(text: str, names: tuple[tuple[Dimension, str], ...]) -> None:
    assert parse_names(text) == names
    assert scope_of_all(names) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is not a scope"),
        ("user", "'user' is not a scope"),
        ("user/", "'user/' is not a scope"),
        ("team/a", "'team/a' is not a scope"),
        ("global+user/u1", "'global\\+user/u1' is not a scope"),
        ("user/u1+model/", "'user/u1\\+model/' is not a scope"),
        ("+model/x", "'\\+model/x' is not a scope"),
        ("user/u1+user/u2", "'user/u1\\+user/u2' names the dimension user twice"),
        ("model/x+user/u1", "has model before user; write user/… first"),
        ("user/u+org/o+model/m+feature/f", "has 4 names; a combination has at most 3"),
        ("user/a\x1bb", "without control characters"),
        (f"user/{'x' * 257}", "must be 1 to 256 characters"),
        (f"user/u+model/{'x' * 257}", "must be 1 to 256 characters"),
    ],
)
def test_what_is_no_scope_is_refused_in_a_sentence(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_names(text)


def test_a_combination_is_not_one_name() -> None:
    assert parse_scope("global") is None
    assert parse_scope("user/u1%2Bmodel/x") == (USER, "u1+model/x")
    with pytest.raises(ValueError, match="'user/u1\\+model/x' is a combination of 2 names, where one is needed"):
        parse_scope("user/u1+model/x")


def test_only_a_plus_before_a_dimension_is_written_otherwise() -> None:
    assert scope_of(USER, "u1+model/x") == "user/u1%2Bmodel/x"
    for name in ("a+b", "a+b/c", "a/b+c", "meta/llama", "a+models/x", "100%2B", "%2bmodel/x"):
        assert escaped(name) == name


def test_no_two_lists_of_names_are_written_alike() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rnd = random.Random(seed)
    pieces = ["+", "%", "2B", "25", "%2B", "%252B", "model/", "user/", "feature/", "/", "a", "model", "u1"]
    for _ in range(20_000):
        chosen = rnd.sample(list(Dimension), rnd.randint(1, 3))
        dimensions = [dimension for dimension in Dimension if dimension in chosen]
        names = tuple((d, "".join(rnd.choices(pieces, k=rnd.randint(1, 6)))) for d in dimensions)
        assert parse_names(scope_of_all(names)) == names
