"""Usage events as a product with many users sends them: seeded, so that a run can be repeated from its printed seed.

It knows nothing of prices or sums; `checker` computes those from what is in Kafka.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

# What a call of each model consumes: dimension → (smallest, largest) amount. Cached tokens are a part of the input.
MODELS: Final[dict[tuple[str, str], dict[str, tuple[int, int]]]] = {
    ("openai", "gpt-4o"): {"input_tokens": (200, 6000), "cached_input_tokens": (0, 150), "output_tokens": (20, 900)},
    ("openai", "gpt-4o-mini"): {"input_tokens": (100, 9000), "output_tokens": (20, 1500)},
    ("anthropic", "claude-sonnet-4-5"): {
        "input_tokens": (300, 20000),
        "cached_input_tokens": (0, 300),
        "output_tokens": (50, 2000),
    },
    ("google", "gemini-2.5-flash"): {"input_tokens": (100, 12000), "output_tokens": (20, 1200)},
    ("openai", "dall-e-3"): {"images": (1, 2)},
    ("elevenlabs", "tts"): {"characters": (20, 2500)},
}
_WEIGHTS: Final = (34, 30, 18, 12, 3, 3)
_SERVICES: Final = {
    "chat": ("chat", "summaries"),
    "content": ("articles", "emails", "translations"),
    "studio": ("images", "voice-over"),
    "insights": ("reports", "search"),
}
_AGENTS: Final = ("CONTENT", "SEO", "EMAIL", "SOCIAL", "SUPPORT", "AD", "OUTREACH", "TREND", "INSIGHT", "DESIGN")
_SOURCES: Final = ("chat-api", "content-api", "studio-api", "insights-api")

Encoded = tuple[bytes, bytes]


@dataclass(frozen=True)
class Workload:
    """What to generate. `duplicates_per_mille` of the events are sent a second time, some hundred events later."""

    seed: int
    events: int
    users: int = 10_000
    duplicates_per_mille: int = 10
    span: timedelta = timedelta(minutes=30)
    """Event times rise over this span and end when the generator was started."""
    one_user_share: float = 0.0
    """This share of the events comes from one user alone, in addition to that user's ordinary share."""
    campaigns: int = 37

    def records(self) -> Iterator[Encoded]:
        """Key and value of each record, in the order in which they are sent; repeated events included."""
        rnd = random.Random(self.seed)
        encode = msgspec.json.Encoder().encode
        start = datetime.now(UTC) - self.span
        step = self.span / self.events
        again: list[tuple[int, Encoded]] = []
        for number in range(self.events):
            record = self._record(rnd, number, start + step * number, encode)
            yield record
            if rnd.randrange(1000) < self.duplicates_per_mille:
                again.append((number + rnd.randrange(1, 400), record))
            if again and again[0][0] <= number:
                yield again.pop(0)[1]
        yield from (record for _, record in again)

    def _record(self, rnd: random.Random, number: int, time: datetime, encode: Any) -> Encoded:
        # A few users make most of the calls.
        user_number = int(self.users * rnd.random() ** 2)
        if self.one_user_share and rnd.random() < self.one_user_share:
            user_number = 0
        user = f"u-{user_number:06d}"
        service = rnd.choice(tuple(_SERVICES))
        ((provider, model),) = rnd.choices(tuple(MODELS), _WEIGHTS)
        event = {
            "specversion": "1.0",
            "type": "tollgate.usage.v1",
            "source": _SOURCES[user_number % len(_SOURCES)],
            "id": f"{self.seed:x}-{number:010d}",
            "subject": user,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z",
            "data": {
                "provider": provider,
                "model": model,
                "usage": {name: rnd.randint(*span) for name, span in MODELS[provider, model].items()},
                "org": f"org-{user_number % 211:03d}",
                "service": service,
                "agent": rnd.choice(_AGENTS),
                "campaign": f"campaign-{user_number % self.campaigns:02d}",
                "feature": rnd.choice(_SERVICES[service]),
                "operation": "call",
                "status": "success" if rnd.random() < 0.98 else "error",
                "latency_ms": rnd.randint(80, 4000),
                "request_id": f"req-{rnd.getrandbits(64):016x}",
            },
        }
        return user.encode(), encode(event)


@dataclass(frozen=True)
class Repeated:
    """A workload several times over, as other events: fast to make, because only the ids differ between its copies.

    An event that is repeated in the workload is repeated in each copy.
    """

    block: Workload
    copies: int

    def records(self) -> Iterator[Encoded]:
        """Key and value of each record, in the order in which they are sent."""
        # The first id in the value is the event's.
        start = f'"id":"{self.block.seed:x}-'.encode()
        parts = [(key, *value.partition(start)) for key, value in self.block.records()]
        joined = [(key, head + middle, tail) for key, head, middle, tail in parts]
        for copy in range(self.copies):
            mark = b"%06d-" % copy
            for key, head, tail in joined:
                yield key, head + mark + tail


@dataclass(frozen=True)
class Crossings:
    """Events for a budget of `per_user` events on every user: each user's last event crosses it.

    Users arrive in random order and overlap, `open_users` of them at a time.
    """

    seed: int
    users: int
    per_user: int = 3
    open_users: int = 400

    def records(self) -> Iterator[tuple[str, bool, bytes]]:
        """User, whether this event reaches the limit, and the value; its time is the time of the call."""
        rnd = random.Random(self.seed)
        encode = msgspec.json.Encoder().encode
        waiting = [(f"c-{number:06d}", 0) for number in range(self.users)]
        waiting.reverse()
        open_users: list[tuple[str, int]] = []
        while waiting or open_users:
            while waiting and len(open_users) < self.open_users:
                open_users.append(waiting.pop())
            at = rnd.randrange(len(open_users))
            user, sent = open_users[at]
            if sent + 1 == self.per_user:
                open_users[at] = open_users[-1]
                open_users.pop()
            else:
                open_users[at] = (user, sent + 1)
            event = {
                "specversion": "1.0",
                "type": "tollgate.usage.v1",
                "source": "chat-api",
                "id": f"{user}-{sent}",
                "subject": user,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "data": {
                    "provider": "openai",
                    "model": "gpt-4o",
                    "usage": {"input_tokens": rnd.randint(200, 6000), "output_tokens": rnd.randint(20, 900)},
                    "org": f"org-{rnd.randrange(200):03d}",
                    "service": "chat",
                    "agent": rnd.choice(_AGENTS),
                    "feature": "chat",
                    "status": "success",
                },
            }
            yield user, sent + 1 == self.per_user, encode(event)
