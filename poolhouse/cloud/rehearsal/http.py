"""Requests, answers and errors as Google's JSON APIs shape them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: HTTP status of each canonical error; google/rpc/code.proto.
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "conditionNotMet": 412,  # a reason of Cloud Storage, which has no codes
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request, or one gRPC call in the same form."""

    host: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises `ApiError` (400) where it is none."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise ApiError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from None
        if not isinstance(value, dict):
            raise ApiError("INVALID_ARGUMENT", "Invalid JSON payload received. Root element must be a message.")
        return value


@dataclass(frozen=True, kw_only=True)
class Response:
    """One answer: a JSON value, or bytes where `content_type` is another."""

    status: int = 200
    body: Any = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def payload(self) -> bytes:
        """The bytes of the body."""
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body).encode()


class ApiError(Exception):
    """An error that the control plane answers with, in the JSON shape that gcloud reads.

    Args:
        status: canonical code, such as NOT_FOUND.
        message: what gcloud prints.
        details: further objects, such as `google.rpc.ErrorInfo`.
    """

    def __init__(self, status: str, message: str, *, details: tuple[Mapping[str, Any], ...] = ()) -> None:
        """Keep the parts of the error."""
        super().__init__(message)
        self.status, self.message, self.details = status, message, details

    @property
    def response(self) -> Response:
        """The error as an HTTP answer."""
        code = HTTP_STATUS[self.status]
        error: dict[str, Any] = {"code": code, "message": self.message, "status": self.status}
        # The storage and resource manager clients of gcloud read the reason from here.
        error["errors"] = [{"message": self.message, "domain": "global", "reason": self.status.lower()}]
        if self.details:
            error["details"] = list(self.details)
        return Response(status=code, body={"error": error})
