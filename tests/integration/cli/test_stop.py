"""`tollgate stop` and `tollgate resume` where no worker runs: what is written, refused and said."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.cli.conftest import Ran, records_of, write
from tests.integration.cli.test_reading import flag_value

from tollgate.cli import stop
from tollgate.runtime.settings import Settings
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration

Tollgate = Callable[..., Ran]

KEY = b"setting/stop"


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no worker to wait for."""
    monkeypatch.setattr(stop, "IN_FORCE_SECONDS_MAX", 0.2)


def written(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(r.value) for r in records_of(settings, Topic.CONTROL) if r.key == KEY and r.value is not None]


def test_without_a_worker_the_stop_is_written_and_said_to_be_not_in_force(
    tollgate: Tollgate, settings: Settings
) -> None:
    ran = tollgate("stop", "--reason", "why not", "--actor", "ada")
    assert (ran.status, ran.out) == (3, "")
    assert "no worker has acted on it" in ran.err
    (record,) = written(settings)
    record.pop("updated_at")
    assert record == {
        "name": "stop", "value": {"stopped": True}, "actor": "ada", "reason": "why not", "version": 1,
    }  # fmt: skip
    (audit,) = [json.loads(r.value) for r in records_of(settings, Topic.AUDIT)]
    assert (audit["key"], audit["actor"], audit["reason"], audit["before"]) == ("setting/stop", "ada", "why not", None)
    again = tollgate("stop", "--reason", "me too")
    assert again.status == 1
    assert "all spending is stopped already" in again.err
    assert "ada stopped all spending: why not." in again.err
    assert tollgate("resume", "--reason", "it is over").status == 0
    assert [r["value"]["stopped"] for r in written(settings)] == [True, False]
    assert written(settings)[1]["actor"].startswith("cli")


def test_resuming_what_is_not_stopped_is_refused_in_a_sentence(tollgate: Tollgate, settings: Settings) -> None:
    ran = tollgate("resume", "--reason", "why not")
    assert ran.status == 1
    assert "nothing is stopped by hand" in ran.err
    assert written(settings) == []


@pytest.mark.parametrize(
    "words",
    [("resume",), ("resume", "--reason", "  "), ("stop", "--reason", "a\nb"), ("stop", "--reason", "x" * 2_000)],
)
def test_what_cannot_be_a_reason_is_refused_before_anything_is_written(
    tollgate: Tollgate, settings: Settings, words: tuple[str, ...]
) -> None:
    ran = tollgate(*words)
    assert ran.status == 2
    assert ran.err.startswith("tollgate: ")
    assert written(settings) == []


def test_a_setting_that_cannot_be_read_can_be_ended_and_begun(tollgate: Tollgate, settings: Settings) -> None:
    write(settings, Topic.CONTROL, (0, KEY, b'{"name": "stop", "value": {"stopped": "no"}}', ()))
    assert tollgate("resume", "--reason", "whatever it was").status == 0
    write(settings, Topic.CONTROL, (0, KEY, b"{", ()))
    assert tollgate("stop").status == 3
    assert json.loads(records_of(settings, Topic.CONTROL)[-1].value or b"{}")["value"] == {"stopped": True}


NOTHING = dict.fromkeys(("budget", "window", "limit", "unit", "spent", "percent", "until"))


def stopped_flag(note: str) -> bytes:
    return flag_value("global", "stopped", **NOTHING, reason="spending_stopped", note=note)


def test_why_and_flags_tell_the_stop_before_a_block_of_ones_own(tollgate: Tollgate, settings: Settings) -> None:
    note = "ada stopped all spending: the provider bills twice"
    home = partition_of(b"u1", settings.usage_partitions)
    write(
        settings,
        Topic.FLAGS,
        (0, b"global", stopped_flag(note), ()),
        (home, b"user/u1", flag_value("user/u1"), ()),
    )
    ran = tollgate("why", "user/u1", "--json")
    told = ran.json
    assert (ran.status, told["blocked_by"]) == (0, "global")
    assert (told["http_status"], told["error"]) == (503, "spending_stopped")
    assert (told["until"], told["flag"]["note"]) == (None, note)
    assert told["next_steps"] == ["let spending go on: tollgate resume --reason REASON"]
    assert tollgate("why", "global", "--events", "0").out.splitlines() == [
        "global is stopped: services answer 503 spending_stopped",
        f"because  {note}",
        "since    2026-11-21T10:00:00Z",
        "until    further notice",
        "",
        "next     let spending go on: tollgate resume --reason REASON",
    ]
    shown = tollgate("flags")
    assert "global: ada stopped all spending: the provider bills twice" in shown.out
    assert [flag["scope"] for flag in tollgate("flags", "--json").json] == ["global", "user/u1"]


def test_names_and_reasons_cannot_act_on_a_terminal(tollgate: Tollgate, settings: Settings) -> None:
    tollgate("stop", "--reason", "\u202egnp.exe", "--actor", "<img src=x>")
    again = tollgate("stop")
    assert "\u202e" not in again.err
    assert "\\u202egnp.exe" in again.err
