"""Usage from a service's OpenTelemetry traces: one usage event for each call of a model that a span tells of.

```python
provider = TracerProvider()
provider.add_span_processor(TollgateSpanProcessor(toll))
```

Understood are the GenAI semantic conventions, current and older names, and those of OpenInference and OpenLLMetry.
A span that is not sampled never reaches a processor, so its usage is not counted: sample in the exporter or the
collector instead.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from itertools import takewhile
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import StatusCode

from tollgate.schemas.instants import format_instant
from tollgate.schemas.usage_limits import LATENCY_MS_MAX
from tollgate.sdk.context import UNKNOWN_USER, current_names, usable_name, warn_of_unknown_user
from tollgate.sdk.errors import SdkError
from tollgate.sdk.faces import Recorder
from tollgate.sdk.span_usage import Attributes, is_call, is_tool, model_of, name_of, told_by, usage_of

log = logging.getLogger("tollgate.sdk")

NamesOf = Callable[[ReadableSpan], Mapping[str, str | None]]

# Far above what is open at once in any process; spans that never end must not fill the memory.
_OPEN_MAX: Final = 100_000
_NS_PER_MS: Final = 1_000_000
_UNKNOWN: Final = "unknown"
# What the SDK of OpenTelemetry calls a service that has no name.
_UNNAMED_SERVICE: Final = "unknown_service"


@dataclass(slots=True)
class _Open:
    """A span that has not ended."""

    span: Span
    parent_id: int | None
    names: Mapping[str, str]
    """Those of `call_context` where it began."""
    is_call: bool
    counted_below: bool = False
    """Whether a call inside it is counted, so that its own usage is a sum that tells the same again."""
    calls_below: int = 0
    """How many calls inside it have not ended, and will be counted then."""


class TollgateSpanProcessor(SpanProcessor):
    """Records usage from spans: `tracer_provider.add_span_processor(TollgateSpanProcessor(toll))`.

    A span counts when it has an amount of tokens, and no span inside it is counted: frameworks repeat the sum of their
    calls in the spans around them, and two layers of instrumentation tell of the same call. A tool that an agent runs
    ends this, because the calls in it are its own. A call that failed is recorded without cost.

    The event's id is made of trace and span id, so that a span that is sent twice counts once. Its user is `enduser.id`
    or `user.id` of the span or of one around it, else that of `call_context` where the span began, else `unknown`;
    the agent likewise. `names` gives further fields of the event from the span, and its names win.

    A service records each call once: leave out the wrappers of clients that are instrumented.
    """

    def __init__(self, toll: Recorder, *, names: NamesOf | None = None) -> None:
        self._toll = toll
        self._names_of = names
        self._open: dict[int, _Open] = {}
        self._lock = threading.Lock()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 # OpenTelemetry's
        """Called by OpenTelemetry on the thread that starts the span."""
        parent = span.parent
        parent_id = None if parent is None else parent.span_id
        told = told_by(span.attributes)
        began = _Open(span, parent_id, current_names(), bool(told) and is_call(told))
        with self._lock:
            if len(self._open) >= _OPEN_MAX:
                del self._open[next(iter(self._open))]
            self._open[span.get_span_context().span_id] = began
            if began.is_call:
                for around in self._around(began):
                    around.calls_below += 1

    def on_end(self, span: ReadableSpan) -> None:
        """Called by OpenTelemetry on the thread that ends the span. It never raises."""
        context = span.get_span_context()
        if context is None:
            return
        with self._lock:
            ended = self._open.pop(context.span_id, None) or _Open(span, None, {}, is_call=False)  # type: ignore[arg-type] # began before this processor was added
            attributes = told_by(span.attributes)
            if not attributes:
                return
            around = list(self._around(ended))
            if ended.is_call:
                for open_span in around:
                    open_span.calls_below -= 1
            usage = usage_of(attributes)
            failed = span.status.status_code is StatusCode.ERROR
            # Of a call that failed nothing is told but what it was.
            tells = usage or (failed and is_call(attributes) and model_of(attributes)[1])
            if ended.counted_below or ended.calls_below or not tells:
                return
            for open_span in around:
                open_span.counted_below = True
            names = _names(span, ended, self._above(ended))
        try:
            self._toll.record(**self._event(span, usage, names, failed))
        except (SdkError, TypeError) as error:
            log.warning("the usage of a span is not recorded: %s", error)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until everything recorded so far is stored. With an `AsyncTollgate`, await its own `flush` instead."""
        flush = getattr(self._toll, "flush", None)
        return True if flush is None or iscoroutinefunction(flush) else bool(flush(timeout_millis / 1000))

    def _own_names(self, span: ReadableSpan) -> Mapping[str, str | None]:
        try:
            return {} if self._names_of is None else self._names_of(span)
        except Exception as error:  # noqa: BLE001 # a service's function must not fail its calls through us
            log.warning("the function that names a span failed: %s", type(error).__name__)
            return {}

    def _above(self, began: _Open) -> Iterator[_Open]:
        """The open spans around it, from the inside."""
        parent_id = began.parent_id
        while parent_id is not None and (parent := self._open.get(parent_id)) is not None:
            yield parent
            parent_id = parent.parent_id

    def _around(self, began: _Open) -> Iterator[_Open]:
        """The same, up to the nearest tool."""
        return takewhile(lambda span: not is_tool(span.span.name, span.span.attributes or {}), self._above(began))

    def _event(
        self, span: ReadableSpan, usage: Mapping[str, int], names: Mapping[str, str], failed: bool
    ) -> dict[str, Any]:
        """The event of a span: everything in it is the same when the span is read again."""
        attributes = span.attributes or {}
        provider, model = model_of(attributes)
        own = self._own_names(span)
        event: dict[str, Any] = {
            "service": _service_of(span),
            **names,
            "provider": provider,
            "model": model,
            "operation": name_of(attributes, "operation"),
            "request_id": name_of(attributes, "request_id"),
            **{name: value for name, value in own.items() if value is not None},
            "usage": usage,
            **({"status": _status_of(attributes), "billed": True if usage else None} if failed else {}),
            **_times(span),
        }
        if not event.get("user"):
            event["user"] = UNKNOWN_USER
            warn_of_unknown_user()
        if not event.get("agent"):
            # Tokens of nobody knows what model cost something all the same, and an alert tells of them.
            event["provider"] = event["provider"] or _UNKNOWN
            event["model"] = event["model"] or _UNKNOWN
        context = span.get_span_context()
        assert context is not None, "checked by on_end"
        return {**event, "id": f"otel-{context.trace_id:032x}-{context.span_id:016x}"}


