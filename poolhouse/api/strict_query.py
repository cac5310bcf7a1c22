"""Calls that refuse a query they would partly ignore: a mistyped filter lists everything, a mistyped delay is none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import Response

from poolhouse.api.problems import FieldError, fields_problem
from poolhouse.pipeline.nearest import did_you_mean


class StrictQueryRoute(APIRoute):
    """A call that answers 422 to query parameters that it does not have, and to one that is given twice."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with the check before it; without a query it costs nothing."""
        handle = super().get_route_handler()
        known = self.query_parameters

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                _check(request, known)
            return await handle(request)

        return checked

    @property
    def query_parameters(self) -> tuple[str, ...]:
        """The names of its query parameters, also of those that only its description declares."""
        declared = (self.openapi_extra or {}).get("parameters", ())
        return (*_names(self.dependant), *(each["name"] for each in declared if each["in"] == "query"))


def _names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
            yield from (each.alias or name for name, each in annotation.model_fields.items())
        else:
            yield field.alias
    for dependency in dependant.dependencies:
        yield from _names(dependency)


def _check(request: Request, known: tuple[str, ...]) -> None:
    wrong = []
    for name in dict.fromkeys(request.query_params):
        if name not in known:
            there = f"it has: {', '.join(known)}" if known else "it takes none: options belong in the body"
            message = f"this call has no such parameter ({there}).{did_you_mean(name, known)}"
            wrong.append(FieldError(field=name[:100], message=message))
        elif len(request.query_params.getlist(name)) > 1:
            wrong.append(FieldError(field=name, message="is given more than once"))
    if wrong:
        raise fields_problem(wrong)
