"""Versions as entity tags: when a change may be made, and what an answer says when it may not."""

import pytest
from fastapi import Response

from tollgate.console.problems import Problem
from tollgate.console.versions import conflict, expected_version, not_modified, required_version, tag
from tollgate.control import Held, VersionConflictError

HELD = Held("budget/b1", {}, 3, "2026-11-29T10:00:00.000Z", "cli:alice", "")


def test_a_put_without_a_version_creates() -> None:
    assert expected_version(None, None, "budget") == 0


def test_a_put_without_a_version_of_what_is_there_is_refused_with_its_version() -> None:
    with pytest.raises(Problem) as caught:
        expected_version(None, HELD, "budget")
    problem = caught.value
    assert (problem.status, problem.error, problem.headers) == (428, "version_required", {"ETag": '"3"'})
    with pytest.raises(Problem) as caught:
        required_version(None, HELD, "budget")
    assert caught.value.status == 428


def test_the_version_is_taken_from_the_tag() -> None:
    assert expected_version('"3"', HELD, "budget") == 3
    assert expected_version(' "2" ', HELD, "budget") == 2
    assert expected_version('"2"', None, "budget") == 2
    assert required_version('"3"', HELD, "budget") == 3
    assert expected_version("*", HELD, "budget") == 3


def test_any_version_of_nothing_is_a_failed_condition() -> None:
    with pytest.raises(Problem) as caught:
        expected_version("*", None, "budget")
    assert caught.value.status == 412


@pytest.mark.parametrize(
    "text", ["3", 'W/"3"', '"3", "4"', '""', '"a"', '"-1"', '"0"', '"3', "'3'", '"9007199254740992"', '"٣"']
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        expected_version(text, HELD, "budget")
    assert (caught.value.status, caught.value.error) == (422, "invalid_if_match")


def test_a_conflict_says_who_changed_it_and_which_version_is_there() -> None:
    problem = conflict(VersionConflictError("budget/b1", 2, 3, HELD), "budget")
    assert problem.status == 409
    assert problem.headers == {"ETag": '"3"'}
    assert problem.more == {
        "expected_version": 2,
        "version": 3,
        "changed_by": "cli:alice",
        "changed_at": "2026-11-29T10:00:00.000Z",
    }
    gone = conflict(VersionConflictError("budget/b1", 2, 0), "budget")
    assert (gone.status, gone.more) == (409, {"expected_version": 2, "version": None})


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (None, False),
        ('"3"', True),
        ('W/"3"', True),
        ('"1", "3"', True),
        ('"1",W/"3" , "9"', True),
        ("*", True),
        ('"33"', False),
        ('"1"', False),
        ("3", False),
        ("", False),
    ],
)
def test_a_reader_who_has_the_version_is_sent_nothing(text: str | None, same: bool) -> None:
    response = Response()
    answer = not_modified(response, tag(3), text)
    assert (answer is not None) is same
    shown = answer if answer is not None else response
    assert shown.headers["etag"] == '"3"'
    assert shown.status_code == (304 if same else 200)