def _names(span: ReadableSpan, began: _Open, above: Iterable[_Open]) -> dict[str, str]:
    """The user, the agent and the like: what the nearest span says, else what held where the nearest began."""
    inside_out = [began, *above]
    names: dict[str, str] = {}
    for open_span in reversed(inside_out):
        names.update(open_span.names)
    for own in ("provider", "model", "operation", "request_id"):
        names.pop(own, None)
    for name in ("user", "agent"):
        spans = (span, *(open_span.span for open_span in inside_out[1:]))
        told = next((told for each in spans if (told := name_of(each.attributes or {}, name))), None)
        if told is not None:
            names[name] = told
    return names


def _status_of(attributes: Attributes) -> str:
    kind = str(attributes.get("error.type", "")).lower()
    return "rate_limited" if "429" in kind or "ratelimit" in kind.replace("_", "") else "error"


def _service_of(span: ReadableSpan) -> str | None:
    name = usable_name(span.resource.attributes.get("service.name"))
    return None if name is None or name.startswith(_UNNAMED_SERVICE) else name


def _times(span: ReadableSpan) -> dict[str, Any]:
    if span.start_time is None or span.end_time is None:
        return {}
    latency_ms = (span.end_time - span.start_time) // _NS_PER_MS
    return {
        "time": format_instant(span.end_time // _NS_PER_MS),
        "latency_ms": latency_ms if 0 <= latency_ms <= LATENCY_MS_MAX else None,
    }
