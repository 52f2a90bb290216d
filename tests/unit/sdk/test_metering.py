"""One call from its check to its event, without any provider's client."""

import asyncio
import logging
import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from tollgate.schemas.output_words import Action, FlagState
from tollgate.sdk.context import call_context, warn_of_unknown_user
from tollgate.sdk.decision import Decision
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.metering import Call, Meter, status_of
from tollgate.sdk.providers import OpenAIAnswer
from tollgate.sdk.testing import AsyncRecordingTollgate, RecordingTollgate

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def call_of(toll: Any, model: str = "gpt-4o", **told: Any) -> Call:
    meter = told.pop("meter", None) or Meter(toll, told.pop("provider", "openai"), **told)
    return Call(meter, lambda body: OpenAIAnswer("chat.completion", body), {"model": model, "messages": ["12345678"]})


def answered(call: Call, model: str = "gpt-4o-2024-08-06") -> None:
    call.answer.result({"id": "c1", "model": model, "usage": USAGE})
    call.finished()


def test_a_call_is_checked_and_recorded_with_its_names() -> None:
    toll = RecordingTollgate()
    answered(call_of(toll, user="u-42", names={"feature": "chat", "org": "acme", "resource_id": "r1"}))
    names = {"user": "u-42", "feature": "chat", "org": "acme", "provider": "openai", "model": "gpt-4o"}
    assert toll.checked == [names]
    [event] = toll.events
    data = dict(event.data)
    assert data.pop("latency_ms") < 60_000
    assert (event.user, data) == (
        "u-42",
        {
            "provider": "openai", "model": "gpt-4o", "operation": "chat.completion", "feature": "chat", "org": "acme",
            "usage": {"input_tokens": 7, "output_tokens": 2}, "request_id": "c1", "resource_id": "r1",
        },
    )  # fmt: skip


def test_the_context_of_a_call_goes_before_what_the_client_was_told() -> None:
    toll = RecordingTollgate()
    meter = Meter(toll, "openai", user="u-1", names={"feature": "chat", "agent": "SEO"})
    with call_context(user="u-2", feature="search", provider="other", model="other"):
        answered(call_of(toll, meter=meter))
    answered(call_of(toll, meter=meter))
    assert [(event.user, event.data["feature"], event.data["agent"]) for event in toll.events] == [
        ("u-2", "search", "SEO"),
        ("u-1", "chat", "SEO"),
    ]
    assert {(event.data["provider"], event.data["model"]) for event in toll.events} == {("openai", "gpt-4o")}


def test_a_function_names_the_user_of_each_call() -> None:
    toll = RecordingTollgate()
    users = iter(["u-1", "u-2"])
    meter = Meter(toll, "openai", user=lambda: next(users))
    for _ in range(2):
        answered(call_of(toll, meter=meter))
    assert [event.user for event in toll.events] == ["u-1", "u-2"]


