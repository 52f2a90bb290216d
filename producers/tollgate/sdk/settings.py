"""How a client is set: what its constructor was given, checked, with defaults from the environment."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from tollgate.schemas.text_rules import CONTROL_CHARACTER, NAME_CHARS_MAX

SPOOL_BYTES_MIN: Final = 1 << 20
"""Less than this would hold hardly more than one event of the largest size for each process."""

OnError = Callable[[str, Exception], None]
"""Called with an event's id and why it is not counted, on a thread of ours. What it raises is logged."""


@dataclass(frozen=True, slots=True)
class Settings:
    """See `tollgate.sdk.client.Tollgate`. Exactly one of `kafka` and `url` is set."""

    kafka: str | None
    url: str | None
    source: str
    token: str | None
    topic_prefix: str
    spool_dir: Path | None
    spool_bytes_max: int
    when_full: Literal["drop_oldest", "block"]
    block_seconds_max: float
    memory_events_max: int
    flush_ms: int
    when_unknown: Literal["open", "closed"]
    knowledge_seconds_max: float
    on_error: OnError | None
    kafka_options: Mapping[str, Any]

    @property
    def destination(self) -> str:
        """What tells apart where events go: processes with the same one may send each other's events."""
        if self.url is not None:
            return self.url
        servers = ",".join(sorted(server.strip() for server in (self.kafka or "").split(",")))
        return f"kafka {servers} {self.topic_prefix}"


def checked(
    *,
    kafka: str | None,
    url: str | None,
    source: str,
    token: str | None,
    topic_prefix: str,
    spool_dir: str | os.PathLike[str] | None,
    spool_bytes_max: int,
    when_full: Literal["drop_oldest", "block"],
    block_seconds_max: float,
    memory_events_max: int,
    flush_ms: int,
    when_unknown: Literal["open", "closed"],
    knowledge_seconds_max: float,
    on_error: OnError | None,
    kafka_options: Mapping[str, Any],
) -> Settings:
    """The settings of a client. TypeError says what to write instead of what is wrong."""
    kafka, url = _where(kafka, url)
    token = (token or os.environ.get("TOLLGATE_TOKEN")) if url else token
    _check_source(source)
    if token is not None and url is None:
        raise TypeError(
            'a token is for url="http://…"; Kafka\'s own security is set by options such as sasl_mechanism=…'
        )
    if url is not None and kafka_options:
        raise TypeError(f"not an argument of a client with url=…: {', '.join(sorted(kafka_options))}")
    if when_full not in ("drop_oldest", "block"):
        raise TypeError(f'write when_full="drop_oldest" or when_full="block", not {when_full!r}')
    if when_unknown not in ("open", "closed"):
        raise TypeError(f'write when_unknown="open" or when_unknown="closed", not {when_unknown!r}')
    if on_error is not None and not callable(on_error):
        raise TypeError("on_error is a function of an event's id and an exception")
    _check_number("spool_bytes_max", spool_bytes_max, SPOOL_BYTES_MIN, "bytes")
    _check_number("memory_events_max", memory_events_max, 1, "events")
    _check_number("flush_ms", flush_ms, 1, "milliseconds")
    _check_number("block_seconds_max", block_seconds_max, 0, "seconds")
    _check_number("knowledge_seconds_max", knowledge_seconds_max, 0, "seconds")
    given_dir = spool_dir if spool_dir is not None else os.environ.get("TOLLGATE_SPOOL_DIR")
    return Settings(
        kafka=kafka,
        url=url,
        source=source,
        token=token,
        topic_prefix=topic_prefix,
        spool_dir=Path(given_dir) if given_dir else None,
        spool_bytes_max=spool_bytes_max,
        when_full=when_full,
        block_seconds_max=block_seconds_max,
        memory_events_max=memory_events_max,
        flush_ms=flush_ms,
        when_unknown=when_unknown,
        knowledge_seconds_max=knowledge_seconds_max,
        on_error=on_error,
        kafka_options=kafka_options,
    )


def _where(kafka: str | None, url: str | None) -> tuple[str | None, str | None]:
    if kafka and url:
        raise TypeError('write kafka="host:port" or url="http://console:8080", not both')
    if not (kafka or url):
        kafka = os.environ.get("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS") or None
        url = None if kafka else os.environ.get("TOLLGATE_URL") or None
    if not (kafka or url):
        raise TypeError(
            'say where events go: kafka="host:port", or url="http://console:8080" with token=…; '
            "or set TOLLGATE_KAFKA_BOOTSTRAP_SERVERS or TOLLGATE_URL"
        )
    if url:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TypeError('write url="http://console:8080": http or https, and a host')
        url = url.rstrip("/")
    elif "://" in (kafka or ""):
        raise TypeError('write kafka="host:port", or several with commas between, without a scheme')
    return kafka, url


def _check_source(source: str) -> None:
    if not isinstance(source, str) or not 1 <= len(source) <= NAME_CHARS_MAX or CONTROL_CHARACTER.search(source):
        raise TypeError(
            'write source="chat-api": the name of this service, 1 to 256 characters without control characters'
        )


def _check_number(name: str, given: float, least: int, unit: str) -> None:
    if isinstance(given, bool) or not isinstance(given, int | float) or not given >= least:
        raise TypeError(f"{name} is a number of {unit}, at least {least}")
