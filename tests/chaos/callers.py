"""Callers that reserve before they call, and people who grant credits: with everything that goes wrong there.

Reservations are settled before they are read, twice, after they expired, in several calls, by calls that failed, or
released; some are never settled. What they ask for and what calls cost is chosen so that limits are nearly reached
again and again.
"""

import json
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from tests.chaos.limits import KEEPERS, LAPSERS, SAVERS

SOURCE: Final = "chaos"
LASTING_SECONDS: Final = 3_600
# So many steps later a reservation of a second or two has expired.
_LAPSED_STEPS: Final = 400
_GRANTS: Final[tuple[int | str, ...]] = (5, 20, "0.25", "3.5")
# As many as the limits of those who reserve nearly hold.
_HELD_MAX: Final = 25


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be published, as a CloudEvent; `is_credit`: on the topic of entries."""

    id: str
    user: str
    time: datetime
    type: str
    data: dict[str, Any]

    @property
    def is_credit(self) -> bool:
        """Whether it belongs on the topic of entries."""
        return self.type == "tollgate.credit.v1"

    def encoded(self) -> bytes:
        """As a CloudEvent in structured mode."""
        envelope = {
            "specversion": "1.0",
            "type": self.type,
            "source": SOURCE,
            "id": self.id,
            "subject": self.user,
            "time": self.time.isoformat(timespec="milliseconds"),
            "data": self.data,
        }
        return json.dumps(envelope).encode()


@dataclass
class Callers:
    """Endless entries from a source of chance. `users`: whose credits are granted besides those of the callers."""

    seed: int
    start: datetime
    users: int
    _number: int = 0
    _steps: int = 0
    # Open as far as the callers know, and what is to be published at a later step.
    _held: list[Entry] = field(default_factory=list)
    _due: deque[tuple[int, Entry]] = field(default_factory=deque)

    def step(self, rnd: random.Random) -> Iterator[Entry]:
        """What one of them does next."""
        self._steps += 1
        while self._due and self._due[0][0] <= self._steps:
            yield self._due.popleft()[1]
        if self._steps == 1:
            # Who reserves credits for calls that burn them has some.
            yield from (self._credit(user, 1_000_000, "purchase") for user in LAPSERS)
        kind = rnd.randrange(20)
        if kind < 9 and len(self._held) < _HELD_MAX:
            yield from self._reserve(rnd)
        elif kind < 15 and self._held:
            yield from self._settle(rnd)
        elif kind < 17 and self._held:
            held = self._take(rnd)
            yield self._release(held)
            if rnd.random() < 0.2:
                yield self._release(held)
        elif kind == 17:
            yield from self._lapse(rnd)
        else:
            yield self._grant(rnd)

    def _reserve(self, rnd: random.Random) -> Iterator[Entry]:
        user = rnd.choice(KEEPERS)
        data: dict[str, Any] = {"ttl_seconds": LASTING_SECONDS, "provider": "chaos", "model": "alpha"}
        what = rnd.randrange(3)
        if what or user != "keep-4":
            data["amount_usd"] = rnd.choice(("0.1", "0.05", "0.2", "0.12"))
        if what < 2:
            data["credits"] = rnd.choice((1, 2, "0.5", 4))
        if rnd.random() < 0.4:
            data["feature"] = rnd.choice(("video", "chat"))
        if rnd.random() < 0.3:
            data |= {"reply_to": f"{user}-caller", "reply_partition": rnd.randrange(12)}
        reservation = self._entry("reservation", user, data)
        if rnd.random() < 0.1:
            # Its call overtakes it.
            yield self._call(rnd, reservation)
            if rnd.random() < 0.3:
                yield self._release(reservation)
        else:
            self._held.append(reservation)
        yield reservation

    def _take(self, rnd: random.Random) -> Entry:
        """One that is held; as a rule it is not used again."""
        at = rnd.randrange(len(self._held))
        held = self._held[at]
        if rnd.random() < 0.85:
            del self._held[at]
        return held

    def _settle(self, rnd: random.Random) -> Iterator[Entry]:
        if rnd.random() < 0.2:
            yield self._call(rnd, rnd.choice(self._held), more=True)
            return
        held = self._take(rnd)
        yield self._call(rnd, held)
        if rnd.random() < 0.2:
            yield self._call(rnd, held)

    def _lapse(self, rnd: random.Random) -> Iterator[Entry]:
        """A reservation that expires: its call comes later, or never."""
        data: dict[str, Any] = {"ttl_seconds": rnd.randrange(1, 3), "model": "alpha", "provider": "chaos"}
        data |= {"amount_usd": rnd.choice(("0.1", "0.3")), "credits": rnd.randrange(1, 9)}
        reservation = self._entry("reservation", rnd.choice(LAPSERS), data)
        yield reservation
        if rnd.random() < 0.5:
            call = self._call(rnd, reservation)
            call.data["retail_tokens"] = rnd.randrange(1, 9)
            self._due.append((self._steps + _LAPSED_STEPS, call))

    def _call(self, rnd: random.Random, held: Entry, *, more: bool = False) -> Entry:
        """A call of a reservation, of thousandths of a cent, so that limits last for many."""
        usage = {"input_tokens": rnd.randrange(1, 5), "output_tokens": rnd.randrange(2)}
        data: dict[str, Any] = {"provider": "chaos", "model": "alpha", "usage": usage, "reservation_id": held.id}
        data |= {"feature": held.data["feature"]} if "feature" in held.data else {}
        if more:
            data["more"] = True
        elif rnd.random() < 0.15:
            data["status"] = "error"
        return self._entry("usage", held.user, data)

    def _release(self, held: Entry) -> Entry:
        return self._entry("release", held.user, {"reservation_id": held.id})

    def _grant(self, rnd: random.Random) -> Entry:
        kind = rnd.randrange(10)
        if kind < 2:
            # Of users that never use any: what expires is what was granted.
            seconds = rnd.choice((0, 5, 30, 300, 3_600))
            return self._credit(rnd.choice(SAVERS), rnd.randrange(1, 50), "prize", self.start + timedelta(0, seconds))
        user = f"chaos-{rnd.randrange(self.users)}"
        if kind == 2:
            return self._credit(user, 7, "bonus", self.start - timedelta(days=1))
        if kind == 3:
            return self._credit(user, -rnd.randrange(1, 4), "correction")
        return self._credit(user, rnd.choice(_GRANTS), rnd.choice(("purchase", "bonus", "refund")))

    def _credit(self, user: str, amount: int | str, kind: str, expires: datetime | None = None) -> Entry:
        data: dict[str, Any] = {"credits": amount, "kind": kind}
        if expires is not None:
            data["expires_at"] = expires.isoformat(timespec="milliseconds")
        return self._entry("credit", user, data)

    def _entry(self, name: str, user: str, data: dict[str, Any]) -> Entry:
        self._number += 1
        return Entry(f"{self.seed}-{name}-{self._number}", user, self.start, f"tollgate.{name}.v1", data)
