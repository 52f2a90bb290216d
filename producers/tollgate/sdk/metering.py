"""One call of a provider's client, from the check before it to the usage event after it.

What is the same for every provider, for sync and async clients, and for whole answers and streams.
"""

import inspect
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from tollgate.schemas.output_words import Action
from tollgate.sdk.context import UNKNOWN_USER, current_names, usable_name, warn_of_unknown_user
from tollgate.sdk.decision import Decision
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.event_fields import CallNames
from tollgate.sdk.faces import Recorder
from tollgate.sdk.providers.answers import Answer
from tollgate.sdk.providers.dimensions import decimal_text

log = logging.getLogger("tollgate.sdk")

_DIMENSIONS: Final = frozenset(CallNames.__annotations__)
_NAMES: Final = (_DIMENSIONS - {"provider", "model"}) | {"operation", "resource_type", "resource_id", "metadata"}
METERED_ALREADY: Final = "the client is metered already: say call_context(user=…) at the call, or meter another client"

# Far above what a service has deployments of; a bound all the same, because the names come from requests.
_LEARNT_MAX: Final = 1_000
# Whose model names in requests may be a deployment's or a router's.
_ANSWERED_NAME_COUNTS: Final = frozenset({"azure", "openrouter"})

_UNKNOWN: Final = "unknown"

Body = Mapping[str, Any]
User = str | Callable[[], str | None] | None
Estimate = str | Decimal | Callable[[Body], str | Decimal | float | None] | None
Reserve = bool | Literal["slice"]
OnBlock = Callable[[Decision, dict[str, Any]], Mapping[str, Any] | None]
Status = Literal["success", "error", "rate_limited", "cancelled"]


@dataclass(slots=True)
class Meter:
    """What `metered` was told about a client; shared by the copies that the client makes of itself."""

    toll: Recorder
    provider: str
    user: User = None
    reserve: Reserve = False
    estimate_usd: Estimate = None
    on_block: OnBlock | None = None
    names: Mapping[str, Any] = field(default_factory=dict)
    answered_as: dict[str, str] = field(default_factory=dict)
    """The model behind a name that is none: a deployment of Azure, a router's name."""
    background: dict[str, "Call"] = field(default_factory=dict)
    """Calls whose answers are made in the background, by the answer's id."""

    def __post_init__(self) -> None:
        """TypeError says what to write instead."""
        if not isinstance(self.toll, Recorder):
            raise TypeError(f"toll must be a Tollgate or AsyncTollgate, not {type(self.toll).__name__}")
        unknown = self.names.keys() - _NAMES
        if unknown:
            raise TypeError(f"{sorted(unknown)[0]!r} is no name of a call: give {', '.join(sorted(_NAMES))}")
        texts = {name: value for name, value in self.names.items() if name != "metadata" and value is not None}
        if wrong := [name for name, value in texts.items() if not isinstance(value, str)]:
            raise TypeError(f"{wrong[0]} must be text, not {type(texts[wrong[0]]).__name__}: write {wrong[0]}=str(...)")
        if not isinstance(self.names.get("metadata", {}), Mapping):
            raise TypeError("metadata must be a mapping: write metadata={'tenant': 't1'}")
        if not (self.user is None or callable(self.user) or isinstance(self.user, str)):
            raise TypeError(f"user must be text or a function that gives it, not {type(self.user).__name__}")
        if self.reserve not in {True, False, "slice"}:
            raise TypeError('reserve must be True, False or "slice"')
        if self.reserve and self.estimate_usd is None:
            raise TypeError('reserve=True needs what a call may cost: write estimate_usd="0.05"')
        if self.reserve and not hasattr(self.toll, "reserve"):
            raise TypeError("reserve=True needs a Tollgate or AsyncTollgate")
        if isinstance(self.estimate_usd, float):
            raise TypeError('estimate_usd must be text or a Decimal: write estimate_usd="0.05"')

    def named(self, model: str) -> dict[str, Any]:
        """The user and names of a call that is made here and now; `call_context` goes before `metered`."""
        given = {**self.names, **current_names(), "provider": self.provider, "model": self.priced_as(model)}
        # A name that no event may have would be refused with all of its event.
        names = {name: value for name, value in given.items() if name == "metadata" or usable_name(value)}
        if "user" not in names:
            names["user"] = usable_name(self._user()) or UNKNOWN_USER
        if names["user"] == UNKNOWN_USER:
            warn_of_unknown_user()
        return names

    def priced_as(self, model: str) -> str:
        """The name that a model is counted under."""
        return self.answered_as.get(model, model) or _UNKNOWN

    def _user(self) -> str | None:
        if not callable(self.user):
            return self.user
        try:
            return self.user()
        except Exception as error:  # noqa: BLE001 # a service's function must not fail its calls through us
            log.warning("the function that names the user failed: %s", type(error).__name__)
            return None

    def learn(self, asked: str, answered: str | None) -> None:
        """Remember the model behind a name that does not begin the answered one, so that checks name it too."""
        if answered and not (asked and answered.startswith(asked)) and len(self.answered_as) < _LEARNT_MAX:
            self.answered_as[asked] = answered


