"""How an attempt ends: what the handler returned or raised, as values that the settlement works on."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from poolhouse.pipeline.records import ErrorInfo
from poolhouse.worker.errors import (
    Interrupted,
    LeaseLost,
    Reject,
    Retry,
    TaskCancelled,
    WorkerStopping,
    meaning_of,
    message_of,
)
from poolhouse.worker.runtime.execution import Executor
from poolhouse.worker.runtime.process_pool import HandlerError
from poolhouse.worker.runtime.running_task import Context, RunningTask

#: Lines of a traceback kept with a failed attempt, the last ones.
TRACEBACK_LINES = 20
#: Characters of an error message kept with a failed attempt.
ERROR_CHARACTERS = 2000


@dataclass(frozen=True)
class Returned:
    """The handler returned this; `encoded` is it as JSON."""

    value: Any
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
    after_s: float | None


@dataclass(frozen=True)
class Cancelled:
    """A client cancelled the task while it ran."""


@dataclass(frozen=True)
class Stopped:
    """The worker stops: another one is to start the task anew."""


@dataclass(frozen=True)
class Lost:
    """Another worker has taken the task over."""


Outcome = Returned | Refused | Failed | Cancelled | Stopped | Lost


def run_handler(executor: Executor, running: RunningTask, context: Context) -> Outcome:
    """Run the handler of a claimed task; whatever it raises is an outcome too."""
    record = running.record
    try:
        payload = running.handler.parse(record.payload)
    except ValidationError as error:
        return Refused(_invalid(error), ErrorInfo(type="ValidationError", message=_invalid(error)))
    except BaseException as error:  # noqa: BLE001 - a mistake in a validator
        return _ended_by(error, running, context)
    try:
        value = executor.run(running, payload, context)
        if running.told and isinstance(running.interruption, TaskCancelled):
            return Cancelled()  # what it returns in spite of that is no whole result
        return Returned(*_encode(value))
    except BaseException as error:  # noqa: BLE001 - sys.exit() too, and panics of native code
        return _ended_by(error, running, context)


def interrupted(interruption: Interrupted, error: ErrorInfo) -> Outcome:
    """How an attempt ends that was interrupted. Args: error: what is kept where that counts as a failure."""
    match interruption:
        case TaskCancelled():
            return Cancelled()
        case WorkerStopping():
            return Stopped()
        case LeaseLost():
            return Lost()
    return Failed(error, None)


def _ended_by(error: BaseException, running: RunningTask, context: Context) -> Outcome:
    meant = meaning_of(error)
    if isinstance(meant, Interrupted) and running.interruption is not None:
        return interrupted(running.interruption, error_info(meant, message=str(running.interruption)))
    message = message_of(meant)
    if isinstance(meant, Reject):
        return Refused(message, ErrorInfo(type="Reject", message=message))
    if isinstance(meant, Retry):
        return Failed(error_info(meant), meant.after_s)
    context.log.warning("the attempt failed", error=f"{type(error).__name__}: {message}"[:ERROR_CHARACTERS])
    return Failed(error_info(meant), None)


def _encode(value: Any) -> tuple[Any, bytes]:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return value, json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def error_info(error: BaseException, *, message: str | None = None) -> ErrorInfo:
    """What is kept of an error in the record: type, message and the end of its traceback."""
    if isinstance(error, HandlerError):
        lines = error.traceback.splitlines()
        type_name = error.type_name
    else:
        lines = "".join(traceback.format_exception(error)).splitlines()
        type_name = type(error).__name__
    return ErrorInfo(
        type=type_name,
        message=(message or message_of(error))[:ERROR_CHARACTERS],
        traceback="\n".join(lines[-TRACEBACK_LINES:]),
    )


def _invalid(error: ValidationError) -> str:
    problems = (f"{'.'.join(map(str, problem['loc'])) or 'payload'}: {problem['msg']}" for problem in error.errors())
    return "invalid payload: " + "; ".join(problems)
