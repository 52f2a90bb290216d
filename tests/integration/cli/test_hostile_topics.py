"""Records that somebody else wrote to our topics: each command skips them, says so, and shows the others."""

import json
from collections.abc import Callable

import pytest
from tests.integration.cli.conftest import Ran, write
from tests.integration.cli.test_reading import OWNER, flag_value, spend_value

from tollgate.runtime.settings import Settings
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic

pytestmark = pytest.mark.integration

DEEP = b'{"scope":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
HOSTILE = {
    "deep": DEEP,
    "digits": b'{"scope":"global","limit":' + b"1" * 100_000 + b"}",
    "bytes": b"\xff\xfe\x00",
    "megabyte": b'{"scope":"' + b"x" * 1_000_000 + b'"}',
    "empty": b"",
    "list": b"[]",
}


def test_hostile_records_on_every_topic_are_skipped_with_one_warning_each(
    tollgate: Callable[..., Ran], settings: Settings
) -> None:
    home = partition_of(b"user/u1", USAGE_PARTITIONS)
    for name, value in HOSTILE.items():
        write(
            settings,
            Topic.CONTROL,
            (0, f"budget/{name}".encode(), value, ()),
            (0, f"price/{name}".encode(), value, ()),
        )
        write(settings, Topic.FLAGS, (home, f"user/{name}\x1b".encode(), value, ()))
        write(settings, Topic.SPEND, (OWNER, f"user/u1|{name}|2026".encode(), value, ()))
        write(settings, Topic.DEAD_LETTERS, (0, name.encode() + b"\xff\x1b", value, [("\x1bx", b"\xff")]))
    write(settings, Topic.CONTROL, (0, b"\xff\xfe", DEEP, ()), (0, b"", DEEP, ()))
    write(settings, Topic.FLAGS, (OWNER, b"user/u1", flag_value("user/u1"), ()))
    write(settings, Topic.SPEND, (OWNER, b"user/u1|month|2026-11-01T00:00:00Z", spend_value("user/u1", "7.25"), ()))
    assert tollgate("budget", "set", "user/u1", "--limit", "100").status == 0

    budgets = tollgate("budget", "list", "--json")
    assert [budget["id"] for budget in budgets.json] == ["user/u1:month:usd"]
    assert sorted(line.split("'")[1] for line in budgets.err.splitlines()) == sorted(HOSTILE)
    assert "nested deeper than 32 levels" in budgets.err
    prices = tollgate("price", "list")
    assert prices.status == 0
    assert "deep" in prices.err
    flags = tollgate("flags", "--json")
    assert [flag["scope"] for flag in flags.json] == ["user/u1"]
    assert len(flags.err.splitlines()) == len(HOSTILE)
    spend = tollgate("spend", "user/u1", "--at", "2026-11-21T10:00:00Z", "--json")
    assert spend.json["spent_usd"] == "7.25"
    # Its spend records and the budgets.
    assert len(spend.err.splitlines()) == 2 * len(HOSTILE)
    letters = tollgate("dead-letters", "list")
    assert letters.status == 0
    for offset in range(len(HOSTILE)):
        assert tollgate("dead-letters", "show", f"0:{offset}").status == 0
        json.loads(tollgate("dead-letters", "show", f"0:{offset}", "--json").out)
    for ran in (budgets, prices, flags, spend, letters):
        assert ran.status == 0
        assert "\x1b" not in ran.out + ran.err
        # The shipped prices alone are a long list.
        assert len(ran.err if ran is prices else ran.out + ran.err) < 20_000
