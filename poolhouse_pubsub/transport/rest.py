"""The REST transport: the same RPCs as gRPC's, as JSON over HTTP/1.1.

JSON comes out in lowerCamelCase and goes in in that and in snake_case. Unknown fields and parameters are refused, as
the service does. Errors have the form `{"error": {"code", "message", "status", "details"}}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolhouse_pubsub.http import HttpRequest, HttpResponse
from poolhouse_pubsub.service import Service
from poolhouse_pubsub.status import HTTP_STATUS, StatusError, invalid
from poolhouse_pubsub.transport.routes import WHOLE, Route, match
from poolhouse_pubsub.transport.transcoding import error_json, nest, read_json, to_json, to_message

#: Longest body (Quotas and limits: the body of an HTTP request has at most 10 MiB).
MAX_BODY_BYTES = 10 * 1024 * 1024

#: Parameters that every Google API takes; `fields` is taken and does nothing: answers are always whole.
#: Source: https://cloud.google.com/apis/docs/system-parameters
_SYSTEM_PARAMETERS = frozenset(
    {
        "access_token",
        "alt",
        "callback",
        "fields",
        "key",
        "oauth_token",
        "prettyPrint",
        "quotaUser",
        "uploadType",
        "upload_protocol",
        "userProject",
        "xgafv",
    }
)


class Rest:
    """The REST routes of one service layer.

    Args:
        service: The RPCs.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, request: HttpRequest) -> HttpResponse | None:
        """Answer a request, or None when no route is its own."""
        found = match(request.method, request.path)
        if found is None:
            return None
        method = self._service.methods[found.route.rpc]
        try:
            system, parameters = _split(request.query)
            alt, _, options = system.get("alt", "json").partition(";")
            if alt != "json":
                raise invalid(f"Invalid value {alt[:100]!r} of the parameter 'alt': only 'json' is answered.")
            message = _message(found.route, found.name, request.body, parameters, method.request())
            caller = self._service.caller(method.name, request.headers.items())
            answer = await self._service.call(method, message, caller=caller)
            if isinstance(answer, bytes):
                answer = method.response.FromString(answer)
            pretty = system.get("prettyPrint", "true") != "false"
            body = to_json(answer, pretty=pretty, enum_numbers="enum-encoding=int" in options)
        except StatusError as error:
            return _refusal(error)
        return HttpResponse(200, body)


def _refusal(error: StatusError) -> HttpResponse:
    status = HTTP_STATUS[error.code]
    return HttpResponse(status, error_json(error, status=status))


def _split(query: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Parts the parameters that every API takes (with or without a `$`) from those of the RPC."""
    system: dict[str, str] = {}
    parameters: dict[str, str] = {}
    for name, value in query.items():
        bare = name.removeprefix("$").removeprefix(".")
        if bare in _SYSTEM_PARAMETERS:
            system[bare] = value
        else:
            parameters[name] = value
    return system, parameters


def _message(route: Route, name: str, body: bytes, parameters: Mapping[str, str], message: Any) -> Any:
    """Put a request together: the body, the query parameters, and the name in the path, which has the last word.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if len(body) > MAX_BODY_BYTES:
        raise invalid(f"Request payload size exceeds the limit: {MAX_BODY_BYTES} bytes.")
    if route.body == WHOLE:
        if parameters:
            unknown = next(iter(parameters))[:100]
            raise invalid(
                f'Invalid JSON payload received. Unknown name "{unknown}": Cannot bind query parameter. '
                "The fields of this call are given in its body."
            )
        to_message(read_json(body), message)
    else:
        fields = nest(parameters)
        if route.body:
            fields[route.body] = read_json(body)
        elif read_json(body):
            raise invalid("Invalid JSON payload received. This call takes no body.")
        to_message(fields, message)
    *parents, last = route.path_field.split(".")
    owner = message
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, last, name)
    return message
