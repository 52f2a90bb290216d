"""What counted events add up to, through cells in memory and on disk."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.usage import TIME_MS, event

from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.verification import totals as totals_module
from tollgate.verification.spill import SpaceError, Spill, Workspace
from tollgate.verification.sums import Sum
from tollgate.verification.totals import Recounted, Totals

ALL = frozenset((0, 1))
LIFETIME = "lifetime|1970-01-01T00:00:00Z"
IN_ONE = {"global", "provider/openai"}


def decoded(**changes: Any) -> EventRecord:
    found = decode_usage_event(msgspec.json.encode(event(**changes)))
    assert isinstance(found, EventRecord)
    return found


def totals(directory: Path) -> Totals:
    return Totals(Spill(directory / "totals", 3), 2)


def summed(made: Totals) -> Recounted:
    found = Recounted()
    for bucket in range(3):
        part = made.bucket(bucket)
        found.windows |= part.windows
        found.user_months |= part.user_months
    return found


def test_an_event_adds_to_each_of_its_scopes_and_windows(tmp_path: Path) -> None:
    made, one = totals(tmp_path), decoded(data={"agent": "SEO", "usage": {"egress_gb": "1.5"}})
    made.add(one, TIME_MS, 4, 2_000_000_000_000, 7, True, ALL)
    made.add(one, TIME_MS, 1, 1, 0, True, ALL)
    found = summed(made)
    assert found.windows["user/u1|hour|2026-11-21T10:00:00Z"] == Sum(
        2_000_000_000_000, 7, 1, {"egress_gb": 1_500_000_000}
    )
    assert found.windows[f"agent/SEO|{LIFETIME}"] == Sum(2_000_000_000_001, 7, 2, {"egress_gb": 3_000_000_000})
    scopes = {key.partition("|")[0] for key in found.windows}
    assert scopes == {"global", "user/u1", "provider/openai", "model/gpt-4o", "agent/SEO"}
    assert len(found.windows) == 5 * 4
    assert found.user_months == {("u1", 1_793_491_200_000): Sum(2_000_000_000_001, 7, 2, {"egress_gb": 3_000_000_000})}
    assert (made.events, made.cost_picousd) == (2, 2_000_000_000_001)


def test_product_tokens_of_billed_calls_are_credits_and_a_sender_s_own_are_not(tmp_path: Path) -> None:
    made = totals(tmp_path)
    given = {"usage": {"images": 1, "credits": 9}, "retail_tokens": 5}
    for number, data in enumerate((given, given | {"status": "error"}, given | {"retail_tokens": None})):
        made.add(decoded(event_id=f"e{number}", data=data), TIME_MS, 4, 1, 0, True, ALL)
    made.take_back(decoded(event_id="e2", data=given | {"retail_tokens": None}), TIME_MS, 4, 1, 0, True, ALL)
    found = summed(made)
    for scope in ("user/u1", "model/gpt-4o", "global"):
        assert found.windows[f"{scope}|{LIFETIME}"].usage_nano == {"images": 2 * 10**9, "credits": 5 * 10**9}
    assert found.user_months["u1", 1_793_491_200_000].usage_nano == {"images": 2 * 10**9, "credits": 5 * 10**9}


def test_a_name_that_looks_like_a_combination_has_the_scope_that_the_worker_gives_it(tmp_path: Path) -> None:
    made = totals(tmp_path)
    made.add(decoded(user="u1+model/x", data={"org": "a%2Bmodel/x"}), TIME_MS, 4, 1, 0, True, ALL)
    found = summed(made)
    assert {key.partition("|")[0] for key in found.windows} == {
        "global", "user/u1%2Bmodel/x", "org/a%252Bmodel/x", "provider/openai", "model/gpt-4o",
    }  # fmt: skip
    assert set(found.user_months) == {("u1+model/x", 1_793_491_200_000)}


def test_the_last_events_before_the_cut_count_only_where_the_cut_has_them(tmp_path: Path) -> None:
    made = totals(tmp_path)
    made.add(decoded(), TIME_MS, 4, 5, 0, False, frozenset())
    made.add(decoded(), TIME_MS, 4, 3, 0, True, frozenset({1}))
    found = summed(made)
    # Of the event's shared scopes, murmur2 puts these into partition 1 of two.
    assert {key.partition("|")[0] for key in found.windows} == {"user/u1"} | IN_ONE
    assert found.windows[f"user/u1|{LIFETIME}"].cost_picousd == 3
    assert found.user_months["u1", 1_793_491_200_000].cost_picousd == 8


def test_what_is_taken_back_was_never_there(tmp_path: Path) -> None:
    made = totals(tmp_path)
    made.add(decoded(data={"org": "acme"}), TIME_MS, 4, 5, 1, True, ALL)
    made.add(decoded(), TIME_MS, 4, 7, 0, True, ALL)
    made.take_back(decoded(data={"org": "acme"}), TIME_MS, 4, 5, 1, True, ALL)
    found = summed(made)
    (tmp_path / "other").mkdir()
    only = totals(tmp_path / "other")
    only.add(decoded(), TIME_MS, 4, 7, 0, True, ALL)
    assert found == summed(only)
    assert (made.events, made.cost_picousd) == (1, 7)


def test_sums_are_exact_past_64_bits(tmp_path: Path) -> None:
    made = totals(tmp_path)
    for _ in range(3):
        made.add(decoded(data={"usage": {"images": 10**15}}), TIME_MS, 4, 2**62, 0, True, ALL)
    assert summed(made).windows[f"global|{LIFETIME}"] == Sum(3 * 2**62, 0, 3, {"images": 3 * 10**24})


def test_how_often_cells_go_to_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rnd = random.Random(seed)
    events = [
        (decoded(user=f"u{rnd.randrange(9)}", data={"org": f"o{rnd.randrange(5)}", "campaign": f"c{rnd.randrange(5)}"}),
         TIME_MS - 3_600_000 * rnd.randrange(50), rnd.randrange(1, 5), rnd.randrange(10**12))
        for _ in range(500)
    ]  # fmt: skip
    found = []
    for most in (100_000, 7):
        monkeypatch.setattr(totals_module, "_CELLS_MAX", most)
        monkeypatch.setattr(totals_module, "_EVENTS_MAX", most)
        (tmp_path / str(most)).mkdir()
        made = totals(tmp_path / str(most))
        for one, hour_ms, held, cost in events:
            made.add(one, hour_ms, held, cost, 0, True, ALL)
        found.append(summed(made))
    assert found[0] == found[1]
    assert found[0].windows[f"global|{LIFETIME}"].cost_picousd == sum(cost for _, _, _, cost in events)


def test_a_workspace_is_gone_when_it_ends(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Workspace(tmp_path) as space:
            Spill(space.path / "rows", 2).add(1, b"row")
            assert len(list(tmp_path.iterdir())) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_rows_come_back_by_bucket_in_order_while_more_are_added(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "rows", 2)
    spill.add(0, b"a")
    spill.add(1, b"")
    assert (list(spill.rows(0)), list(spill.rows(1))) == ([b"a"], [b""])
    spill.add(0, b"b" * 3_000_000)
    assert [len(row) for row in spill.rows(0)] == [1, 3_000_000]


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "rows", 2)
    spill.add(0, b"row")
    (tmp_path / "rows").rmdir()
    with pytest.raises(SpaceError, match=r"the temporary directory .*rows cannot be used: No such file"):
        list(spill.rows(0))
    with pytest.raises(SpaceError), Workspace(tmp_path / "nowhere"):
        pass
