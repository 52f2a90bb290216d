"""The rooms of live numbers answer as the API's description says, whatever they are asked."""

import asyncio
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from schemathesis.openapi import from_asgi
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.support.console import bearer, make_token
from tests.support.live_console import LiveConsole

from tollgate.console.api import alerts, check, flags, why
from tollgate.schemas.tokens import Role

# No schema can say which scopes there are, nor which cursors.
UNDESCRIBABLE = [positive_data_acceptance]
ROOMS = (check.ROOM, flags.ROOM, alerts.ROOM, why.ROOM)


def test_the_rooms_of_live_numbers_answer_as_described() -> None:
    made = LiveConsole(ROOMS, console_requests_per_minute=1_000_000, console_hosts=asgi.HOST)
    made.flag("user/u-42")
    made.alert("user/u-42")
    headers = bearer(asyncio.run(make_token(made.control, Role.ADMIN, name="ops")))
    answered: Counter[int] = Counter()
    found: Any
    for found in from_asgi("/api/v1/openapi.json", made.app).get_all_operations():
        operation = found.ok()
        assert operation is not None

        @given(case=operation.as_strategy())
        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        def ask(case: Any) -> None:
            answer = case.call_and_validate(headers=headers, excluded_checks=UNDESCRIBABLE)
            answered[answer.status_code] += 1

        ask()
    assert {200, 422} <= set(answered), answered
