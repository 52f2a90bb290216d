"""Values that somebody with access to a topic may write, and every reader that must survive them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from aiokafka import ConsumerRecord

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.plans import Plans
from tollgate.domain.pricing import load_price_book
from tollgate.runtime.settings import Settings
from tollgate.schemas.record_reading import UnreadableError
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventData
from tollgate.sdk import FlagReader
from tollgate.sdk.reserving import Reserving
from tollgate.sinks.alerts.alert import decode_alert
from tollgate.sinks.alerts.board import Board, Lane
from tollgate.sinks.alerts.notification import Policy, decode_notification
from tollgate.sinks.clickhouse.dead_letters import rejection_line
from tollgate.sinks.clickhouse.rows import TOPICS, rows_of
from tollgate.verification.flags import said_by
from tollgate.verification.spend import read_spend
from tollgate.worker.control import ControlReader

_DEEP: Final = b"[" * 50_000 + b"]" * 50_000
_DEEP_OBJECTS: Final = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
# Past Python's limit of 4,300 digits and 1,000 levels.
_NUMBERS: Final = (b"1" * 5_000, b"-" + b"9" * 5_000, b"1e400", b"-1e400", b"1e-400", b"NaN", b"Infinity", b"-Infinity")
_FRAGMENTS: Final = {
    "lists": b"[" * 2_000 + b"]" * 2_000,
    "objects": b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    "digits in a string": b'"' + b"1" * 5_000 + b'"',
    "half a surrogate": b'"\\ud800"',
    "the other half": b'"\\udc00x"',
    "null character": b'"\\u0000"',
    "no text": b'"\xff\xfe"',
    "true": b"true",
    "empty object": b"{}",
    "empty list": b"[]",
    "negative": b"-1",
    "no instant": b'"2026-13-45T99:99:99Z"',
    "naive instant": b'"2026-11-21T10:00:00"',
    "first instant": b'"0001-01-01T00:00:00+14:00"',
    "last instant": b'"9999-12-31T23:59:59-14:00"',
    "wide digits": '"١٢٣"'.encode(),
    **{number[:12].decode(): number for number in _NUMBERS},
}
_WHOLE: Final = {
    "nothing": None,
    "empty": b"",
    "blank": b" \n",
    "byte order mark": b"\xef\xbb\xbf{}",
    "no UTF-8": b"\xff\xfe{}",
    "UTF-16": '{"scope":"global"}'.encode("utf-16"),
    "cut off": b'{"scope":"glob',
    "two documents": b"{}{}",
    "name twice": b'{"scope":"user/a","scope":7,"key":"a","key":[]}',
    "megabyte of zeros": b"\0" * 1_000_000,
    "five megabytes": b'"' + b"x" * 5_000_000 + b'"',
    "many brackets": b"[]," * 300_000,
    "brackets in a string": b'{"x":"' + b"[" * 100_000 + b'"}',
    "lists": _DEEP,
    "objects": _DEEP_OBJECTS,
    "open lists": b"[" * 50_000,
    "hundred thousand digits": b"1" * 100_000,
    "digits under a name": b'{"limit":"' + b"1" * 100_000 + b'","revision":' + b"1" * 100_000 + b"}",
    "deep under an unknown name": b'{"zzz":' + _DEEP + b"}",
}
_EXAMPLES: Final = Path(__file__).parents[2] / "schemas" / "examples" / "valid"
_KINDS: Final = ("alert", "budget", "flag", "price", "priced-event", "spend", "usage-event")
_HOLE: Final = "\u2063hole\u2063"

_CALL: Final = EventData(provider="openai", model="gpt-4o", usage={"input_tokens": 1200, "images": "0.5"}, agent="SEO")

# So keys may look, besides the right one.
KEYS: Final = (None, b"", b"\xff\xfe", b"x" * 10_000, b"budget/", b"price/\xff")


def valid_records() -> Iterator[tuple[str, Any]]:
    """Kind and content of the contract's examples."""
    for kind in _KINDS:
        for path in sorted((_EXAMPLES / kind).glob("*.json")):
            yield kind, json.loads(path.read_bytes())


def _spoilt(document: Any, fragment: bytes) -> Iterator[bytes]:
    """The document with each of its members in turn replaced by the fragment, also those of its objects and lists."""

    def walk(node: Any) -> Iterator[None]:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            kept, node[key] = node[key], _HOLE
            yield
            node[key] = kept
            if isinstance(kept, (dict, list)):
                yield from walk(kept)

    hole = json.dumps(_HOLE).encode()
    for _ in walk(document):
        yield json.dumps(document).encode().replace(hole, fragment)


