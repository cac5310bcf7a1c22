"""Answers of an API that has got on: fields that neither gcloud nor a deploy knows, which must change nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from poolhouse.cloud.rehearsal.http import Request, Response

#: A field of a later version.
NEWER = "addedNextYear"


def added(response: Response) -> Response:
    """Return the answer with such a field in each resource; policies have none."""
    if not isinstance(response.body, dict) or "bindings" in response.body:
        return response
    body: dict[str, Any] = {NEWER: {"mode": "NEW"}}
    for name, value in response.body.items():
        resources = isinstance(value, list) and all(isinstance(item, dict) for item in value)
        body[name] = [{**item, NEWER: {"mode": "NEW"}} for item in value] if resources else value
    return replace(response, body=body)


def removed(request: Request) -> Request:
    """Return the request without the field: gcloud sends back what it was given, and the API knows its own field."""
    if NEWER.encode() not in request.body:
        return request
    return replace(request, body=json.dumps(_without(request.json)).encode())


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(item) for name, item in value.items() if name != NEWER}
    return [_without(item) for item in value] if isinstance(value, list) else value
