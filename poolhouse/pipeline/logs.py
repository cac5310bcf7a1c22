"""Structured logs on standard output, as Cloud Logging reads them: `severity`, `message`, `time` and trace fields.

Lines of a task's handler carry the task's fields, whether they come from structlog, from the standard library or, where
`capture_output` has been called, from `print`.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import structlog

from poolhouse.pipeline import secret_values

#: Longest line made of what a handler prints, in characters; Cloud Logging takes entries of 256 KB.
PRINTED_CHARACTERS = 64 * 1024

_SEVERITIES = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "critical": "CRITICAL"}
#: Keys that the line has for itself: a field of that name gets an underscore, as in `event_`.
_OWN_KEYS = frozenset({"event", "level", "message", "severity", "time", "self"})
_fields: ContextVar[Mapping[str, Any] | None] = ContextVar("poolhouse_log_fields", default=None)


class _Output:
    """Where the lines go. A line that can't be written, to a pipe that is closed, is lost without an error."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._renew_lock()
        # A fork copies the lock as it is, and may do so while another thread holds it.
        os.register_at_fork(after_in_child=self._renew_lock)

    def keep(self) -> None:
        """Write to a copy of file descriptor 1: what handlers do to 1 and to `sys.stdout` makes no difference."""
        if self._descriptor is None:
            with contextlib.suppress(OSError):  # there may be none
                self._descriptor = os.dup(1)

    def write(self, line: str) -> None:
        text = f"{line}\n"
        try:
            with self._lock:
                if self._descriptor is None:
                    sys.stdout.write(text)
                    sys.stdout.flush()
                    return
                data = memoryview(text.encode(errors="backslashreplace"))
                while data:
                    data = data[os.write(self._descriptor, data) :]
        except (OSError, ValueError, AttributeError):  # the stream is closed, has no such character, or is None
            return

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()


_output = _Output()


class _Writer:
    """The logger below structlog's processors: it takes the finished line."""

    def __init__(self, *_: Any) -> None:
        """Lines go to one place, whatever the logger's name."""

    def msg(self, line: str) -> None:
        _output.write(line)

    debug = info = warning = warn = error = critical = exception = fatal = failure = log = msg


class _Handler(logging.Handler):
    """The standard library's records, as lines of the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _output.write(self.format(record))
        except Exception:  # noqa: BLE001 - as the standard library has it: a mistake in a log call is reported, not raised
            self.handleError(record)


def configure(*, level: str = "INFO", format: str = "json") -> None:
    """Send structlog's and the standard library's records to stdout.

    Values of secrets are replaced by their names, where any are known by then.

    Args:
        level: the least severity shown: DEBUG, INFO, WARNING or ERROR.
        format: `json`, one object a line, or `console` for people.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _add_bound,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    last: list[Any]
    if format == "console":
        last = [structlog.dev.ConsoleRenderer(colors=False, timestamp_key="time")]
    else:
        last = [
            structlog.processors.format_exc_info,
            _google_fields,
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    if secret_values.known:
        mask = secret_values.known.mask if format == "console" else secret_values.known.mask_json
        last.append(lambda logger, method, line: mask(line))
    # Not by way of the standard library: `logging.basicConfig(force=True)` in a handler is its own affair.
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=_forgiving(structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level])),
        logger_factory=_Writer,
        cache_logger_on_first_use=True,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The clients' own retries and stream reopenings are ordinary events, logged by us where they matter.
    for noisy in ("google", "urllib3", "grpc"):
        logging.getLogger(noisy).setLevel(max(logging.getLevelNamesMapping()[level], logging.WARNING))


def _forgiving(logger: type[Any]) -> type[Any]:
    """A logger that takes a text whose arguments don't fit it, and fields of any name: no log line fails a task."""

    def method(name: str) -> Callable[..., Any]:
        write = getattr(logger, name)

        def log(self: Any, event: object = None, /, *args: object, **fields: Any) -> Any:
            if not _OWN_KEYS.isdisjoint(fields):
                fields = {f"{key}_" if key in _OWN_KEYS else key: value for key, value in fields.items()}
            return write(self, _filled(event, args) if args else event, **fields)

        return log

    names = ("debug", "info", "warning", "warn", "error", "critical", "fatal", "exception")
    return type(logger.__name__, (logger,), {each: method(each) for name in names for each in (name, f"a{name}")})


