"""Whatever a client sends, as the OpenAPI document says or just not so: no 500, and every answer is as declared."""

from __future__ import annotations

import os

import pytest
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

from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.unit.api.conftest import application, without_lifespan

pytestmark = pytest.mark.usefixtures("same_values_every_time")
APP = application(MemoryStore(), MemoryTopics(), ManualClock())
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", without_lifespan(APP))
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
