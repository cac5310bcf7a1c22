"""Whatever a client sends, as the OpenAPI document says or just not so: no 500, and every answer is as declared."""

from __future__ import annotations

import os

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.types import Receive, Scope, Send

from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.unit.api.conftest import application

APP = application(MemoryStore(), MemoryTopics(), ManualClock())


async def _kept_open(scope: Scope, receive: Receive, send: Send) -> None:
    """The application without a lifespan: schemathesis begins and ends one around every call."""
    if scope["type"] != "lifespan":
        await APP(scope, receive, send)
        return
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", _kept_open)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


#: A batch is taken and answers for each of its entries: a wrong one does not make it wrong.
EXCLUDED = {"/tasks:batch": [negative_data_rejection]}
QUIET = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


@SCHEMA.parametrize()
@settings(QUIET, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "25")))
def test_no_request_is_an_error_of_ours(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS, excluded_checks=EXCLUDED.get(case.path, []))


def test_links_lead_from_what_makes_an_id_to_the_calls_that_take_it() -> None:
    document = APP.openapi()
    calls = {operation["operationId"]: operation for path in document["paths"].values() for operation in path.values()}
    links = {
        name: set(response["links"])
        for name, operation in calls.items()
        for response in operation["responses"].values()
        if "links" in response
    }
    assert links["create_task"] == links["submit_task"] == {"get_task", "get_result", "follow_task", "cancel_task"}
    assert links["create_group"] == {"get_group", "add_members", "close_group", "cancel_group"}
    assert "get_task" not in links
    assert set().union(*links.values()) <= set(calls)
