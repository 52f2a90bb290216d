"""Cursors of lists: opaque, checked, and never an error of ours."""

import base64
import json
import random

import pytest

from tollgate.console.paging import make_cursor, page_of, read_cursor
from tollgate.console.problems import Problem


def test_a_cursor_gives_back_what_was_put_in() -> None:
    values = ("u\n|\"'\u202e😀", 7, "")
    assert read_cursor(make_cursor("events", *values), "events", str, int, str) == list(values)
    assert read_cursor("", "events", str) is None


def test_a_cursor_belongs_to_one_list_and_one_order() -> None:
    cursor = make_cursor("events", "a", 1)
    for name, kinds in (("alerts", (str, int)), ("events", (str,)), ("events", (int, str)), ("events", ())):
        with pytest.raises(Problem) as caught:
            read_cursor(cursor, name, *kinds)
        assert (caught.value.status, caught.value.error) == (422, "invalid_cursor")


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{}",
        b"1",
        b"null",
        b"[1]",
        b'[2,"l","a"]',
        b'[1,"l",true]',
        b'[1,"l",1.5]',
        b"[" * 2000,
        b"\xff",
        b'[1,"l",' + b"9" * 5000 + b"]",
        b'[1,"l", "a"]',
        b'[1,"l","\\ud800"]',
        b'[1,"l",9223372036854775808]',
        b"NaN",
    ],
    ids=repr,
)
def test_made_up_content_is_refused(content: bytes) -> None:
    text = base64.urlsafe_b64encode(content).decode().rstrip("=")
    for kind in (str, int):
        with pytest.raises(Problem) as caught:
            read_cursor(text, "l", kind)
        assert caught.value.status == 422


def test_any_change_of_a_cursor_is_refused_or_another_position() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    cursor = make_cursor("l", "user/u-42")
    refused = 0
    for _ in range(2000):
        at = draw.randrange(len(cursor))
        changed = cursor[:at] + draw.choice("ABCabc019-_=+/ é\n\x00") + cursor[at + draw.randrange(2) :]
        try:
            found = read_cursor(changed, "l", str)
        except Problem as problem:
            refused += problem.status == 422
        else:
            refused += 1
            assert found is not None
            assert make_cursor("l", *found) == changed
    assert refused == 2000


def test_a_list_in_memory_is_cut_in_pages_that_join() -> None:
    items = [f"i{number:03}" for number in range(10)]
    shown: list[str] = []
    cursor = ""
    for expected in (4, 4, 2):
        page = page_of(list(reversed(items)), 4, cursor, "items", lambda item: item)
        assert len(page.items) == expected
        shown += page.items
        cursor = page.next_cursor or ""
    assert (shown, cursor) == (items, "")
    last = page_of(items, 10, "", "items", lambda item: item)
    assert last.next_cursor is None
    assert json.loads(last.model_dump_json())["items"] == items
