"""Structured logs for every process: one line per fact, without secrets or payloads."""

import logging
import sys
from typing import Literal

import structlog


def configure_logs(level: str = "info", log_format: Literal["json", "text"] = "text") -> None:
    """Send structlog and the standard library's loggers to stderr in one format. Call once per process."""
    number = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        # Not rich's tracebacks: they print local variables, and those may hold payloads or secrets.
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    # aiokafka logs each reconnect attempt at error level; our own lines say what is unreachable and what is done.
    logging.getLogger("aiokafka").setLevel(max(number, logging.CRITICAL if number > logging.DEBUG else number))
