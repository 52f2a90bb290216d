"""The alert of the stop by hand against the setting."""

from typing import Any

import msgspec
import pytest

from tollgate.schemas.control import SettingRecord
from tollgate.verification.stop import check_stop_alert, note_of

ALERT: dict[str, Any] = {
    "key": "stop/global",
    "level": "emergency",
    "state": "stopped",
    "reason": "ada stopped all spending: the provider bills twice",
}
ENDED = ALERT | {"level": "resolved", "state": "ok", "reason": "bob let spending go on"}


def setting(stopped: bool, actor: str = "ada", reason: str = "the provider bills twice") -> SettingRecord:
    record = {"name": "stop", "value": {"stopped": stopped}, "actor": actor, "reason": reason}
    return SettingRecord.model_validate(record | {"updated_at": "2026-11-21T10:00:00Z"})


def test_the_sentence_names_who_stopped_and_why() -> None:
    assert note_of(setting(True)) == "ada stopped all spending: the provider bills twice"
    assert note_of(setting(True, "", "")) == "somebody stopped all spending"
    assert note_of(setting(False)) is None
    assert note_of(None) is None


@pytest.mark.parametrize(
    ("stop", "alert", "ok"),
    [
        (setting(True), ALERT, True),
        (setting(True), None, False),
        (setting(True), ENDED, False),
        (setting(True, "eve"), ALERT, False),
        (setting(True), ALERT | {"level": "warning"}, False),
        (setting(False), ALERT, False),
        (setting(False), ENDED, True),
        (setting(False), None, True),
        (None, None, True),
        (None, ENDED, True),
        (None, ALERT, False),
    ],
)
def test_the_alert_fires_exactly_while_all_is_stopped(
    stop: SettingRecord | None, alert: dict[str, Any] | None, ok: bool
) -> None:
    assert check_stop_alert(stop, msgspec.json.encode(alert) if alert is not None else None).ok is ok


def test_an_alert_that_is_no_json_is_a_difference() -> None:
    assert not check_stop_alert(None, b"{").ok
