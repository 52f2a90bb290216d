"""Reads the rules that come with the package: how names and options are read, and what options do to a list price."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any, Final

import yaml

from tollgate.domain.pricing.names import NameRules, Shape, Territory
from tollgate.domain.pricing.options import Factor, Offered, OfferRules, OptionRule, OptionRules
from tollgate.schemas.instants import to_ms

# Between the words of an ending. A group once matched is not tried another way, so that no name takes long.
_SEPARATOR: Final = "[-@:]"
_ENDINGS_MAX: Final = 5


def name_rules() -> NameRules:
    """`rules/names.yaml`."""
    loaded = _loaded("names")
    words = "|".join(f"(?:{word})(?={_SEPARATOR}|\\[|$)" for word in loaded["endings"])
    return NameRules(
        shapes=tuple(_shapes(loaded["shapes"])),
        territories=tuple(
            Territory(entry["provider"], re.compile(entry["models"]), re.compile(entry["known"]), entry["why"])
            for entry in loaded["regions"]
        ),
        ending=re.compile(f"(?>{_SEPARATOR}(?>{words})){{0,{_ENDINGS_MAX}}}+(?:{loaded['tail']})?"),
        endings={str(model): re.compile(pattern) for model, pattern in loaded["more_endings"].items()},
        beginnings={provider: re.compile(pattern) for provider, pattern in loaded["beginnings"].items()},
        geographies=frozenset(loaded["geographies"]),
        strangers=frozenset(loaded["strangers"]),
    )


def option_rules() -> OptionRules:
    """`rules/options.yaml`."""
    return OptionRules(_option(name, entry) for name, entry in _loaded("options")["options"].items())


def offer_rules() -> OfferRules:
    """`rules/factors.yaml`."""
    loaded = _loaded("factors")
    return OfferRules(
        factors=tuple(
            Factor(
                provider=entry["provider"],
                option=entry["option"],
                values=tuple(entry["values"]),
                models=tuple(entry["models"]),
                times=Decimal(entry["factor"]),
                since_ms=_since_ms(entry),
            )
            for entry in loaded["factors"]
        ),
        offered=tuple(
            Offered(entry["provider"], entry["option"], entry["value"], _since_ms(entry)) for entry in loaded["offered"]
        ),
    )


def _loaded(name: str) -> Any:
    file = files("tollgate.domain.pricing") / "prices" / "rules" / f"{name}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _shapes(entries: list[Mapping[str, Any]]) -> Iterator[Shape]:
    for entry in entries:
        yield Shape(
            re.compile(entry["pattern"]),
            provider=entry.get("provider", ""),
            apart_from=tuple(entry.get("except", ())),
            hides=entry.get("hides", ""),
            free=entry.get("free", False),
        )


def _option(name: str, entry: Mapping[str, Any]) -> OptionRule:
    values: dict[str, tuple[str, str] | None] = dict.fromkeys(entry["standard"])
    for value, spellings in entry["values"].items():
        values |= dict.fromkeys(spellings, (name, value))
    for other, moved in entry.get("moves", {}).items():
        values |= {value: (other, value) for value in moved}
    return OptionRule(name, tuple(entry["aliases"]), values, entry.get("open", False))


def _since_ms(entry: Mapping[str, Any]) -> int:
    day: date | None = entry.get("since")
    return 0 if day is None else to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
