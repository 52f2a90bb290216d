"""Reservations by the console's API: for services without Kafka."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tollgate.schemas.output_words import DecisionError
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.sdk.errors import InvalidEventError, UnavailableError
from tollgate.sdk.http_api import HttpApi, unavailable

if TYPE_CHECKING:
    from tollgate.schemas.outputs import Decision

_DENIALS: Final = frozenset(error.value for error in DecisionError)
_INVALID: Final = 422


class _Problem(msgspec.Struct):
    error: str = ""
    detail: str = ""
    message: str = ""
    scope: str | None = None
    budget: str | None = None
    limit: str | None = None
    unit: str | None = None
    spent: str | None = None
    reserved: str | None = None
    available: str | None = None
    until: str | None = None


_problem: Final = msgspec.json.Decoder(_Problem).decode


class HttpReserving:
    """As `Owner`, of one `source`."""

    def __init__(self, api: HttpApi, source: str) -> None:
        self._api = api
        self._source = source

    async def start(self) -> None:
        """Nothing to do: the first request connects."""

    async def stop(self) -> None:
        """Close the connection."""
        await self._api.close()

    async def ask(self, reservation_id: str, user: str, data: Mapping[str, Any]) -> "Decision":
        """As `Ask`."""
        given = {name: value for name, value in data.items() if value is not None}
        body = {"id": reservation_id, "source": self._source, "user": user, **given}
        status, answer = await self._api.post("/reservations", body)
        try:
            return self._read(status, answer, reservation_id, user, given)
        except (ValueError, UnicodeDecodeError) as error:
            raise UnavailableError(f"the console's answer cannot be read: {type(error).__name__}") from error

    def _read(self, status: int, answer: bytes, reservation_id: str, user: str, given: Mapping[str, Any]) -> "Decision":
        # The models take long to import, and a service that does not reserve needs none.
        from tollgate.schemas.outputs import Decision

        if status == 201:
            return Decision.model_validate_json(answer)
        problem = _problem(answer)
        if status == _INVALID:
            raise InvalidEventError(Refusal(RefusalReason.INVALID, problem.detail.rstrip(".") or "it is not valid"))
        if problem.error not in _DENIALS:
            raise unavailable(status)
        told = msgspec.structs.asdict(problem)
        told["message"] = told.pop("message") or told["detail"]
        del told["detail"]
        return Decision.model_validate(
            {
                **told, "http_status": status, "reservation_id": reservation_id, "source": self._source, "user": user,
                "granted": False, "amount_usd": given.get("amount_usd", "0"), "credits": given.get("credits", "0"),
                "expires_at": _NOWHEN, "decided_at": _NOWHEN,
            }
        )  # fmt: skip


# A denial does not tell when it was decided.
_NOWHEN: Final = "1970-01-01T00:00:00Z"
