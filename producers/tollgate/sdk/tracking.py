"""Usage of calls that no wrapper knows: a block, a decorator, and a task of an agent.

```python
with track(toll, provider="elevenlabs", model="v3") as call:
    audio = speak(text)
    call.usage["characters"] = len(text)

@tracked(toll, provider="runway", model="gen-4", usage=lambda video: {"video_seconds": video.seconds})
def render(prompt): ...
```
"""

import functools
import inspect
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractContextManager
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, cast, overload

from tollgate.sdk.context import UNKNOWN_USER, call_context, current_names, merged_names, warn_of_unknown_user
from tollgate.sdk.decision import Decision
from tollgate.sdk.errors import BlockedError, SdkError
from tollgate.sdk.event_fields import Amount, CallNames, RecordFields, Usage
from tollgate.sdk.faces import Recorder

log = logging.getLogger("tollgate.sdk")

P = ParamSpec("P")
R = TypeVar("R")
UsageOf = Usage | Callable[[Any], Usage | None] | None
"""What a call uses, or a function that says it of the call's result. None: one request."""

_DIMENSIONS: Final = frozenset(CallNames.__annotations__)
_FIELDS: Final = _DIMENSIONS | frozenset(RecordFields.__annotations__) | {"user", "id"}
# What calls inside a block have in common with it. Provider and model are their own.
_INHERITED: Final = ("user", "org", "service", "agent", "campaign", "feature", "product")


class TrackedCall:
    """A call that is being made: `with track(...) as call:`. One usage event is recorded when the block ends."""

    def __init__(self, toll: Recorder, fields: Mapping[str, Any], decision: Decision | None) -> None:
        self._toll = toll
        self._names: AbstractContextManager[object] | None = None
        self.started = time.monotonic()
        self.usage: dict[str, Amount] = {}
        """Amounts by dimension: `call.usage["characters"] = 1200`. One request when nothing is said."""
        self.fields: dict[str, Any] = dict(fields)
        """The event's other fields, free to change: `call.fields["request_id"] = …`, its model, its `cost_usd`."""
        self.decision = decision
        """What `check` answered; None without a check. Its action is `downgrade` where a cheaper model is due."""

    def names_hold(self) -> AbstractContextManager[object]:
        """A block whose calls inherit this one's user, agent and the like."""
        return call_context(**{name: self.fields.get(name) for name in _INHERITED})

    def __enter__(self) -> Self:
        self._names = self.names_hold()
        self._names.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._names is not None:
            self._names.__exit__(None, None, None)
        self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """Record the call; `error` is what ended it. It never raises: the call is made, and its result is not lost.

        A call that failed costs nothing, unless something was used. One that a limit stopped was not made.
        """
        usage: Usage = self.usage
        if isinstance(error, BlockedError) and not usage:
            return
        fields = {"latency_ms": round((time.monotonic() - self.started) * 1000), **self.fields}
        if error is not None:
            fields = {"status": _status_of(error), "billed": True if usage else None, **fields}
        elif not usage and not fields.get("cost_usd"):
            usage = {"requests": 1}
        try:
            self._toll.record(usage=usage, **fields)
        except (SdkError, TypeError) as fault:
            log.error("a tracked call is not recorded: %s", fault)  # a trace would show what was used


def track(
    toll: Recorder, *, check: bool = True, estimate_usd: str | Decimal | None = None, **fields: Any
) -> TrackedCall:
    """Record a block as one call: `with track(toll, provider=…, model=…) as call:`, in async code too.

    The call's limits are checked first: BlockedError when it must not be made. `estimate_usd` is for that, and
    `check=False` leaves it out. The block's latency and status are recorded. The names of `call_context` are the
    call's where they are not given, and calls inside inherit its user, agent, campaign and the like.

    Name `provider` and `model`, or `agent`, or give `cost_usd` in the block. With an `id`, the same work done again
    counts once. TypeError for a field that an event does not have. A call that names no user is counted for `unknown`.
    """
    _must_be_fields(fields)
    every = {**current_names(), **{name: value for name, value in fields.items() if value is not None}}
    if not every.get("user"):
        every["user"] = UNKNOWN_USER
        warn_of_unknown_user()
    return TrackedCall(toll, every, _checked(toll, every, estimate_usd) if check else None)


