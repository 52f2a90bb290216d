"""From LiteLLM's callbacks to usage events. Needs no LiteLLM; `tollgate.sdk.litellm` hands its callbacks over."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from tollgate.sdk.context import UNKNOWN_USER, current_names, warn_of_unknown_user
from tollgate.sdk.errors import SdkError
from tollgate.sdk.faces import Recorder
from tollgate.sdk.litellm_usage import Payload, event_of

log = logging.getLogger("tollgate.sdk")

NamesOf = Callable[[Payload], Mapping[str, str | None]]

# Where the names of a call wait for its end, in what LiteLLM hands to all callbacks of the call.
_NAMES: Final = "tollgate_names"
# LiteLLM calls both its sync and its async callback for some calls, within seconds.
_RECENT_MAX: Final = 10_000
# What a call says itself is not taken from its surroundings.
_OWN: Final = ("provider", "model", "operation", "request_id")


class LitellmCalls:
    """Records what LiteLLM tells of its calls, from any thread. Nothing here ever raises."""

    def __init__(self, toll: Recorder, names: NamesOf | None = None) -> None:
        self._toll = toll
        self._names_of = names
        self._lock = threading.Lock()
        self._recent: OrderedDict[str, None] = OrderedDict()

    def began(self, details: MutableMapping[str, Any]) -> None:
        """A call is about to be made here: keep the names that hold."""
        details[_NAMES] = dict(current_names())

    def ended(self, details: Mapping[str, Any], *, failed: bool) -> None:
        """A call ended: record it, unless it is recorded already."""
        payload = details.get("standard_logging_object")
        if payload is None:
            log.warning("LiteLLM tells nothing of a call: its usage is not recorded")
            return
        around = details.get(_NAMES) or current_names()
        names = {name: value for name, value in around.items() if name not in _OWN}
        event = event_of(details, payload, failed=failed, names=names)
        if event is None or self._is_known(event["id"]):
            return
        event |= {name: value for name, value in self._own_names(payload).items() if value is not None}
        if not event.get("user"):
            event["user"] = UNKNOWN_USER
            warn_of_unknown_user()
        try:
            self._toll.record(**event)
        except (SdkError, TypeError) as error:
            log.warning("the usage of a call of LiteLLM is not recorded: %s", error)

    def _is_known(self, event_id: str) -> bool:
        with self._lock:
            if event_id in self._recent:
                return True
            self._recent[event_id] = None
            if len(self._recent) > _RECENT_MAX:
                self._recent.popitem(last=False)
            return False

    def _own_names(self, payload: Payload) -> Mapping[str, str | None]:
        try:
            return {} if self._names_of is None else self._names_of(payload)
        except Exception as error:  # noqa: BLE001 # a service's function must not fail its calls through us
            log.warning("the function that names a call failed: %s", type(error).__name__)
            return {}
