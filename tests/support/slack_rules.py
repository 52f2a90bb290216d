"""What Slack refuses in a message, as far as alerts can run into it.

Limits: https://docs.slack.dev/reference/block-kit/blocks and https://docs.slack.dev/messaging/message-metadata.
"""

import re
from collections.abc import Mapping
from typing import Any

BLOCKS_MAX = 50
HEADER_CHARS_MAX = 150
SECTION_CHARS_MAX = 3000
FIELDS_MAX = 10
FIELD_CHARS_MAX = 2000
ELEMENTS_MAX = 10
TEXT_CHARS_MAX = 40_000


# What mrkdwn renders: https://docs.slack.dev/messaging/formatting-message-text. Formatting begins and ends at a word.
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_MARKUP = re.compile(
    r"<[^<>\s][^<>]*>|https?://[^\s<>|`]+|\b(?:[a-z0-9-]+\.)+[a-z]{2,}\b|(?<![\w:]):[a-z0-9_+'-]+:(?![\w:])"
    r"|(?<![\w*])\*[^*\s](?:[^*\n]*[^*\s])?\*(?![\w*])|(?<![\w_])_[^_\s](?:[^_\n]*[^_\s])?_(?![\w_])"
    r"|(?<![\w~])~[^~\s](?:[^~\n]*[^~\s])?~(?![\w~])|^(?:&gt;|>).*|@(?:here|channel|everyone)\b|(?<!\w)#[a-z][\w-]*",
    re.IGNORECASE | re.MULTILINE,
)


def markup_of(mrkdwn: str) -> list[str]:
    """What of the text Slack would format, link, replace by an emoji or take for a mention."""
    return [found[0] for found in _MARKUP.finditer(_CODE.sub("\0", mrkdwn))]


def markup_of_message(body: Mapping[str, Any]) -> list[list[str]]:
    """The kinds of markup in each mrkdwn text and in the fallback, which is one too; times and figures aside."""
    found = [body.get("text") or ""]
    for block in body.get("blocks") or []:
        parts = [*block.get("fields", []), *block.get("elements", [])] + ([block["text"]] if "text" in block else [])
        found += [part["text"] for part in parts if part["type"] == "mrkdwn"]
        assert all(part.get("emoji") is False for part in parts if part["type"] == "plain_text")
    return [[markup[0] for markup in markup_of(text)] for text in found]


def fault_of_message(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """Slack's error code and our explanation, or None when the message is in order."""
    text, blocks = body.get("text") or "", body.get("blocks") or []
    if not text and not blocks:
        return "no_text", "neither text nor blocks"
    if len(text) > TEXT_CHARS_MAX:
        return "msg_too_long", f"text of {len(text)} characters"
    if not isinstance(blocks, list) or len(blocks) > BLOCKS_MAX:
        return "invalid_blocks", "blocks is no list of at most 50"
    for number, block in enumerate(blocks):
        fault = _fault_of_block(block)
        if fault:
            return "invalid_blocks", f"blocks[{number}]: {fault}"
    return _fault_of_metadata(body.get("metadata"))


def _fault_of_metadata(metadata: object) -> tuple[str, str] | None:
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping) or set(metadata) != {"event_type", "event_payload"}:
        return "invalid_metadata_format", "metadata needs event_type and event_payload"
    if not isinstance(metadata["event_type"], str) or not isinstance(metadata["event_payload"], Mapping):
        return "invalid_metadata_format", "event_type is text, event_payload an object"
    return None


def _fault_of_block(block: object) -> str | None:
    if not isinstance(block, Mapping):
        return "not an object"
    kind = block.get("type")
    if kind == "header":
        return _fault_of_text(block.get("text"), HEADER_CHARS_MAX, {"plain_text"})
    if kind == "section":
        return _fault_of_section(block)
    if kind == "context":
        elements = block.get("elements") or []
        if not 1 <= len(elements) <= ELEMENTS_MAX:
            return f"{len(elements)} elements"
        return next((fault for e in elements if (fault := _fault_of_text(e, SECTION_CHARS_MAX))), None)
    return None if kind == "divider" else f"unknown type {kind!r}"


def _fault_of_section(block: Mapping[str, Any]) -> str | None:
    text, fields = block.get("text"), block.get("fields")
    if text is None and not fields:
        return "a section without text and fields"
    if text is not None and (fault := _fault_of_text(text, SECTION_CHARS_MAX)):
        return fault
    if fields and len(fields) > FIELDS_MAX:
        return f"{len(fields)} fields"
    return next((fault for f in fields or [] if (fault := _fault_of_text(f, FIELD_CHARS_MAX))), None)


def _fault_of_text(value: object, limit: int, kinds: frozenset[str] | set[str] = frozenset()) -> str | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("text"), str):
        return "no text object"
    if value.get("type") not in (kinds or {"plain_text", "mrkdwn"}):
        return f"a text of type {value.get('type')!r}"
    if value["type"] == "mrkdwn" and "emoji" in value:
        return "emoji belongs to plain_text"
    if value["type"] == "plain_text" and "verbatim" in value:
        return "verbatim belongs to mrkdwn"
    if not 1 <= len(value["text"]) <= limit:
        return f"a text of {len(value['text'])} characters where 1 to {limit} are allowed"
    return None
