"""How an attempt ends: what the handler returned or raised, as values that the settlement works on."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from pydantic import ValidationError

from poolhouse.pipeline import json_values, secret_values
from poolhouse.pipeline.errors import InvalidValue
from poolhouse.pipeline.json_values import clean_text
from poolhouse.pipeline.tasks.large_values import ValueLost
from poolhouse.pipeline.tasks.records import ErrorInfo
from poolhouse.pipeline.timing.delays import check_delay_s
from poolhouse.worker.errors import (
    Interrupted,
    LeaseLost,
    Reject,
    Retry,
    TaskCancelled,
    WorkerStopping,
    meaning_of,
    unreadable,
)
from poolhouse.worker.runtime.execution.context import Context
from poolhouse.worker.runtime.execution.process_pool import HandlerError
from poolhouse.worker.runtime.running_task import RunningTask

#: Lines of a traceback kept with a failed attempt, the last ones.
TRACEBACK_LINES = 20


@dataclass(frozen=True)
class Returned:
    """The handler returned this, as JSON."""

    encoded: bytes


@dataclass(frozen=True)
class Refused:
    """The handler, or the payload's model, says that no retry can help."""

    reason: str
    error: ErrorInfo


@dataclass(frozen=True)
class Failed:
    """An error: another attempt may help, not before `after_s` where given."""

    error: ErrorInfo
    after_s: float | None = None
    #: Whether the attempt counts against the limit.
    counts: bool = True


@dataclass(frozen=True)
class Cancelled:
    """A client cancelled the task while it ran."""


@dataclass(frozen=True)
class Stopped:
    """The worker stops: another one is to start the task anew."""


@dataclass(frozen=True)
class Lost:
    """Another worker has taken the task over."""


Ending = Returned | Refused | Failed | Cancelled | Stopped | Lost


def interrupted(interruption: Interrupted, error: ErrorInfo) -> Ending:
    """Return how an attempt ends that was interrupted.

    Args:
        interruption: why.
        error: what is kept where that counts as a failure.
    """
    match interruption:
        case TaskCancelled():
            return Cancelled()
        case WorkerStopping():
            return Stopped()
        case LeaseLost():
            return Lost()
    return Failed(error)


def raised(error: BaseException, running: RunningTask, context: Context) -> Ending:
    """Return how an attempt ends whose handler raised this."""
    try:
        return _raised(error, running, context)
    except BaseException as failure:  # noqa: BLE001 - user code: an error may do anything when it is looked at
        return Failed(error_info(unreadable(failure)))


def _raised(error: BaseException, running: RunningTask, context: Context) -> Ending:
    meant = meaning_of(error)
    if isinstance(meant, Interrupted) and running.interruption is not None:
        return interrupted(running.interruption, error_info(meant, message=str(running.interruption)))
    if isinstance(meant, Reject):
        reason = clean_text(getattr(meant, "reason", meant)).strip() or Reject.reason
        return Refused(reason, ErrorInfo(type="Reject", message=reason))
    if isinstance(meant, Retry):
        return _retry(meant)
    info = error_info(meant)
    context.log.warning("the attempt failed", error=f"{info.type}: {info.message}")
    rejected = meant.rejected if isinstance(meant, HandlerError) else running.handler.rejects(meant)
    if rejected:
        return Refused(f"{info.type} is not retried: {info.message}", info)
    return Failed(info)


def returned(value: object) -> Ending:
    """Return how an attempt ends whose handler returned this."""
    try:
        return Returned(json_values.encode(value, what="the result"))
    except InvalidValue as error:
        # Its work is done, and another attempt would only do it again.
        reason = f"the handler returned, but its result can't be kept: {error}"
        return Refused(reason, ErrorInfo(type="InvalidValue", message=str(error)))


def _retry(error: Retry) -> Ending:
    info = error_info(error)
    counts = error.counts is not False
    try:
        return Failed(info, None if error.after_s is None else check_delay_s(error.after_s), counts)
    except ValueError as wrong:  # set after the error was made
        return Failed(info.model_copy(update={"message": f"{info.message} (after_s {wrong})"}), None, counts)


def error_info(error: BaseException, *, message: str | None = None) -> ErrorInfo:
    """What is kept of an error in the record: type, message and the end of its traceback."""
    if isinstance(error, HandlerError):
        text = error.traceback
        type_name = error.type_name
    else:
        text = _traceback(error)
        type_name = type(error).__name__
    lines = secret_values.known.mask(text).splitlines()  # before it is cut: a value may have several lines
    return ErrorInfo(
        type=type_name,
        message=clean_text(error) if message is None else message,
        traceback="\n".join(lines[-TRACEBACK_LINES:]),
    )


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException as failure:  # noqa: BLE001 - user code: notes, causes and groups of errors may do anything
        return f"no traceback: {type(failure).__name__} while it was formatted"


def lost_payload(error: ValueLost) -> Ending:
    """Return how an attempt ends whose payload was an object that can't be read any more."""
    reason = f"the payload can't be read: {error}"
    return Refused(reason, ErrorInfo(type=type(error).__name__, message=str(error)))


def invalid_payload(error: ValidationError) -> Ending:
    """Return how an attempt ends whose payload does not fit its model."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    reason = "invalid payload: " + "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'payload'}: {problem['msg']}" for problem in problems
    )
    return Refused(reason, ErrorInfo(type="ValidationError", message=reason))