def test_a_call_that_names_no_user_is_counted_for_unknown(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> str:
        raise LookupError("no request")

    toll = RecordingTollgate()
    warn_of_unknown_user.cache_clear()
    with caplog.at_level(logging.WARNING, "tollgate.sdk"):
        answered(call_of(toll, user=broken))
        answered(call_of(toll))
    assert [event.user for event in toll.events] == ["unknown", "unknown"]
    assert "LookupError" in caplog.text
    assert "names no user" in caplog.text
    assert "no request" not in caplog.text


def test_names_that_no_event_may_have_are_left_out_and_the_cost_is_counted() -> None:
    toll = RecordingTollgate()
    answered(call_of(toll, "gpt\n4", user="u" * 257, names={"feature": "chat\x00", "agent": "SEO"}))
    [event] = toll.events
    assert (event.user, event.data["model"], event.data["agent"]) == ("unknown", "gpt-4o-2024-08-06", "SEO")
    assert "feature" not in event.data


def test_a_blocked_call_is_not_made_and_not_recorded() -> None:
    toll = RecordingTollgate()
    toll.deny("user/u-42", budget="monthly-user", limit="100", spent="104.2")
    with pytest.raises(BlockedError) as raised:
        call_of(toll, user="u-42")
    error = raised.value
    assert (error.http_status, error.error, error.scope) == (429, "usage_limit_exceeded", "user/u-42")
    assert (error.budget, error.limit, error.spent) == ("monthly-user", "100", "104.2")
    assert toll.events == []


def test_on_block_may_give_a_cheaper_model() -> None:
    toll = RecordingTollgate()
    toll.deny("model/gpt-4o")
    asked: list[tuple[bool, Mapping[str, Any]]] = []

    def cheaper(decision: Decision, body: dict[str, Any]) -> dict[str, Any]:
        asked.append((decision.allowed, body))
        return {"model": "gpt-4o-mini"}

    call = call_of(toll, user="u-42", on_block=cheaper)
    assert call.body == {"model": "gpt-4o-mini", "messages": ["12345678"]}
    assert asked == [(False, {"model": "gpt-4o", "messages": ["12345678"]})]
    answered(call, "gpt-4o-mini")
    assert toll.events[0].data["model"] == "gpt-4o-mini"


@pytest.mark.parametrize("given", [None, {"model": "gpt-4o-mini"}])
def test_a_call_is_blocked_when_on_block_knows_none_or_its_model_is_blocked_too(given: dict[str, Any] | None) -> None:
    toll = RecordingTollgate()
    toll.deny("user/u-42")
    with pytest.raises(BlockedError):
        call_of(toll, user="u-42", on_block=lambda _decision, _body: given)


def test_what_on_block_raises_is_the_services_own() -> None:
    toll = RecordingTollgate()
    toll.deny("user/u-42")

    def refuse(_decision: Decision, _body: dict[str, Any]) -> None:
        raise PermissionError("come back tomorrow")

    with pytest.raises(PermissionError):
        call_of(toll, user="u-42", on_block=refuse)


class Broken(RecordingTollgate):
    """What a client must never do, and what the service must not notice."""

    def check(self, **_given: Any) -> Any:
        raise RuntimeError("a fault of ours")

    def record(self, **_given: Any) -> Any:
        raise RuntimeError("a fault of ours")

    def reserve(self, **_given: Any) -> Any:
        raise RuntimeError("a fault of ours")


def test_nothing_of_ours_raises_into_the_service(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tollgate.sdk"):
        call = call_of(Broken(), user="u-42", reserve=True, estimate_usd="0.1")
        call.hold()
        answered(call)
        call_of(Broken(), user="u-42").failed(OSError())
    assert caplog.text.count("RuntimeError") == 5
    assert "a fault of ours" not in caplog.text


def test_a_call_is_recorded_once_however_often_it_ends() -> None:
    toll = RecordingTollgate()
    call = call_of(toll, user="u-42")
    answered(call)
    call.finished(OSError())
    call.failed(OSError())
    assert len(toll.events) == 1


def test_the_collector_may_end_a_forgotten_call_while_its_thread_records() -> None:
    toll = RecordingTollgate()
    call = call_of(toll, user="u-42", reserve=True, estimate_usd="0.1")
    call.hold()

    def collect_in_the_middle() -> None:
        with toll._lock:
            answered(call)

    thread = threading.Thread(target=collect_in_the_middle, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert len(toll.events) == 1


@pytest.mark.parametrize(
    ("error", "status", "http_status"),
    [
        (type("Refused", (Exception,), {"status_code": 429})(), "rate_limited", 429),
        (type("Refused", (Exception,), {"code": 500})(), "error", 500),
        (type("Refused", (Exception,), {"code": "server_error"})(), "error", None),
        (OSError(), "error", None),
        (asyncio.CancelledError(), "cancelled", None),
        (None, "cancelled", None),
    ],
)
def test_a_call_without_an_answer_costs_nothing_and_says_why(
    error: BaseException | None, status: str, http_status: int | None
) -> None:
    toll = RecordingTollgate()
    call_of(toll, user="u-42").failed(error)
    data = toll.events[0].data
    assert (data["status"], data["usage"], data.get("billed")) == (status, {}, None)
    assert data.get("metadata") == ({"http_status": http_status} if http_status else None)
    assert status_of(error) == (status, http_status)


@pytest.mark.parametrize(
    ("error", "status"), [(None, "cancelled"), (GeneratorExit(), "cancelled"), (OSError(), "error")]
)
def test_an_answer_that_was_cut_is_billed_for_what_came(error: BaseException | None, status: str) -> None:
    """The request has 8 bytes of text, 2 tokens, and 5 bytes of answer came: 2 tokens."""
    toll = RecordingTollgate()
    call = call_of(toll, user="u-42", names={"metadata": {"tenant": "t1"}})
    call.answer.event({"choices": [{"delta": {"content": "12345"}}]})
    call.finished(error)
    data = toll.events[0].data
    assert (data["status"], data["billed"]) == (status, True)
    assert data["usage"] == {"input_tokens": 2, "output_tokens": 2}
    assert data["metadata"] == {"tenant": "t1", "estimated": True}


def test_a_deployments_name_is_replaced_by_the_model_that_answers() -> None:
    toll = RecordingTollgate()
    meter = Meter(toll, "azure", user="u-42")
    for _ in range(2):
        answered(call_of(toll, "our-deployment", meter=meter))
    assert [event.data["model"] for event in toll.events] == ["gpt-4o-2024-08-06", "gpt-4o-2024-08-06"]
    assert [checked["model"] for checked in toll.checked] == ["our-deployment", "gpt-4o-2024-08-06"]


def test_a_call_is_settled_by_its_reservation() -> None:
    toll = RecordingTollgate()
    call = call_of(toll, user="u-42", reserve=True, estimate_usd=lambda body: Decimal(len(body["messages"])) / 10)
    call.hold()
    [asked] = toll.reservations.values()
    assert (asked.user, asked.usd, asked.names["model"], asked.end) == ("u-42", "0.1", "gpt-4o", "open")
    answered(call)
    [asked] = toll.reservations.values()
    assert asked.end == "settled"
    assert toll.events[0].data["reservation_id"] == asked.id
    assert toll.events[0].data["usage"] == {"input_tokens": 7, "output_tokens": 2}


def test_an_estimate_may_be_computed_as_a_float() -> None:
    toll = RecordingTollgate()
    call = call_of(toll, user="u-42", reserve=True, estimate_usd=lambda _body: 0.1)
    call.hold()
    assert [asked.usd for asked in toll.reservations.values()] == ["0.1"]


def test_calls_may_be_reserved_for_in_slices() -> None:
    toll = RecordingTollgate()
    call = call_of(toll, user="u-42", reserve="slice", estimate_usd="0.1")
    call.hold()
    assert [asked.slice for asked in toll.reservations.values()] == [True]


def test_a_failed_call_gives_its_reservation_back() -> None:
    toll = RecordingTollgate()
    call = call_of(toll, user="u-42", reserve=True, estimate_usd="0.1")
    call.hold()
    call.failed(OSError())
    data = toll.events[0].data
    assert (data["status"], data.get("billed"), data.get("reservation_id")) == ("error", None, None)
    assert [asked.end for asked in toll.reservations.values()] == ["released"]


def test_a_denied_reservation_blocks_the_call() -> None:
    toll = RecordingTollgate()
    call = call_of(toll, user="u-42", reserve=True, estimate_usd="0.1")
    toll.deny("user/u-42")
    with pytest.raises(BlockedError):
        call.hold()
    assert toll.events == []


@pytest.mark.parametrize("kind", [RecordingTollgate, AsyncRecordingTollgate])
async def test_reservations_of_calls_that_are_awaited(kind: type[Any]) -> None:
    toll = kind()
    settled, failed = (call_of(toll, user="u-42", reserve=True, estimate_usd="0.1") for _ in range(2))
    for call in (settled, failed):
        await call.ahold()
    settled.answer.result({"usage": USAGE})
    settled.finished()
    failed.failed(OSError())
    assert [event.data.get("reservation_id") for event in toll.events] == [next(iter(toll.reservations)), None]
    assert [asked.end for asked in toll.reservations.values()] == ["settled", "released"]


def test_an_awaited_reservation_is_settled_also_after_its_loop() -> None:
    toll = AsyncRecordingTollgate()
    call = call_of(toll, user="u-42", reserve=True, estimate_usd="0.1")
    asyncio.run(call.ahold())
    answered(call)
    assert toll.events[0].data["reservation_id"] == next(iter(toll.reservations))
    assert [asked.end for asked in toll.reservations.values()] == ["settled"]


def test_a_client_that_only_awaits_cannot_reserve_in_sync_code() -> None:
    call = call_of(AsyncRecordingTollgate(), user="u-42", reserve=True, estimate_usd="0.1")
    with pytest.raises(TypeError, match="needs a Tollgate"):
        call.hold()


def test_an_estimate_that_fails_leaves_the_check(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_body: Mapping[str, Any]) -> str:
        raise LookupError("no price")

    toll = RecordingTollgate()
    call = call_of(toll, user="u-42", reserve=True, estimate_usd=broken)
    assert len(toll.checked) == 1
    assert not call.reserves
    assert "LookupError" in caplog.text


@pytest.mark.parametrize(
    ("told", "advice"),
    [
        ({"names": {"modell": "x"}}, "'modell' is no name of a call: give agent, campaign"),
        ({"user": 42}, "user must be text or a function"),
        ({"names": {"org": 7}}, "org must be text, not int: write org=str(...)"),
        ({"names": {"metadata": "t1"}}, "metadata must be a mapping"),
        ({"reserve": True}, 'write estimate_usd="0.05"'),
        ({"reserve": "slices", "estimate_usd": "0.05"}, 'reserve must be True, False or "slice"'),
        ({"estimate_usd": 0.05}, 'write estimate_usd="0.05"'),
    ],
)
def test_wrong_use_says_what_to_write_instead(told: dict[str, Any], advice: str) -> None:
    with pytest.raises(TypeError) as raised:
        Meter(RecordingTollgate(), "openai", **told)
    assert advice in str(raised.value)


def test_a_toll_that_is_none_says_what_to_write_instead() -> None:
    with pytest.raises(TypeError, match="toll must be a Tollgate"):
        Meter("kafka:9092", "openai")  # type: ignore[arg-type]


def test_a_budget_that_asks_for_a_cheaper_model_is_asked_for_one() -> None:
    toll = RecordingTollgate()
    toll.answer("model/gpt-4o", Decision(True, FlagState.WARNING, action=Action.DOWNGRADE))
    call = call_of(toll, user="u-42", on_block=lambda _decision, _body: {"model": "gpt-4o-mini"})
    assert call.body["model"] == "gpt-4o-mini"
    assert call_of(toll, user="u-42", on_block=lambda _decision, _body: None).body["model"] == "gpt-4o"
    assert call_of(toll, user="u-42").body["model"] == "gpt-4o"
