"""Administration over HTTP: inspection, the clock, faults, and a reset.

GET  /                                          Ok
POST /reset                                     empties everything
GET  /admin/subscriptions                       counts of every subscription
GET  /admin/subscriptions/PROJECT/NAME          counts of one; ?messages=N adds its first N unacked messages
GET  /admin/clock                               {"now", "manual"}
POST /admin/clock/advance                       {"seconds"}: moves time forward
GET, POST, DELETE /admin/faults                 lists, adds ({"kind", …}), clears
POST /admin/restart                             ends all streams and leases, as a restart of the server does
GET  /admin/oidc/certs                          keys that verify the OIDC tokens of pushes
"""

from __future__ import annotations

import base64
import math
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from poolhouse_pubsub import numbers
from poolhouse_pubsub.control.faults import Fault, Faults
from poolhouse_pubsub.control.inspection import MessageView, inspect
from poolhouse_pubsub.control.restart import Restart
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.http import HttpRequest, HttpResponse, json_response
from poolhouse_pubsub.status import HTTP_STATUS, Code, StatusError, invalid, server_stops

_TEXT = "text/plain; charset=utf-8"
#: Longest wait that a fault may bring, in seconds: a year.
MAX_FAULT_S = 365 * 86_400


class Admin:
    """The administration's routes.

    Args:
        emulator: The state.
        faults: The faults that are set.
        restart: Ends streams and leases.
    """

    def __init__(self, emulator: Emulator, faults: Faults, restart: Restart) -> None:
        self._emulator = emulator
        self._faults = faults
        self._restart = restart

    async def __call__(self, request: HttpRequest) -> HttpResponse | None:
        """Answer a request, or None when its path is not one of the administration's."""
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return HttpResponse(200, b"Ok\n", _TEXT)
        if request.path != "/reset" and not request.path.startswith("/admin/"):
            return None
        parts = [urllib.parse.unquote(part) for part in request.path.strip("/").split("/")]
        try:
            answer = self._route(request.method, parts, request)
        except StatusError as error:
            return error_response(error)
        if isinstance(answer, HttpResponse):
            return answer
        self._emulator.pump()
        return json_response(200, answer)

    def _route(self, method: str, parts: list[str], request: HttpRequest) -> Any:
        emulator = self._emulator
        match (method, *parts):
            case ("POST", "reset"):
                emulator.reset()
                return HttpResponse(200, b"Resetting...\n", _TEXT)
            case ("GET", "admin", "subscriptions"):
                names = sorted(emulator.subscriptions)
                return {"subscriptions": [inspect(emulator, name, messages=0).counts() for name in names]}
            case ("GET", "admin", "subscriptions", project, name):
                return self._subscription(f"projects/{project}/subscriptions/{name}", request)
            case ("GET", "admin", "clock"):
                return {"now": emulator.clock.now(), "manual": emulator.clock.manual}
            case ("POST", "admin", "clock", "advance"):
                seconds = _body(request).get("seconds")
                if not isinstance(seconds, int | float) or isinstance(seconds, bool):
                    raise invalid('The clock needs {"seconds": N}.')
                try:
                    emulator.advance(seconds)
                except (ValueError, OverflowError) as error:
                    raise invalid(f"The clock can't do that: {error}.") from None
                return {"now": emulator.clock.now(), "manual": emulator.clock.manual}
            case ("GET", "admin", "faults"):
                return {"faults": [fault_json(fault) for fault in self._faults.all()]}
            case ("POST", "admin", "faults"):
                return fault_json(self._faults.add(read_fault(_body(request))))
            case ("DELETE", "admin", "faults"):
                self._faults.clear()
                return {"faults": []}
            case ("POST", "admin", "restart"):
                self._restart.now(server_stops())
                return {}
        raise StatusError(Code.NOT_FOUND, f"No such call: {method} {request.path[:300]}")

    def _subscription(self, name: str, request: HttpRequest) -> Any:
        limit = numbers.digits(request.query.get("messages", "0"))
        if limit is None:
            raise invalid("The parameter messages is a number of at most 20 digits.")
        view = inspect(self._emulator, name, messages=limit)
        answer = view.counts()
        if limit > 0:
            answer["messages"] = [_message_json(message) for message in view.messages]
        return answer


def error_response(error: StatusError) -> HttpResponse:
    """Return the REST form of a refusal, without details."""
    status = HTTP_STATUS[error.code]
    return json_response(status, {"error": {"code": status, "message": error.message, "status": error.code.name}})


def _body(request: HttpRequest) -> Mapping[str, Any]:
    try:
        body = request.json()
    except ValueError as error:
        raise invalid(f"The body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise invalid("The body is not a JSON object.")
    return body


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


#: What the fields of a fault are, and how that is said.
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "kind": (lambda value: isinstance(value, str), "a string"),
    "probability": (_is_number, "a number"),
    "count": (lambda value: value is None or type(value) is int, "a whole number or null"),
    "seconds": (lambda value: _is_number(value) and value <= MAX_FAULT_S, f"a number of at most {MAX_FAULT_S}"),
    "subscription": (lambda value: isinstance(value, str), "a string"),
    "code": (lambda value: isinstance(value, str), "the name of a status code"),
    "methods": (
        lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
        "a list of names",
    ),
}


def read_fault(body: Mapping[str, Any]) -> Fault:
    """Return a fault from its fields, as JSON has them.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    values = dict(body)
    for name, value in values.items():
        is_right, kind = _FIELDS.get(name, (lambda _: False, f"no field (there are {', '.join(_FIELDS)})"))
        if not is_right(value):
            raise invalid(f"Not a fault: {name[:100]!r} is {kind}.")
    try:
        if "code" in values:
            values["code"] = Code[values["code"]]
        if "methods" in values:
            values["methods"] = tuple(values["methods"])
        return Fault(**values)
    except KeyError as error:
        raise invalid(f"No such status code: {error}.") from None
    except (TypeError, ValueError) as error:
        raise invalid(f"Not a fault: {error}.") from None


def fault_json(fault: Fault) -> dict[str, Any]:
    """Return a fault as JSON: its fields, and how often it happened."""
    return {**asdict(fault), "code": fault.code.name, "methods": list(fault.methods)}


def _message_json(message: MessageView) -> dict[str, Any]:
    return {**asdict(message), "data": base64.b64encode(message.data).decode()}
