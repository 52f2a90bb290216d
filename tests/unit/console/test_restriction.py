"""What a caller may see: one rule, by role, user and org."""

import pytest

from tollgate.console.access.callers import Caller, Role
from tollgate.console.access.restriction import check_scope, may_see, restriction_of
from tollgate.console.numbers import Restriction
from tollgate.console.problems import Problem

COMPANY = Caller("a", Role.VIEWER)
ORG = Caller("b", Role.ADMIN, org="acme")
USER = Caller("c", Role.USER, user="u-1")
USER_OF_ORG = Caller("d", Role.USER, user="u-1", org="acme")
NOBODY = Caller("e", Role.USER)


def test_questions_are_confined_to_what_a_caller_may_see() -> None:
    assert restriction_of(COMPANY) == Restriction("", "")
    assert restriction_of(ORG) == Restriction("", "acme")
    assert restriction_of(USER) == Restriction("u-1", "")
    assert restriction_of(USER_OF_ORG) == Restriction("u-1", "acme")


def test_a_user_without_a_name_is_not_everybody() -> None:
    with pytest.raises(Problem) as caught:
        restriction_of(NOBODY)
    assert caught.value.status == 403
    with pytest.raises(Problem):
        may_see(NOBODY, "global")


@pytest.mark.parametrize(
    ("scope", "company", "org", "user"),
    [
        ("global", True, False, False),
        ("user/u-1", True, False, True),
        ("user/u-11", True, False, False),
        ("user/u-2", True, False, False),
        ("user/U-1", True, False, False),
        ("user/u-1+org/acme", True, True, True),
        ("user/u-2+org/acme", True, True, False),
        ("user/u-1+feature/video", True, False, True),
        ("user/u-2+feature/u-1", True, False, False),
        # A user whose own name is `u-1+org/acme`.
        ("user/u-1%2Borg/acme", True, False, False),
        ("org/acme+model/x", True, True, False),
        ("org/acme2+model/x", True, False, False),
        ("user/u-1/x", True, False, False),
        ("org/acme", True, True, False),
        ("org/acme2", True, False, False),
        ("org/globex", True, False, False),
        ("agent/SEO", True, False, False),
    ],
)
def test_scopes_by_caller(scope: str, company: bool, org: bool, user: bool) -> None:
    table = [(COMPANY, company), (ORG, org), (USER, user), (USER_OF_ORG, user)]
    for caller, allowed in table:
        assert may_see(caller, scope) is allowed
        if allowed:
            check_scope(caller, scope)
        else:
            with pytest.raises(Problem) as caught:
                check_scope(caller, scope)
            assert (caught.value.status, caught.value.error) == (403, "not_allowed")


@pytest.mark.parametrize("scope", ["", "user", "user/", "users/u-1", "user/a\nb", "user/" + "x" * 257, "GLOBAL"])
def test_what_is_no_scope_is_refused_alike_for_all(scope: str) -> None:
    for caller in (COMPANY, ORG, USER):
        with pytest.raises(Problem) as caught:
            check_scope(caller, scope)
        assert caught.value.status == 422