def tracked(
    toll: Recorder,
    *,
    usage: UsageOf = None,
    names: Callable[..., Mapping[str, Any]] | None = None,
    check: bool = True,
    estimate_usd: str | Decimal | None = None,
    **fields: Any,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Record every call of a function: plain, async, a generator or an async generator. As `track` otherwise.

    `usage` is what each call uses, or is called with its result; of a generator with each item, and its last answer
    that is not None counts, as providers tell their usage with the last part of a stream. A stream that is left early
    is `cancelled`, and what was told so far is billed. `names` is called with the function's arguments and gives
    fields of the event: `names=lambda prompt, user: {"user": user}`.

    A generator's limits are checked when the function is called, before the first item is asked for.
    """
    _must_be_fields(fields)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        def call_of(*args: P.args, **kwargs: P.kwargs) -> TrackedCall:
            given = {**fields, **names(*args, **kwargs)} if names is not None else fields
            return track(toll, check=check, estimate_usd=estimate_usd, **given)

        def streamed(*args: P.args, **kwargs: P.kwargs) -> Any:
            return _steps(call_of(*args, **kwargs), cast("Any", function(*args, **kwargs)), usage)

        def streamed_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            return _async_steps(call_of(*args, **kwargs), cast("Any", function(*args, **kwargs)), usage)

        def plain(*args: P.args, **kwargs: P.kwargs) -> R:
            with call_of(*args, **kwargs) as call:
                result = function(*args, **kwargs)
                _take(call, usage, result)
                return result

        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            with call_of(*args, **kwargs) as call:
                result = await cast("Awaitable[Any]", function(*args, **kwargs))
                _take(call, usage, result)
                return result

        made: Callable[..., Any] = plain
        if inspect.isasyncgenfunction(function):
            made = streamed_async
        elif inspect.isgeneratorfunction(function):
            made = streamed
        elif inspect.iscoroutinefunction(function):
            made = awaited
        return cast("Callable[P, R]", functools.wraps(function)(made))

    return decorate


@overload
def run_with_cost_tracking(
    task: Callable[[], Awaitable[R]] | Awaitable[R],
    *,
    agent: str,
    campaign: str | None = None,
    toll: Recorder | None = None,
    **names: str | None,
) -> Awaitable[R]: ...
@overload
def run_with_cost_tracking(
    task: Callable[[], R],
    *,
    agent: str,
    campaign: str | None = None,
    toll: Recorder | None = None,
    **names: str | None,
) -> R: ...
def run_with_cost_tracking(
    task: Callable[[], Any] | Awaitable[Any],
    *,
    agent: str,
    campaign: str | None = None,
    toll: Recorder | None = None,
    **names: str | None,
) -> Any:
    """Run a task of an agent, so that every call inside it is counted for the agent and the campaign.

    `task` is a function without arguments, and its result is returned; or a coroutine or an async function, and the
    result is to be awaited. What is counted is what wrappers, `track` and `record` in the task record with the names of
    `call_context`. With `toll` the agent's limits are checked first: BlockedError when they are reached.

    TypeError for an asyncio task that was started before: what runs already has other names.
    """
    if inspect.isawaitable(task):
        # Whoever has something to await has imported it; a service without waits for no import of it.
        from asyncio import isfuture

        if isfuture(task):
            raise TypeError("the task runs already, under other names: give the coroutine or the function instead")
    every = merged_names({**names, "agent": agent, "campaign": campaign})
    if toll is not None:
        _checked(toll, {"user": "", **every}, None)
    if inspect.isawaitable(task):
        return _named(task, every)
    with call_context(**every):
        result = task()
    return _named(result, every) if inspect.isawaitable(result) else result


async def _named(task: Awaitable[R], names: Mapping[str, str]) -> R:
    with call_context(**names):
        return await task


def _checked(toll: Recorder, fields: Mapping[str, Any], estimate_usd: str | Decimal | None) -> Decision:
    call: Any = {name: value for name, value in fields.items() if name in _DIMENSIONS}
    decision = toll.check(user=fields["user"], estimate_usd=estimate_usd, **call)
    if not decision.allowed:
        raise BlockedError.of_check(decision)
    return decision


def _steps(call: TrackedCall, items: Generator[Any, Any, Any], usage: UsageOf) -> Generator[Any, Any, Any]:
    call.started = time.monotonic()
    step: Callable[[], Any] = functools.partial(items.send, None)
    try:
        while True:
            with call.names_hold():
                try:
                    item = step()
                except StopIteration as stopped:
                    result = stopped.value
                    break
            _take(call, usage, item)
            try:
                step = functools.partial(items.send, (yield item))
            except GeneratorExit:
                raise
            except BaseException as thrown:  # noqa: BLE001 # whatever is thrown in is the function's to handle
                step = functools.partial(items.throw, thrown)
    except BaseException as error:
        items.close()
        call.end(error)
        raise
    call.end()
    return result


async def _async_steps(call: TrackedCall, items: AsyncGenerator[Any, Any], usage: UsageOf) -> AsyncGenerator[Any, Any]:
    call.started = time.monotonic()
    step: Callable[[], Awaitable[Any]] = functools.partial(items.asend, None)
    try:
        while True:
            with call.names_hold():
                try:
                    item = await step()
                except StopAsyncIteration:
                    break
            _take(call, usage, item)
            try:
                step = functools.partial(items.asend, (yield item))
            except GeneratorExit:
                raise
            except BaseException as thrown:  # noqa: BLE001 # as above
                step = functools.partial(items.athrow, thrown)
    except BaseException as error:
        await items.aclose()
        call.end(error)
        raise
    call.end()


def _take(call: TrackedCall, usage: UsageOf, result: object) -> None:
    try:
        told = usage(result) if callable(usage) else usage
        if told is not None:
            call.usage = dict(told)
    except Exception as error:  # noqa: BLE001 # the call is made: its result must reach the caller
        log.warning("the function that tells the usage of a call failed: %s", type(error).__name__)


def _status_of(error: BaseException) -> str:
    # A task's cancellation, the end of a generator and Ctrl-C are no Exception.
    if not isinstance(error, Exception):
        return "cancelled"
    return "rate_limited" if getattr(error, "status_code", None) == 429 else "error"


def _must_be_fields(fields: Mapping[str, Any]) -> None:
    unknown = sorted(fields.keys() - _FIELDS)
    if unknown:
        raise TypeError(f"{unknown[0]!r} is no field of a usage event: give {', '.join(sorted(_FIELDS))}")
