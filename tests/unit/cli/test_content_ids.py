"""Ids from content: the same file gives the same ids, and no two rows of it share one."""

import re

from tollgate.cli.content_ids import ContentIds


def ids_of(rows: list[bytes]) -> list[str]:
    ids = ContentIds()
    return [ids.next_id(row) for row in rows]


def test_the_same_rows_give_the_same_ids_on_every_run() -> None:
    rows = [b"a", b"b", b"a"]
    assert ids_of(rows) == ids_of(rows)


def test_equal_rows_are_told_apart_by_their_occurrence() -> None:
    first, second, other, third = ids_of([b"a", b"a", b"b", b"a"])
    assert [found.rpartition("-")[2] for found in (first, second, other, third)] == ["1", "2", "1", "3"]
    assert {found.rpartition("-")[0] for found in (first, second, third)} == {first[:32]}
    assert re.fullmatch(r"[0-9a-f]{32}-1", first)


def test_an_id_does_not_depend_on_the_order_of_different_rows() -> None:
    assert sorted(ids_of([b"a", b"b", b"c", b"b"])) == sorted(ids_of([b"b", b"c", b"b", b"a"]))


def test_the_table_grows_and_forgets_nothing() -> None:
    rows = [str(number).encode() for number in range(5_000)]
    found = ids_of(rows + rows)
    assert len(set(found)) == 10_000
    assert all(name.endswith("-1") for name in found[:5_000])
    assert all(name.endswith("-2") for name in found[5_000:])
