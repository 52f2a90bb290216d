"""What a change of a control record changed, field by field, in words. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from tollgate.console.amounts import count, exact, money, price

# Every change sets these, or the key says it; they stand beside the differences.
_OF_THE_CHANGE: Final = frozenset({"actor", "reason", "version", "updated_at", "id"})
_NAMES: Final = {
    "limit": "Limit",
    "unit": "Unit",
    "window": "Window",
    "timezone": "Time zone",
    "scope": "Scope",
    "thresholds.warning.percent": "Warning at",
    "thresholds.warning.action": "At the warning",
    "thresholds.critical.percent": "Critical at",
    "thresholds.critical.action": "When critical",
    "thresholds.emergency.percent": "Emergency at",
    "thresholds.emergency.action": "In an emergency",
    "effective_from": "In force from",
    "effective_to": "In force until",
    "value.stopped": "All spending stopped",
    "expires_at": "Holds until",
    "plan": "Plan",
    "since": "Since",
    "week_starts_on": "Weeks start on",
    "month_starts_on": "Months start on",
    "valid_from": "Valid from",
    "valid_to": "Valid until",
    "fail": "Without knowledge",
    "except": "Except",
    "price_usd": "Price a month",
    "credits_per_day": "Free credits a day",
    "ends_after": "Ends after",
    "credits": "Credits",
    "kind": "Kind",
    "user": "User",
    "created_at": "Made at",
}
_INSTANTS: Final = ("effective_from", "effective_to", "expires_at", "created_at", "since", "valid_from", "valid_to")


class Difference(NamedTuple):
    """One field by its path, `thresholds.warning.percent`, and its name for people. An empty text: the record did not
    have it. `is_time`: the texts are instants.
    """

    field: str
    name: str
    before: str
    after: str
    is_time: bool = False


def differences(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Difference]:
    """The fields that differ, in the order of the record; of a new or removed record all of them."""
    old, new = dict(_flat(before or {})), dict(_flat(after or {}))
    found = []
    for path in [*new, *(path for path in old if path not in new)]:
        if path in _OF_THE_CHANGE or old.get(path) == new.get(path):
            continue
        was, is_now = _text(path, old, before or {}), _text(path, new, after or {})
        shown = Difference(path, _name(path), was, is_now, path in _INSTANTS)
        if shown.before or shown.after:
            found.append(shown)
    return found


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Members of members by their path: `thresholds.warning.percent`. Rates of a price by their dimension."""
    for name, member in value.items():
        path = f"{prefix}{name}"
        if isinstance(member, Mapping) and member:
            yield from _flat(member, f"{path}.")
        elif path == "rates" and isinstance(member, list):
            yield from ((f"rates.{rate.get('dimension', '')}", rate) for rate in member if isinstance(rate, Mapping))
        elif path == "limits" and isinstance(member, list):
            yield from ((_limit_path(one), one) for one in member if isinstance(one, Mapping))
        else:
            yield path, member


def _limit_path(limit: Mapping[str, Any]) -> str:
    """A limit of a plan by what makes it another one."""
    return f"limits.{limit.get('feature') or 'everything'}.{limit.get('unit', '')}.{limit.get('window', '')}"


def _name(path: str) -> str:
    words = (
        path.removeprefix("rates.").removeprefix("limits.").removeprefix("value.").replace("_", " ").replace(".", ", ")
    )
    return _NAMES.get(path) or words[:1].upper() + words[1:]


def _text(path: str, fields: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    value = fields.get(path)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if path == "limit":
        unit = str(record.get("unit", "usd"))
        return money(value) if unit == "usd" else f"{count(value)} {unit}"
    if path.endswith(".percent"):
        return f"{exact(value)} %"
    if path.startswith("rates.") and isinstance(value, Mapping):
        per = exact(value.get("per", "1"))
        return f"{price(value.get('usd'))} for {count(per)}" if per != "1" else f"{price(value.get('usd'))} each"
    if path.startswith("limits.") and isinstance(value, Mapping):
        return count(value.get("limit"))
    if isinstance(value, (list, tuple)):
        return f"{len(value)} entries" if any(isinstance(one, Mapping) for one in value) else ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ""
    return str(value)
