"""What differs between two states of a record, for people."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tollgate.control.records import CHANGE_FIELDS


class Difference(NamedTuple):
    """One field, such as `thresholds.warning.percent`, with its values as text; empty where there was none."""

    field: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.field} {self.before or '–'} → {self.after or '–'}"


def differences(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[Difference]:
    """The fields in which two values of a control record differ, but for those that every change sets."""
    old, new = (dict(_fields(value or {})) for value in (before, after))
    return [
        Difference(name, old.get(name, ""), new.get(name, ""))
        for name in dict.fromkeys((*old, *new))
        if old.get(name, "") != new.get(name, "") and name not in CHANGE_FIELDS
    ]


def _fields(value: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a value by their path. A list of rates is one by dimension."""
    for name, field in value.items():
        if isinstance(field, dict):
            yield from _fields(field, f"{path}{name}.")
        elif isinstance(field, list):
            for place, item in enumerate(field):
                key = item.get("dimension", place) if isinstance(item, dict) else place
                yield from _fields({str(key): item}, f"{path}{name}.")
        elif field is not None:
            yield f"{path}{name}", str(field)
