"""The stop by hand: what the flag of `global` and the alert `stop/global` must say of the setting `stop`."""

from typing import Any, Final

import msgspec

from tollgate.schemas.control import SettingRecord, StopValue
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.verification.log import Log, Offsets
from tollgate.verification.report import Check

STOP_ALERT: Final = b"stop/global"

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def note_of(stop: SettingRecord | None) -> str | None:
    """The sentence that flag and alert have while all is stopped; None while it is not."""
    if stop is None or not StopValue.model_validate(stop.value).stopped:
        return None
    return f"{stop.actor or 'somebody'} stopped all spending" + (f": {stop.reason}" if stop.reason else "")


def flag_of_stop(note: str) -> dict[str, Any]:
    """What the flag of `global` must say, whatever is spent."""
    nothing = dict.fromkeys(("budget", "window", "limit", "unit", "spent", "percent", "until"))
    return nothing | {
        "state": "stopped",
        "blocked": True,
        "action": "stop",
        "reason": "spending_stopped",
        "note": note,
    }


class StopAlert:
    """The latest record of the alert, read on from where it was. It is written in the transaction of the flag."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._next: Offsets = {}
        self.value: bytes | None = None

    async def advance(self) -> None:
        """Read up to the present end of the alerts."""
        begins, tips = await self._log.begins(Topic.ALERTS), await self._log.tips(Topic.ALERTS)
        for partition, end in tips.items():
            start = max(begins[partition], self._next.get(partition, 0))
            async for batch in self._log.read(Topic.ALERTS, partition, start, end):
                for record in batch:
                    if record.key == STOP_ALERT:
                        self.value = record.value
            self._next[partition] = end


def check_stop_alert(stop: SettingRecord | None, value: bytes | None) -> Check:
    """The alert fires while all is stopped, with who did it and why, and else there is none that is not resolved."""
    check, note = Check("stop by hand"), note_of(stop)
    try:
        alert = read_record(_decode, value) if value is not None else {"level": "resolved"}
    except UnreadableError as error:
        check.differs("the alert stop/global", "a readable one", str(error))
        return check.shows("readable", "unreadable")
    said = None if alert.get("level") == "resolved" else (alert.get("level"), alert.get("state"), alert.get("reason"))
    wanted = None if note is None else ("emergency", "stopped", note)
    if said != wanted:
        check.differs("the alert stop/global", wanted or "none, or resolved", said or "none, or resolved")
    return check.shows("no stop" if wanted is None else "stopped", "no stop" if said is None else "stopped")
