"""How many answers without an end (`GET /stream`) may be open at once."""

from collections import Counter
from typing import Final

from fastapi import Request

from tollgate.console.access.callers import Caller, Role
from tollgate.console.problems import Problem

STREAMS_MAX: Final = 400
# Six tabs, twice.
STREAMS_OF_A_CALLER_MAX: Final = 12
# The processes of a service share its token, and each follows flags.
STREAMS_OF_A_SERVICE_MAX: Final = 200


class Streams:
    """Counts open streams, of each caller and in all."""

    def __init__(self, streams_max: int = STREAMS_MAX, of_a_caller_max: int = STREAMS_OF_A_CALLER_MAX) -> None:
        self._streams_max, self._of_a_caller_max = streams_max, of_a_caller_max
        self._open: Counter[str] = Counter()

    def take(self, request: Request, caller: Caller) -> None:
        """Count one more, until the request has ended, however it ends. Raises Problem 503 when there are too many."""
        name = caller.token_id or caller.name
        of_a_caller_max = STREAMS_OF_A_SERVICE_MAX if caller.role is Role.SERVICE else self._of_a_caller_max
        if self._open[name] >= of_a_caller_max:
            detail = f"At most {of_a_caller_max} streams at once. Close another one first."
            raise Problem(503, "too_many_streams", detail, headers={"Retry-After": "5"})
        if self._open.total() >= self._streams_max:
            raise Problem(503, "too_many_streams", "Too many streams are open.", headers={"Retry-After": "5"})
        self._open[name] += 1
        request.state.at_end.append(lambda: self._release(name))

    def _release(self, name: str) -> None:
        self._open[name] -= 1
        if not self._open[name]:
            del self._open[name]
