"""The ClickHouse sink, as far as it answers what was spent before a meter began: late, twice, in parts, or never."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

from tests.simulation.broker import Broker
from tests.simulation.rules import scope_in
from tests.simulation.sums import RETAIL_PICOUSD, Sum

from tollgate.ledger.outbox import OutRecord


class Sink:
    """Where it is `silent` it never answers. `did` hears of each answer."""

    def __init__(self, broker: Broker, did: Callable[[str], None]) -> None:
        self._broker = broker
        self._did = did
        self.is_silent = False
        self._answered: set[tuple[str, int]] = set()

    def answer(self, random: Random) -> None:
        """Answer one question, perhaps once more."""
        questions = list(self._questions())
        if questions and not self.is_silent:
            key, question = random.choice(questions)
            if (key, question["from_offset"]) in self._answered and random.randrange(4):
                return
            self._answer(key, question, random.choice((1, 1, 2, 3)))

    def answer_all(self) -> bool:
        """Answer what is not answered yet; False when there was nothing."""
        answered = len(self._answered)
        for key, question in list(self._questions()):
            if not self.is_silent and (key, question["from_offset"]) not in self._answered:
                self._answer(key, question, 1)
        return len(self._answered) > answered

    def _questions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        newest = {r.key.decode(): r.value for r in self._broker.committed(("internal.meters", 0))}
        for key, value in newest.items():
            question = json.loads(value) if value is not None else {"filled": True}
            if not question["filled"]:
                yield key, question

    def _answer(self, key: str, question: dict[str, Any], parts: int) -> None:
        partition = question["partition"]
        place = "priced", partition
        if self._broker.stable_end(place) < self._broker.high_watermark(place):
            # Some of what was committed with the question may lie behind what is not decided.
            return
        rows = self._rows(question)
        self._did("past")
        self._answered.add((key, question["from_offset"]))
        for part in range(parts):
            data = {
                "meter": question["meter"], "from_offset": question["from_offset"], "part": part, "parts": parts,
                "rows": rows[part::parts],
            }  # fmt: skip
            entry = {"specversion": "1.0", "type": "tollgate.internal.past.v1", "source": "sink", "id": key}
            value = json.dumps(entry | {"data": data}, separators=(",", ":")).encode()
            out: OutRecord = (None, value, [])
            self._broker.publish(("entries", partition), out)

    def _rows(self, question: dict[str, Any]) -> list[list[Any]]:
        start, whole = (_ms(question[name]) for name in ("window_start", "whole_from"))
        sums: dict[tuple[str, int], Sum] = defaultdict(Sum)
        for record in self._broker.committed(("priced", question["partition"])):
            row = json.loads(record.value)
            at_ms = _ms(row["time"])
            names = {
                name: row[name] for name in ("user", "service", "agent", "feature", "model", "provider") if name in row
            }
            scope = scope_in(question["scope"], names)
            if scope is None or row["source_offset"] >= question["from_offset"] or at_ms < start:
                continue
            burned = int(row.get("credits", "0"))
            tokens = row["usage"] | ({"credits": burned} if burned else {})
            sums[scope, start if at_ms < whole else whole].add(
                Decimal(row["cost_usd"]) * 10**12, burned * RETAIL_PICOUSD, 1, tokens
            )
        return [
            [scope, at, int(s.cost), s.retail, s.events, {name: n * 10**9 for name, n in s.tokens.items()}]
            for (scope, at), s in sorted(sums.items())
        ]


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
