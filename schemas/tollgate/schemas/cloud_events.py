"""CloudEvents on Kafka: attributes in `ce_` headers (binary mode) or in the JSON itself (structured mode)."""

from collections.abc import Sequence
from typing import Final

from tollgate.schemas.refusals import Refusal, RefusalReason

Headers = Sequence[tuple[str, bytes | None]]

_STRUCTURED: Final = b"application/cloudevents"
_ATTRIBUTES: Final = {f"ce_{name}": name for name in ("specversion", "type", "source", "id", "subject", "time")}


def binary_attributes(headers: Headers) -> dict[str, str] | Refusal | None:
    """The attributes of an event in binary mode; None when the value is to be read in structured mode.

    Binary means: a `ce_` header is there and the content type is not a CloudEvent's own. Other `ce_` attributes are
    ignored like other unknown fields, and so is a header without value; of a repeated header the last counts.
    """
    found: dict[str, str] = {}
    binary = False
    for name, value in headers:
        if name.startswith("ce_"):
            binary = True
            attribute = _ATTRIBUTES.get(name)
            if attribute is not None and value is not None:
                try:
                    found[attribute] = value.decode()
                except UnicodeDecodeError:
                    return Refusal(RefusalReason.INVALID_UTF8, f"{attribute}: the header {name} is not UTF-8")
        elif value is not None and name.lower() == "content-type" and value.strip().lower().startswith(_STRUCTURED):
            return None
    return found if binary else None
