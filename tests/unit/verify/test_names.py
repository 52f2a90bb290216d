"""Scopes, their names, and which patterns cover them."""

import pytest

from tollgate.verification.names import covers, names_of, raw, scope_in, user_of, written


@pytest.mark.parametrize(
    ("name", "as_written"),
    [("u1", "u1"), ("a/b+c", "a/b+c"), ("u1+model/x", "u1%2Bmodel/x"), ("u1%2Bmodel/x", "u1%252Bmodel/x")],
)
def test_a_name_that_reads_as_a_combination_is_escaped(name: str, as_written: str) -> None:
    assert written(name) == as_written
    assert raw(as_written) == name
    assert names_of(f"user/{as_written}+model/m") == (("user", as_written), ("model", "m"))
    assert user_of(f"user/{as_written}") == name


def test_a_pattern_covers_scopes_of_its_dimensions_alone() -> None:
    assert covers("user/*+model/gpt-4o", "user/u1+model/gpt-4o")
    assert not covers("user/*+model/gpt-4o", "user/u1+model/o3")
    assert not covers("user/*", "user/u1+model/gpt-4o")
    assert not covers("user/*+model/*", "user/u1+feature/video")
    assert covers("global", "global")


def test_an_event_without_one_of_the_names_is_in_no_combination() -> None:
    names = ("u1", "", "", "openai", "gpt-4o", "", "", "", "")
    assert scope_in(("user", "model"), names) == "user/u1+model/gpt-4o"
    assert scope_in(("user", "feature"), names) is None
    assert scope_in((), names) == "global"
