"""Structured logs for every process: one line per fact, without secrets or payloads.

Values and errors may quote what others sent, so that all text passes through the same escaping as the terminal.
"""

import logging
import sys
from types import TracebackType
from typing import Literal

import structlog

from tollgate.schemas.shown_text import safe


class Lines(str):
    """An event of several lines that we broke ourselves. Each is escaped on its own."""

    __slots__ = ()


def configure_logs(level: str = "info", log_format: Literal["json", "text"] = "text") -> None:
    """Send structlog and the standard library's loggers to stderr in one format. Call once per process."""
    number = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[structlog.typing.Processor] = (
        [_escape_for_json, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [
            _escape_for_text,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Not rich's tracebacks: they print local variables, and those may hold payloads or secrets.
                structlog.processors.format_exc_info,
                *final,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    # aiokafka logs each reconnect attempt at error level; our own lines say what is unreachable and what is done.
    logging.getLogger("aiokafka").setLevel(max(number, logging.CRITICAL if number > logging.DEBUG else number))
    # What ends the process is a line like any other: Python's own would print the error's text as it is.
    sys.excepthook = _log_uncaught


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("tollgate").critical("ended by an error", exc_info=(kind, error, trace))


# A traceback has lines of its own. They are indented, so that a line of an error's text cannot pass for one of the log.
_TRACES = ("exception", "stack")
_PLAIN = (int, float, bool, type(None))


def _escape_for_text(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    for name, value in event.items():
        if name in _TRACES:
            event[name] = "\n".join(f"    {safe(line)}" for line in str(value).split("\n"))
        elif isinstance(value, Lines):
            event[name] = _by_line(value)
        elif not isinstance(value, _PLAIN):
            event[name] = safe(value if isinstance(value, str) else repr(value))
    return event


def _escape_for_json(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Line breaks stay: JSON writes them as two characters, and whoever prints a value wants its lines."""
    return {name: _escaped(value) for name, value in event.items()}


def _escaped(value: object) -> object:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        return {safe(str(name)): _escaped(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_escaped(inner) for inner in value]
    return _by_line(value if isinstance(value, str) else repr(value))


def _by_line(text: str) -> str:
    return "\n".join(map(safe, text.split("\n")))
