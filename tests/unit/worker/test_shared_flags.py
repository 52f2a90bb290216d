"""What the worker makes of the flags topic: blocked shared scopes, and nothing else."""

import json
from typing import Any

from tollgate.domain.reservations import Blocked
from tollgate.runtime.settings import Settings
from tollgate.worker.shared_flags import SharedFlags

FLAG: dict[str, Any] = {
    "scope": "org/acme", "state": "blocked", "blocked": True, "action": "block", "reason": "usage_limit_exceeded",
    "budget": "b1", "limit": "5", "unit": "usd", "spent": "6", "percent": "120.00", "since": "2026-11-21T10:00:00Z",
    "until": "2026-12-01T00:00:00Z", "revision": 3, "except": ["provider/groq"],
}  # fmt: skip


def latest(*records: tuple[bytes | None, dict[str, Any] | bytes | None], scope: str = "org/acme") -> Blocked | None:
    flags = SharedFlags(Settings())
    for key, value in records:
        flags.take(key, json.dumps(value).encode() if isinstance(value, dict) else value)
    return flags.latest(scope)


def test_a_blocked_shared_scope_is_told_with_its_numbers_end_and_exceptions() -> None:
    assert latest((b"org/acme", FLAG)) == Blocked(
        "org/acme", "usage_limit_exceeded", "b1", "5", "usd", "6", 1_796_083_200_000, None, ("provider/groq",)
    )


def test_a_scope_that_is_ok_again_or_removed_blocks_nothing() -> None:
    assert latest((b"org/acme", FLAG), (b"org/acme", FLAG | {"state": "ok", "blocked": False})) is None
    assert latest((b"org/acme", FLAG), (b"org/acme", None)) is None


def test_flags_of_users_are_left_out() -> None:
    user = FLAG | {"scope": "user/u1+model/x"}
    assert latest((b"user/u1+model/x", user), scope="user/u1+model/x") is None


def test_what_cannot_be_read_leaves_the_flag_as_it_was() -> None:
    broken = (b"{", b"", b"[" * 100_000, json.dumps(FLAG | {"until": "soon"}).encode(), b'{"scope": 1}')
    assert latest((b"org/acme", FLAG), *((b"org/acme", value) for value in broken), (None, FLAG)) is not None