class Call:
    """One call that is being made. Records exactly one usage event, whichever of its ends comes first.

    Nothing but its making and `hold` raises, and those only BlockedError or what the service's own `on_block` raises.
    """

    def __init__(self, meter: Meter, answer: Callable[[Body], Answer], body: Body, *, checked: bool = True) -> None:
        self._meter = meter
        self._started = time.monotonic()
        self._id = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
        self._held: Any = None
        self._ended = False
        self._estimate: str | Decimal | None = None
        self.body = body
        self.names = meter.named(self._model())
        if checked:
            self.begin()
        self.answer = answer(self.body)

    def begin(self) -> None:
        """Check; BlockedError when the call must not be made and `on_block` knows no other."""
        decision = self._check()
        if decision is None or (decision.allowed and decision.action is not Action.DOWNGRADE):
            return
        on_block = self._meter.on_block
        changed = None if on_block is None else on_block(decision, dict(self.body))
        if changed is not None:
            self.body = {**self.body, **changed}
            self.names["model"] = self._meter.priced_as(self._model())
            decision = self._check() or decision
        if not decision.allowed:
            raise BlockedError.of_check(decision)

    def _check(self) -> Decision | None:
        """None when it cannot be asked: the call goes ahead."""
        self._estimate = self._estimated()
        try:
            asked = {name: value for name, value in self.names.items() if name in _DIMENSIONS}
            return self._meter.toll.check(user=self.names["user"], estimate_usd=self._estimate, **asked)
        except Exception as error:  # noqa: BLE001 # what is wrong with our side must not fail the service's call
            log.warning("a call was not checked: %s", type(error).__name__)
            return None

    def _model(self) -> str:
        return usable_name(self.body.get("model")) or ""

    def _estimated(self) -> str | Decimal | None:
        estimate = self._meter.estimate_usd
        if not callable(estimate):
            return estimate
        try:
            estimated = estimate(self.body)
            return decimal_text(estimated) if isinstance(estimated, float) else estimated
        except Exception as error:  # noqa: BLE001 # a service's function must not fail its calls through us
            log.warning("the function that estimates a call failed: %s", type(error).__name__)
            return None

    @property
    def reserves(self) -> bool:
        """Whether the call waits for a reservation."""
        return bool(self._meter.reserve) and self._estimate is not None

    def hold(self) -> None:
        """Reserve, in sync code. BlockedError when it is denied, TypeError when the client only awaits."""
        held = self._reservation()
        if held is None:
            return
        if not hasattr(held, "__enter__"):
            raise TypeError("reserve=True on a call that does not await needs a Tollgate: an AsyncTollgate awaits")
        try:
            held.__enter__()
        except BlockedError:
            raise
        except Exception as error:  # noqa: BLE001 # as for the check
            log.warning("nothing was reserved for a call: %s", type(error).__name__)
        else:
            self._held = held

    async def ahold(self) -> None:
        """Reserve, in async code, through either client."""
        held = self._reservation()
        if held is None:
            return
        try:
            if hasattr(held, "__aenter__"):
                await held.__aenter__()
            else:
                await _in_thread(held.__enter__)
        except BlockedError:
            raise
        except Exception as error:  # noqa: BLE001 # as for the check
            log.warning("nothing was reserved for a call: %s", type(error).__name__)
        else:
            self._held = held

    def _reservation(self) -> Any:
        toll: Any = self._meter.toll
        names = {name: value for name, value in self.names.items() if name in _DIMENSIONS}
        in_slices = self._meter.reserve == "slice"
        try:
            return toll.reserve(user=self.names["user"], usd=self._estimate, slice=in_slices, **names)
        except Exception as error:  # noqa: BLE001 # as for the check
            log.warning("nothing was reserved for a call: %s", type(error).__name__)
            return None

    def failed(self, error: BaseException | None) -> None:
        """No answer came: an event that costs nothing, and what was reserved is given back."""
        status, http_status = status_of(error)
        metadata = {"http_status": http_status} if http_status else None
        self._end({"usage": {}, "status": status, "metadata": metadata}, settles=False)

    def finished(self, error: BaseException | None = None) -> None:
        """An answer came, whole or up to here; `error` is what cut it, None when it was closed or came to its end.

        It waits for nothing, so that it may be called in async code, by a generator that is closed and by the garbage
        collector.
        """
        if not self._ended:
            self._end(self._fields(error), settles=True)

    def _fields(self, error: BaseException | None) -> dict[str, Any]:
        try:
            reading = self.answer.reading()
        except Exception as fault:  # noqa: BLE001 # an answer of a form that we do not know
            log.warning("the usage of an answer cannot be read: %s", type(fault).__name__)
            return {"usage": {"requests": 1}, "metadata": {"estimated": True}}
        self._name_model(usable_name(reading.model))
        status: Status = "success"
        if not self.answer.complete:
            status = "error" if isinstance(error, Exception) or self.answer.failed else "cancelled"
        elif self.answer.failed:
            status = "error"
        return {
            "usage": reading.usage or {"requests": 1},
            "status": None if status == "success" else status,
            "billed": None if status == "success" else True,
            "request_id": usable_name(reading.answer_id),
            "options": {name: value for name, value in reading.options.items() if usable_name(value)} or None,
            "metadata": {"estimated": True} if reading.estimated else None,
        }

    def _name_model(self, answered: str | None) -> None:
        if self._meter.provider in _ANSWERED_NAME_COUNTS or not self._model():
            self._meter.learn(self._model(), answered)
            self.names["model"] = self._meter.priced_as(self._model())

    def _event(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        operation = {"operation": self.answer.operation, "latency_ms": round((time.monotonic() - self._started) * 1000)}
        event = {**operation, **self.names, **{name: value for name, value in fields.items() if value is not None}}
        if fields.get("metadata") and self.names.get("metadata"):
            event["metadata"] = {**self.names["metadata"], **fields["metadata"]}
        if not event["usage"] and "status" not in event:
            event["usage"] = {"requests": 1}
        return event

    def _end(self, fields: Mapping[str, Any], *, settles: bool) -> None:
        if self._ended:
            return
        self._ended = True
        held = self._held
        try:
            event = self._event(fields)
            if held is None or not settles:
                self._meter.toll.record(id=self._id, **event)
            else:
                del event["user"]
                _now(held.settle(id=self._id, **event))
        except Exception as error:  # noqa: BLE001 # nothing of ours fails the service
            log.warning("the usage of a call was not recorded: %s", type(error).__name__)
        try:
            if held is not None:
                leave = getattr(held, "__aexit__", None) or held.__exit__
                _now(leave(None, None, None))
        except Exception as error:  # noqa: BLE001 # as above
            log.warning("a reservation was not given back: %s", type(error).__name__)


def status_of(error: BaseException | None) -> tuple[Status, int | None]:
    """How a call without an answer ended, and the provider's HTTP status where it gave one."""
    if not isinstance(error, Exception):
        # A task's cancellation, the end of a generator, Ctrl-C: none of them is an Exception, with trio neither.
        return "cancelled", None
    # OpenAI and Anthropic call it `status_code`, Google `code`.
    given = getattr(error, "status_code", None) or getattr(error, "code", None)
    http_status = given if isinstance(given, int) else None
    return ("rate_limited" if http_status == 429 else "error"), http_status


async def _in_thread(function: Callable[..., object], *given: object) -> None:
    # Half of the import of this module, and whoever gets here has it.
    import asyncio

    await asyncio.to_thread(function, *given)


def _now(ended: object) -> None:
    """The end of a reservation, of either client. Neither waits for anything, so an awaited one needs no loop."""
    if inspect.iscoroutine(ended):
        try:
            ended.send(None)
        except StopIteration:
            return
        ended.close()
        raise RuntimeError("a reservation's end waits for something")
