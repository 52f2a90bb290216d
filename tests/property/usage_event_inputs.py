"""Usage events to try a reader with: valid ones, valid ones with one fault of a known reason, and damaged bytes."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tollgate.schemas.conventions import CONVENTIONS
from tollgate.schemas.refusals import RefusalReason

Json = dict[str, Any]

OPTIONAL_NAMES = (
    "org", "service", "campaign", "feature", "product", "operation", "resource_type", "resource_id", "request_id",
    "reservation_id",
)  # fmt: skip
_NO_CONTROL = st.characters(exclude_categories=["Cs", "Cc"])
NAMES = st.one_of(
    st.sampled_from(
        ["u-42", "gpt-4o", "x" * 256, "ü" * 256, "日本", "a b", 'quo"te', "back\\slash", "🙂", "a|b", "\ufeff"]
    ),
    st.text(_NO_CONTROL, min_size=1, max_size=20),
)
USAGE_KEYS = st.one_of(
    st.sampled_from(["input_tokens", "cached_input_tokens", "output_tokens", "images", "requests"]),
    st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
)
DECIMALS = st.from_regex(r"[0-9]{1,18}(\.[0-9]{1,9})?", fullmatch=True).filter(str.isascii)
AMOUNTS: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 10**18 - 1), st.sampled_from([0, 1, 10**18 - 1, "0.0", "00", "1.50"]), DECIMALS
)
USD = st.from_regex(r"[0-9]{1,14}(\.[0-9]{1,12})?", fullmatch=True).filter(str.isascii)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers() | st.sampled_from([9772945757313177262, 2**63, 2**64, -(2**63) - 1, 10**40, 10**4000 - 1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


@st.composite
def times(draw: st.DrawFn) -> str:
    """RFC 3339 with an offset, in every form that is accepted, from 1970-01-02 to 9999-12-30."""
    moment = draw(st.datetimes(min_value=_datetime(1970, 1, 2), max_value=_datetime(9999, 12, 30)))
    text = moment.replace(microsecond=0).isoformat(sep=draw(st.sampled_from("Tt ")))
    fraction = draw(st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,9}", fullmatch=True).filter(str.isascii)))
    offset = draw(st.sampled_from(["Z", "z", "+00:00", "-00:00", "+05:30", "-12:00", "+23:59", "-23:59"]))
    return text + fraction + offset


def usages(
    keys: st.SearchStrategy[str], amounts: st.SearchStrategy[Any], min_size: int, max_size: int
) -> st.SearchStrategy[dict[str, int | str]]:
    """Amounts by key; those of what comes in whole units are whole."""
    return st.dictionaries(keys, amounts, min_size=min_size, max_size=max_size).map(
        lambda usage: {key: _whole(amount) if _COUNTED.search(key) else amount for key, amount in usage.items()}
    )


# Written down once more, so that the rule is seen to change.
_COUNTED = re.compile(r"(^|_)(tokens|token_count|images|requests|characters|messages|searches|pages|calls)$")


def _whole(amount: int | str) -> int | str:
    return f"{amount.partition('.')[0]}.0" if isinstance(amount, str) and "." in amount else amount


@st.composite
def valid_events(draw: st.DrawFn) -> Json:
    """A valid event as the object that is serialised; optional fields may be absent, null or (names) empty."""
    data: Json = draw(
        st.fixed_dictionaries({}, optional=dict.fromkeys(OPTIONAL_NAMES, NAMES | st.just("") | st.none()))
    )
    payer = draw(st.sampled_from(["model", "agent", "both", "cost"]))
    if payer in ("model", "both"):
        data |= {"provider": draw(NAMES), "model": draw(NAMES)}
    if payer in ("agent", "both"):
        data["agent"] = draw(NAMES)
    if payer == "cost":
        data["cost_usd"] = draw(USD)
    usage = usages(USAGE_KEYS, AMOUNTS, min_size=0 if payer == "cost" else 1, max_size=8)
    optional: dict[str, st.SearchStrategy[Any]] = {
        "convention": st.sampled_from([*CONVENTIONS, None]),
        "status": st.sampled_from(["success", "error", "rate_limited", "cancelled", None]),
        "billed": st.booleans() | st.none(),
        "latency_ms": st.integers(0, 2**32 - 1) | st.none(),
        "options": st.dictionaries(NAMES, NAMES, max_size=3) | st.none(),
        "retail_tokens": AMOUNTS | st.none(),
        "metadata": st.dictionaries(NAMES, SCALARS, max_size=4) | st.none(),
        "unknown_field": ANYTHING,
    }
    data |= {"usage": draw(usage)} | draw(st.fixed_dictionaries({}, optional=optional))
    event: Json = {"specversion": "1.0", "type": "tollgate.usage.v1", "source": draw(NAMES), "id": draw(NAMES)}
    event |= {"subject": draw(NAMES), "time": draw(times()), "data": data}
    event |= draw(st.fixed_dictionaries({}, optional={"datacontenttype": st.just("application/json"), "x": ANYTHING}))
    order = draw(st.permutations(list(event)))
    return {name: event[name] for name in order}


def serialised(event: Any, *, ascii_only: bool = False, spaced: bool = False) -> bytes:
    """The event as JSON. `ascii_only` escapes everything else; `spaced` adds white space."""
    text = json.dumps(event, ensure_ascii=ascii_only, indent=1 if spaced else None, allow_nan=False)
    return (f"\n\t {text} \r\n" if spaced else text).encode()


@dataclass(frozen=True)
class Fault:
    """One change that makes any valid event invalid, and the reason it must then be refused for."""

    name: str
    reason: RefusalReason
    apply: Callable[[Json], None]


def _set(path: str, value: Any) -> Callable[[Json], None]:
    def apply(event: Json) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            if event.get(parent) is None:
                event[parent] = {}
            event = event[parent]
        event[last] = value

    return apply


def _drop(*names: str) -> Callable[[Json], None]:
    def apply(event: Json) -> None:
        for name in names:
            *parents, last = name.split(".")
            target = event
            for parent in parents:
                target = target[parent]
            target.pop(last, None)

    return apply


def _keys(path: str, count: int, value: Any) -> Callable[[Json], None]:
    return _set(path, {f"k{number}": value for number in range(count)})


def _faults() -> list[Fault]:
    r = RefusalReason
    table: list[tuple[RefusalReason, str, list[Any]]] = []
    for name in ("source", "id", "subject"):
        table += [
            (r.INVALID, name, ["", "x" * 257, "a\nb", "a\x7f", "\x85", "a\u0000"]),
            (r.WRONG_TYPE, name, [1, True, [], {}, 1.5]),
            (r.MISSING_FIELD, name, [None]),
        ]
    for name in OPTIONAL_NAMES:
        table += [
            (r.INVALID, f"data.{name}", ["x" * 257, "\t", "\x9f"]),
            (r.WRONG_TYPE, f"data.{name}", [0, False, []]),
        ]
    table += [
        (r.INVALID, "specversion", ["0.3", ""]),
        (r.INVALID, "type", ["tollgate.usage.v2"]),
        (r.MISSING_FIELD, "specversion", [None]),
        (r.MISSING_FIELD, "type", [None]),
        (r.MISSING_FIELD, "data", [None]),
        (r.WRONG_TYPE, "data", [[], "x", 1]),
        (r.MISSING_FIELD, "time", [None]),
        (r.WRONG_TYPE, "time", [1795255200, True, 1.5]),
        (r.INVALID_TIME, "time", [
            "", "now", "2026-11-21T10:00:00", "2026-11-21", "2026-11-21T10:00:60Z", "2026-11-21T24:00:00Z",
            "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z",
            "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-00:01", "1970-01-01T00:00:00+00:01",
            "2026-11-21T10:00:00+24:00", "2026-11-21T10:00:00+05:60", "2026-11-21T10:00:00+0530", "20261121T100000Z",
            "2026-11-21T10:00Z", "2026-11-21T10:00:00.Z", "2026-11-21T10:00:00,5Z", "2026-W47-6T10:00:00Z",
            "2026-11-21T10:00:00Z ", " 2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z\n", "\uff12026-11-21T10:00:00Z",
            "2026-11-21T10:00:00." + "1" * 100 + "Z", "2026-11-21T10:00:00.123", "2026-11-21T10:00:00.1\u06633Z",
        ]),
        (r.INVALID, "data.status", ["", "ok", "SUCCESS"]),
        (r.INVALID, "data.convention", ["", "other"]),
        (r.WRONG_TYPE, "data.billed", [0, 1, "true", []]),
        (r.WRONG_TYPE, "data.latency_ms", ["5", True, 5.0, 5.5, []]),
        (r.INVALID, "data.latency_ms", [-1, 2**32, 10**400, -(10**400)]),
        (r.WRONG_TYPE, "data.cost_usd", [1, 0.5, True, []]),
        (r.NEGATIVE_USAGE, "data.cost_usd", ["-1", "-0.5"]),
        (r.INVALID, "data.cost_usd", [
            "", "1e3", "NaN", "1.", ".5", "+1", " 1", "1,5",
            "1" * 15, "0." + "1" * 13, "\u0661", "1\n",
        ]),
        (r.WRONG_TYPE, "data.usage", [[], "x", 1]),
        (r.WRONG_TYPE, "data.usage.images", [None, True, False, 1.0, 1.5, [], {}]),
        (r.INVALID, "data.usage.input_tokens", ["0.1", "1.50", "999999999999999999.999999999"]),
        (r.INVALID, "data.usage.prompt_token_count", ["0.1"]),
        (r.INVALID, "data.usage.characters", ["0.1"]),
        (r.NEGATIVE_USAGE, "data.usage.images", [-1, "-1", "-0.5", -(10**400)]),
        (r.INVALID, "data.usage.images", [
            10**18, 10**400, "1e3", "", "NaN", "1" * 19, "0." + "1" * 10, "--1", "\u0661",
        ]),
        (r.WRONG_TYPE, "data.retail_tokens", [True, 1.0, [], {}]),
        (r.NEGATIVE_USAGE, "data.retail_tokens", [-1, "-5"]),
        (r.WRONG_TYPE, "data.options", [[], "x"]),
        (r.WRONG_TYPE, "data.options.size", [None, 1, True, {}, []]),
        (r.INVALID, "data.options.size", ["", "x" * 257, "\x00"]),
        (r.WRONG_TYPE, "data.metadata", [[], "x", 5]),
        (r.WRONG_TYPE, "data.metadata.a", [[], {}, [1]]),
        (r.INVALID, "data.metadata.a", [10**4000, -(10**4000), 10**4299]),
    ]  # fmt: skip
    found = [
        Fault(f"{path}={value!r:.40}", reason, _set(path, value)) for reason, path, values in table for value in values
    ]
    keyed = {"Images": 1, "": 1, "_a": 1, "a-b": 1, "ä": 1, "a\n": 1, "1a": 1, "a" * 257: 1}
    found += [Fault(f"usage key {key!r:.20}", r.INVALID, _set("data.usage", {key: 1})) for key in keyed]
    found += [
        Fault("65 usage keys", r.INVALID, _keys("data.usage", 65, 1)),
        Fault("65 options", r.INVALID, _keys("data.options", 65, "v")),
        Fault("65 metadata keys", r.INVALID, _keys("data.metadata", 65, 1)),
        Fault("empty option name", r.INVALID, _set("data.options", {"": "v"})),
        Fault("control character in an option's name", r.INVALID, _set("data.options", {"a\x01": "v"})),
        Fault("control character in a metadata name", r.INVALID, _set("data.metadata", {"a\x80": 1})),
        Fault("nobody to price", r.MISSING_FIELD, _drop("data.agent", "data.provider", "data.model", "data.cost_usd")),
        Fault("provider without model", r.MISSING_FIELD, _drop("data.agent", "data.model", "data.cost_usd")),
        Fault("nothing used", r.MISSING_FIELD, _nothing_used),
        Fault("deep", r.INVALID, _set("unknown", _nested(40))),
        Fault("too large", r.TOO_LARGE, _set("unknown", "x" * 65536)),
    ]
    return found


def _nothing_used(event: Json) -> None:
    event["data"] |= {"usage": {}, "agent": "SEO", "status": "success"}
    event["data"].pop("cost_usd", None)


def _nested(levels: int) -> Any:
    node: Any = 1
    for level in range(levels):
        node = [node] if level % 2 else {"a": node}
    return node


def _datetime(year: int, month: int, day: int) -> Any:
    from datetime import datetime

    return datetime(year, month, day)  # noqa: DTZ001 # hypothesis wants naive limits


FAULTS = _faults()
