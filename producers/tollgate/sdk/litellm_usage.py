"""What LiteLLM tells its callbacks of a call, as a usage event. Needs no LiteLLM.

Read is the `standard_logging_object`, which has the same form for every provider and endpoint:
https://docs.litellm.ai/docs/proxy/logging_spec
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from tollgate.schemas.instants import format_instant
from tollgate.schemas.usage_limits import LATENCY_MS_MAX
from tollgate.sdk.context import usable_name
from tollgate.sdk.token_parts import put_inside, whole_amount

Payload = Mapping[str, Any]

# By dimension, where LiteLLM has it, as a path in its usage object. Several of one dimension say the same.
_USAGE: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "input_tokens": (("prompt_tokens",),),
    "output_tokens": (("completion_tokens",),),
    "cached_input_tokens": (("prompt_tokens_details", "cached_tokens"), ("cache_read_input_tokens",)),
    "cache_write_tokens": (
        ("prompt_tokens_details", "cache_creation_tokens"),
        ("prompt_tokens_details", "cache_write_tokens"),
        ("cache_creation_input_tokens",),
    ),
    "cache_write_5m_tokens": (("prompt_tokens_details", "cache_creation_token_details", "ephemeral_5m_input_tokens"),),
    "cache_write_1h_tokens": (("prompt_tokens_details", "cache_creation_token_details", "ephemeral_1h_input_tokens"),),
    "input_audio_tokens": (("prompt_tokens_details", "audio_tokens"),),
    "input_image_tokens": (("prompt_tokens_details", "image_tokens"),),
    "reasoning_tokens": (("completion_tokens_details", "reasoning_tokens"),),
    "output_audio_tokens": (("completion_tokens_details", "audio_tokens"),),
    "output_image_tokens": (("completion_tokens_details", "image_tokens"),),
    "web_searches": (("server_tool_use", "web_search_requests"), ("prompt_tokens_details", "web_search_requests")),
}
_UNKNOWN: Final = "unknown"


def usage_of(reported: Mapping[str, Any]) -> dict[str, int]:
    """Amounts by dimension of LiteLLM's usage object. Its `prompt_tokens` include what was cached."""
    given: dict[str, int] = {}
    for dimension, paths in _USAGE.items():
        amount = max(_at(reported, path) for path in paths)
        if amount:
            given[dimension] = amount
    return put_inside(given)


def event_of(details: Payload, payload: Payload, *, failed: bool, names: Mapping[str, str]) -> dict[str, Any] | None:
    """The fields of the event for a call that ended; None for an answer from LiteLLM's own cache, which costs nothing.

    `details` is what LiteLLM hands to callbacks, `payload` the standard object in it. `names` are those of
    `call_context` where the call was made. The user is the one that a key of the proxy belongs to, else the call's own
    `user`, else that of `names`; the org likewise. The id is made of LiteLLM's call id and of the instant at which the
    call began: fallbacks share the former, and a client of the proxy may choose it.
    """
    if payload.get("cache_hit") is True:
        return None
    metadata: Payload = payload.get("metadata") or {}
    reported: Payload = metadata.get("usage_object") or payload
    usage = usage_of(reported) or _images_of(reported)
    began_us, ended_us = _microseconds(payload.get("startTime")), _microseconds(payload.get("endTime"))
    status = _status_of(payload) if failed else None
    latency_ms = (ended_us - began_us) // 1000
    provider = usable_name(payload.get("custom_llm_provider")) or _UNKNOWN
    return {
        **names,
        "user": _first_name(
            metadata.get("user_api_key_user_id"), payload.get("end_user"), details.get("user"), names.get("user")
        ),
        "org": _first_name(metadata.get("user_api_key_org_id"), names.get("org")),
        "provider": provider,
        "model": (usable_name(payload.get("model")) or _UNKNOWN).removeprefix(f"{provider}/"),
        "operation": usable_name(payload.get("call_type")),
        "request_id": usable_name(payload.get("id")),
        "usage": usage or ({} if failed else {"requests": 1}),
        "options": _options_of(reported, payload),
        "status": status,
        "billed": True if status and usage else None,
        "latency_ms": latency_ms if 0 <= latency_ms <= LATENCY_MS_MAX else None,
        "time": format_instant(ended_us // 1000) if ended_us else None,
        "id": _id_of(payload, began_us, status or "success"),
    }


def _images_of(reported: Payload) -> dict[str, int]:
    """How many images were made, of models that report no tokens."""
    images = whole_amount(reported.get("output_image_count"))
    return {"images": images} if images else {}


def _options_of(reported: Payload, payload: Payload) -> dict[str, str] | None:
    """What chooses among several prices of the model: what the provider answered, and what was asked for an image."""
    asked: Payload = payload.get("model_parameters") or {}
    given = {name: reported.get(name) for name in ("service_tier", "speed", "inference_geo")}
    given |= {name: asked.get(name) for name in ("size", "quality")}
    return {name: text for name, value in given.items() if (text := usable_name(value))} or None


def _first_name(*given: object) -> str | None:
    return next((name for each in given if (name := usable_name(each))), None)


def _id_of(payload: Payload, began_us: int, status: str) -> str:
    call = f"{payload.get('litellm_call_id') or payload.get('id')}"
    # Whatever the call's id is, this is short and has no character that an id must not have.
    return f"litellm-{hashlib.sha256(f'{call}|{began_us}|{status}'.encode('utf-8', 'replace')).hexdigest()[:40]}"


def _status_of(payload: Payload) -> str:
    code = str((payload.get("error_information") or {}).get("error_code") or "")
    return "rate_limited" if code == "429" else "error"


def _microseconds(seconds: object) -> int:
    return round(seconds * 1_000_000) if isinstance(seconds, int | float) and seconds > 0 else 0


def _at(reported: object, path: tuple[str, ...]) -> int:
    for key in path:
        reported = reported.get(key) if isinstance(reported, Mapping) else getattr(reported, key, None)
    return whole_amount(reported)
