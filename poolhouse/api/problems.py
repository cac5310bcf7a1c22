"""Errors as answers: RFC 9457 problem documents that also carry `error`, and `errors` where fields are to blame."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from poolhouse.pipeline.errors import (
    BucketMissing,
    Conflict,
    GroupNotFound,
    InvalidName,
    MessageRefused,
    ObjectNotFound,
    QueueUnavailable,
    RecordUnreadable,
    ScheduleNotFound,
    ServiceUnavailable,
    StoreForbidden,
    StoreUnavailable,
    TaskNotFound,
)

_log = structlog.get_logger("api")

MEDIA_TYPE = "application/problem+json"
#: The Retry-After of an answer, in seconds, when the queue or the bucket is down.
RETRY_AFTER_S = 2


#: Most fields that one answer names.
MAX_FIELD_ERRORS = 100
#: Most mistakes that are looked at one by one: pydantic lists all or none, 20 µs each.
MOST_LISTED = 1000


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="The field's path, with dots: `payload.filename`.", examples=["payload.filename"])
    message: str


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(default="about:blank", description="`about:blank`: the status says all there is to its kind.")
    title: str = Field(description="The status in words.", examples=["Unprocessable Content"])
    status: int
    detail: str = Field(description="What went wrong this time, and what to do.")
    error: str = Field(description="The same in one line, for clients that look for `error`.")
    errors: list[FieldError] = Field(default=[], description="The fields that are wrong, where fields are to blame.")


class Problem(Exception):
    """An error with its answer."""

    def __init__(
        self,
        status: int,
        error: str,
        *,
        detail: str | None = None,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        """An error.

        Args:
            status: the HTTP status.
            error: what is wrong, in one line.
            detail: the same with what to do; by default `error`.
            errors: the fields that are to blame.
            headers: further headers of the answer.
            **members: further members of the document.
        """
        super().__init__(error)
        self.status = status
        self.error = error
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self._detail = detail or error
        self._members = members

    def document(self) -> dict[str, Any]:
        """The problem document."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self._detail,
            "error": self.error,
        }
        if self.errors:
            document["errors"] = [error.model_dump() for error in self.errors]
        return {**document, **self._members}

    def response(self) -> Response:
        """The answer."""
        body = json.dumps(self.document(), ensure_ascii=False).encode(errors="replace")
        return Response(body, self.status, headers={"cache-control": "no-store", **self.headers}, media_type=MEDIA_TYPE)


def field_problem(field: str, message: str, *, status: int = 422) -> Problem:
    """The problem of one wrong field."""
    return Problem(status, f"{field}: {message}", errors=[FieldError(field=field, message=message)])


def fields_problem(errors: Iterable[FieldError]) -> Problem:
    """The problem of some wrong fields; the first of them are named."""
    errors = tuple(islice(errors, MAX_FIELD_ERRORS))
    return Problem(422, "; ".join(f"{error.field}: {error.message}" for error in errors[:5]), errors=errors)


def field_errors(error: ValidationError, *, prefix: tuple[str, ...] = ()) -> list[FieldError]:
    """What pydantic found wrong, by field; values are not repeated."""
    count = error.error_count()
    if count > MOST_LISTED:
        return [FieldError(field=".".join(prefix) or "body", message=f"has {count:,} mistakes")]
    found = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(str(part) for part in (*prefix, *problem["loc"]))
        found.append(FieldError(field=path or "body", message=_message(problem["type"], problem["msg"])))
    return found


def of(error: BaseException) -> Problem:
    """The answer to one of Poolhouse's own errors, or to any other: those reveal nothing."""
    match error:
        case Problem():
            return error
        case ServiceUnavailable() | ObjectNotFound():
            # Names of objects, hosts and projects are for the log alone.
            _log.warning("a service does not answer", error=str(error))
            return unavailable(_unavailable(error))
        case TaskNotFound() | GroupNotFound() | ScheduleNotFound():
            return Problem(404, str(error))
        case RecordUnreadable():
            _log.warning("a record can't be read", error=str(error))
            return Problem(
                500,
                "the task's record can't be read",
                detail="It is damaged, or of another version of Poolhouse; the log says what is wrong with it.",
            )
        case Conflict():
            return Problem(409, str(error))
        case MessageRefused():
            return Problem(422, str(error))
        case InvalidName():
            return Problem(422, str(error))
        case _:
            return Problem(500, "internal error", detail="Something went wrong here; the log has it by the request id.")


def _unavailable(error: ServiceUnavailable | ObjectNotFound) -> str:
    match error:
        case BucketMissing():
            return "the bucket is not there: bring the stack up (invoke up or deploy)"
        case StoreForbidden():
            return "the bucket does not let this service in, or not yet"
        case StoreUnavailable():
            return "the bucket does not answer"
        case QueueUnavailable():
            return "the queue does not answer"
        case ObjectNotFound():
            # Calls that may meet an absent object say so themselves: this one was there a moment ago.
            return "an object was deleted meanwhile"
        case _:
            return "a service behind this one does not answer"


def unavailable(error: str, **members: Any) -> Problem:
    """The answer while the queue or the bucket is down."""
    return Problem(
        503,
        error,
        detail=f"{error}. Try again in a moment.",
        headers={"retry-after": str(RETRY_AFTER_S)},
        **members,
    )


_OURS = (
    Problem,
    ServiceUnavailable,
    ObjectNotFound,
    TaskNotFound,
    ScheduleNotFound,
    RecordUnreadable,
    Conflict,
    GroupNotFound,
    MessageRefused,
    InvalidName,
)


def install(app: FastAPI) -> None:
    """Make every error of an application a problem document."""

    async def ours(request: Request, error: Exception) -> Response:
        return of(error).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        said = {
            404: f"there is nothing at {path}: GET /docs lists the calls",
            405: f"{request.method} is not possible at {path}",
        }
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        if error.status_code == 405:
            headers["allow"] = _allowed(request)
        return Problem(error.status_code, said.get(error.status_code, str(error.detail)), headers=headers).response()

    async def parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return fields_problem(
            FieldError(field=str(problem["loc"][-1]), message=_message(problem["type"], problem["msg"]))
            for problem in error.errors()
        ).response()

    for kind in _OURS:
        app.add_exception_handler(kind, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, parameters)


def _allowed(request: Request) -> str:
    """The methods that a path has: each is a route of its own, and Starlette names those of the first one."""
    # Asked as if nothing had been found yet: a match leaves its route in the scope.
    scope = {"type": "http", "method": request.method, "path": request.scope["path"]}
    found = (route for route in request.app.state.routes if route.matches(scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in found for method in route.methods or ()}))


def _message(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such field"
    if kind == "missing":
        return "is required"
    return message.removeprefix("Value error, ")