def _filled(event: object, args: tuple[object, ...]) -> str:
    try:
        return str(event) % (args[0] if len(args) == 1 and isinstance(args[0], Mapping) else args)
    except Exception:  # noqa: BLE001 - whatever the arguments' own methods raise
        with contextlib.suppress(Exception):
            return f"{event} {args!r}"
        return str(event)


class Bound:
    """Inside, lines that are logged carry these fields."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields_inside = fields

    def __enter__(self) -> None:
        self._token = _fields.set(self._fields_inside)

    def __exit__(self, *_: object) -> None:
        _fields.reset(self._token)


def capture_output(*, format: str) -> None:
    """From now on, what is printed becomes lines of the log, and the log no longer depends on `sys.stdout`.

    For processes that run handlers. With `console` what is printed stays as it is.
    """
    _output.keep()
    if format == "json":
        sys.stdout, sys.stderr = _Printed("info"), _Printed("warning")
        return
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # printing a file's name must not fail a task


class _Printed(io.TextIOBase):
    """Takes the place of `sys.stdout`: makes a log line of every line printed. Each thread has its own unended line."""

    #: Whether anything has been printed in this process.
    used = False
    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, severity: str) -> None:
        self._severity = severity
        self._unended = threading.local()
        self.buffer: io.RawIOBase = _PrintedBytes(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        _Printed.used = True
        *lines, rest = (getattr(self._unended, "text", "") + text).split("\n")
        for line in lines:
            self._log(line)
        if len(rest) >= PRINTED_CHARACTERS:
            self._log(rest)
            rest = ""
        self._unended.text = rest
        return len(text)

    def close(self) -> None:
        """Stay open: the stream is shared."""

    def flush(self) -> None:
        """Nothing to do: a line is logged when it ends."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1 if self._severity == "info" else 2

    def isatty(self) -> bool:
        return False

    def end(self) -> None:
        """Log what the thread has printed without an end of line."""
        rest, self._unended.text = getattr(self._unended, "text", ""), ""
        if rest:
            self._log(rest)

    def _log(self, line: str) -> None:
        line = line.removesuffix("\r")
        for start in range(0, len(line), PRINTED_CHARACTERS):
            structlog.get_logger().log(_LEVELS[self._severity], line[start : start + PRINTED_CHARACTERS])


_LEVELS = {"info": logging.INFO, "warning": logging.WARNING}


class _PrintedBytes(io.RawIOBase):
    """`sys.stdout.buffer`, for those who write bytes."""

    def __init__(self, text: _Printed) -> None:
        self._text = text

    def write(self, data: Any) -> int:
        taken = bytes(data)
        self._text.write(taken.decode(errors="backslashreplace"))
        return len(taken)

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open, as the text stream does."""


def end_printed() -> None:
    """Log what this thread has printed without an end of line: its task has ended."""
    if _Printed.used:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name, None)  # a handler may have deleted it
            if isinstance(stream, _Printed):
                stream.end()


def _add_bound(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    fields = _fields.get()
    return event if fields is None else {**fields, **event}


def _google_fields(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["severity"] = _SEVERITIES.get(event.pop("level", method), "DEFAULT")
    event["message"] = event.pop("event", "")
    return event


def _json(event: Mapping[str, Any], **_: Any) -> str:
    """One line of JSON, whatever the fields are: a log call never fails a task."""
    try:
        return json.dumps(event, default=_text, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # NaN, a circle, keys that are no texts
        return json.dumps({str(key): value if isinstance(value, str) else _text(value) for key, value in event.items()})


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's __str__ raises
        return f"({type(value).__name__} whose __str__ raised {type(error).__name__})"
