"""The one error an RPC ends with: a code, a text, and details, whatever the transport."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Any


class Code(IntEnum):
    """`google.rpc.Code`, the codes that this emulator answers with."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


#: HTTP status of each code, as Google's REST front gives it (google/rpc/code.proto).
HTTP_STATUS: dict[Code, int] = {
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


class Reason(Enum):
    """What refused a message that was published, where it was not a limit of the API."""

    SCHEMA = "schema"
    TRANSFORM = "transform"


class StatusError(Exception):
    """An RPC's refusal.

    Args:
        code: The status code.
        message: What was wrong, with the name or the field, for the person who made the call.
        details: Protobuf messages (such as `google.rpc.ErrorInfo`) for the status details.
        reason: What refused a message, for who publishes many.
    """

    def __init__(self, code: Code, message: str, *, details: Sequence[Any] = (), reason: Reason | None = None) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.reason = reason


def invalid(message: str, *, reason: Reason | None = None) -> StatusError:
    """INVALID_ARGUMENT with this text."""
    return StatusError(Code.INVALID_ARGUMENT, message, reason=reason)


def not_found(name: str) -> StatusError:
    """NOT_FOUND in the service's own words; `name` is the full resource name."""
    return StatusError(Code.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]}): {name}")


def already_exists(name: str) -> StatusError:
    """ALREADY_EXISTS in the service's own words; `name` is the full resource name."""
    return StatusError(
        Code.ALREADY_EXISTS, f"Resource already exists in the project (resource={name.rpartition('/')[2]}): {name}"
    )


def precondition(message: str) -> StatusError:
    """FAILED_PRECONDITION with this text."""
    return StatusError(Code.FAILED_PRECONDITION, message)


def server_stops() -> StatusError:
    """Return what open streams end with when the server stops; clients reconnect."""
    return StatusError(Code.UNAVAILABLE, "The server is shutting down; open the stream again.")
