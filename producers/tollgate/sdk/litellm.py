"""Usage from LiteLLM, as a library or as a proxy: `litellm.callbacks.append(TollgateLogger(toll))`."""

from collections.abc import Mapping
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from tollgate.sdk.faces import Recorder
from tollgate.sdk.litellm_calls import LitellmCalls, NamesOf


class TollgateLogger(CustomLogger):  # type: ignore[misc] # LiteLLM is not installed where types are checked
    """Records one usage event for each call that LiteLLM makes: streams and async calls, successes and failures.

    Prices are Tollgate's own. Answers from LiteLLM's cache cost nothing and are not recorded. The user is the one that
    a key of the proxy belongs to, else the call's `user`, else that of `call_context` where the call was made, else
    `unknown`. `names` is called with LiteLLM's `standard_logging_object` and gives further fields of the event, which
    win. It records and does not block: check before the call, or use a wrapper or a middleware.
    """

    def __init__(self, toll: Recorder, *, names: NamesOf | None = None) -> None:
        super().__init__()
        self._calls = LitellmCalls(toll, names)

    def log_pre_api_call(self, model: str, messages: Any, kwargs: dict[str, Any]) -> None:  # noqa: ARG002 # LiteLLM's
        """Called where the call is made, before it."""
        self._calls.began(kwargs)

    def log_success_event(self, kwargs: Mapping[str, Any], *_more: Any, **_named: Any) -> None:
        """Called on a thread of LiteLLM after a call; for a stream, after its last part."""
        self._calls.ended(kwargs, failed=False)

    def log_failure_event(self, kwargs: Mapping[str, Any], *_more: Any, **_named: Any) -> None:
        """Called on a thread of LiteLLM after a call that failed."""
        self._calls.ended(kwargs, failed=True)

    async def async_log_success_event(self, kwargs: Mapping[str, Any], *_more: Any, **_named: Any) -> None:
        """As `log_success_event`, on LiteLLM's loop. It waits for nothing."""
        self._calls.ended(kwargs, failed=False)

    async def async_log_failure_event(self, kwargs: Mapping[str, Any], *_more: Any, **_named: Any) -> None:
        """As `log_failure_event`, on LiteLLM's loop."""
        self._calls.ended(kwargs, failed=True)
