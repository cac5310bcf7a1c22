"""Structured logs on standard output, as Cloud Logging reads them: `severity`, `message`, `time` and trace fields."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_SEVERITIES = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "critical": "CRITICAL"}


def configure(*, level: str = "INFO", format: str = "json") -> None:
    """Send structlog's and the standard library's records to stdout.

    Args:
        level: the least severity shown: DEBUG, INFO, WARNING or ERROR.
        format: `json`, one object a line, or `console` for people.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    last: list[Any]
    if format == "console":
        last = [structlog.dev.ConsoleRenderer(colors=False, timestamp_key="time")]
    else:
        last = [structlog.processors.format_exc_info, _google_fields, structlog.processors.JSONRenderer(default=str)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The clients' own retries and stream reopenings are ordinary events, told by us where they matter.
    for noisy in ("google", "urllib3", "grpc"):
        logging.getLogger(noisy).setLevel(max(logging.getLevelNamesMapping()[level], logging.WARNING))


def _google_fields(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["severity"] = _SEVERITIES.get(event.pop("level", method), "DEFAULT")
    event["message"] = event.pop("event", "")
    return event
