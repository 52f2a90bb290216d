"""The company-wide stop by hand: what the setting `stop` says, and how it is told. Pure."""

from dataclasses import dataclass
from typing import Self

from tollgate.schemas.control import SettingRecord, StopValue


@dataclass(frozen=True, slots=True)
class Stop:
    """Whether all spending is stopped by hand, who decided so last, and why. Both texts are untrusted."""

    stopped: bool
    actor: str = ""
    reason: str = ""

    @classmethod
    def from_record(cls, record: SettingRecord) -> Self:
        """Compile the setting `stop` of the control topic."""
        return cls(StopValue.model_validate(record.value).stopped, record.actor, record.reason)

    @property
    def sentence(self) -> str:
        """For people: `ada stopped all spending: the provider bills twice`."""
        done = "stopped all spending" if self.stopped else "let spending go on"
        return f"{self.actor or 'somebody'} {done}{f': {self.reason}' if self.reason else ''}"