def hostile_wholes() -> list[bytes | None]:
    """Values that are wrong as a whole."""
    return list(_WHOLE.values())


def hostile_values() -> Iterator[tuple[str, bytes | None]]:
    """Name and value: whole ones, and valid records with one member replaced."""
    # Of each kind the example with the most members.
    fullest = dict(sorted(valid_records(), key=lambda found: len(str(found[1]))))
    yield from _WHOLE.items()
    for name, fragment in _FRAGMENTS.items():
        yield name, fragment
        for kind, document in fullest.items():
            yield from ((f"{kind} with {name}", value) for value in _spoilt(document, fragment))


def record(topic: str, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()) -> Any:
    """As a consumer returns it."""
    return ConsumerRecord(
        topic, 0, 0, 1_795_255_200_000, 0, key, value, None, len(key or b""), len(value or b""), headers
    )


class Readers:
    """What each process does with one record of one of its topics. None of these may raise."""

    def __init__(self) -> None:
        self._control = ControlReader(Settings(), load_price_book("default"))
        self._flags = FlagReader("127.0.0.1:9")
        self._reserving = Reserving("127.0.0.1:9", source="chat-api")
        self._board = Board("bot", True, Policy())
        self.all: dict[str, Callable[[bytes | None, bytes | None], None]] = {
            "worker: budgets": lambda _key, value: self._take(b"budget/x", value),
            "worker: the stop": lambda _key, value: self._take(b"setting/stop", value),
            "worker: prices": lambda _key, value: self._take(b"price/x", value),
            "worker: any key": self._take,
            "SDK: flags": self._flag,
            "SDK: budgets": lambda _key, value: self._budget(value),
            "SDK: decisions": lambda _key, value: self._decision(value),
            "alert sink: alerts": self._alert,
            "alert sink: notifications": lambda _key, value: _or_unreadable(decode_notification, value),
            "verify: spend": lambda _key, value: _or_unreadable(read_spend, value),
            "verify: flags": self._said,
            **{f"ClickHouse sink: {topic}": self._rows(topic) for topic in TOPICS},
        }

    def _take(self, key: bytes | None, value: bytes | None) -> None:
        reader = self._control
        reader._take((key or b"").decode("utf-8", "replace"), value)  # what it does with each record
        # A record that was taken must not end what is made of it.
        policy = reader._policy()
        policy.new_pricer()
        policy.budgets.for_scope("user/u1+feature/video")
        reader._book, reader._plans = BudgetBook(), Plans()
        reader._prices.clear()

    def _flag(self, key: bytes | None, value: bytes | None) -> None:
        scope = (key or b"").decode("utf-8", "replace")
        self._flags.take(scope, value)
        self._flags._knowledge.check({"user": scope.removeprefix("user/")}, "0.01")
        self._flags.in_force()
        self._flags.take(scope, None)

    def _budget(self, value: bytes | None) -> None:
        known = self._flags._knowledge
        known.take_control("budget/x", value)
        known.fails_closed({"user": "user/u1"})
        known.take_control("budget/x", None)

    def _decision(self, value: bytes | None) -> None:
        self._reserving._take(record("decisions", self._reserving._reply_to.encode(), value))

    def _alert(self, _key: bytes | None, value: bytes | None) -> None:
        try:
            alert = decode_alert(value or b"")
        except UnreadableError:
            return
        self._board.offer(alert, 0)
        for lane in Lane:
            self._board.take(lane, 1_795_255_200_000)

    def _said(self, _key: bytes | None, value: bytes | None) -> None:
        _or_unreadable(lambda given: said_by(given, 1_795_255_200_000), value)

    @staticmethod
    def _rows(topic: Topic) -> Callable[[bytes | None, bytes | None], None]:
        def rows(key: bytes | None, value: bytes | None) -> None:
            for name in (key, b"budget/x", b"price/x", b"setting/stop"):
                for some in rows_of(topic, [record(topic, name, value)])[1]:
                    rejection_line(some)

        return rows


def _or_unreadable(read: Callable[[bytes], object], value: bytes | None) -> None:
    try:
        read(value)  # type: ignore[arg-type] # a tombstone where none is expected
    except UnreadableError:
        return
