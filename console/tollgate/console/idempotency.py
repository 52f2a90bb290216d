"""`Idempotency-Key`: a write that is sent again, because its answer was lost, is done once."""

from hashlib import sha256
from typing import Annotated

from fastapi import Header

from tollgate.console.access.callers import Caller
from tollgate.console.problems import Problem

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        # Visible ASCII, as RFC 8941 has it in strings.
        pattern=r"^[\x21-\x7e]+$",
        description="a text of your choice that names this write; sent again with the same body, it is done once",
        examples=["5f0d8c1e-2f"],
    ),
]


def store_key(caller: Caller, key: str | None) -> str:
    """The `idempotency_key` of `ControlStore.change`: two tokens never share one, whatever their names are."""
    return "" if key is None else sha256(f"{caller.token_id or caller.name}\n{key}".encode()).hexdigest()


def repeated() -> Problem:
    """The 422 for `RepeatedKeyError`: the key stands for another write."""
    return Problem(422, "idempotency_key_reused", "Idempotency-Key: it was used for another change. Choose a new one.")
