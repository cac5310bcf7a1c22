"""What an application adds to `create_app()`: routers, middleware, dependencies, authentication, its own document."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Security
from fastapi.security import APIKeyHeader
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from poolhouse import Payload, TaskContext, task
from poolhouse.api import application as applications
from poolhouse.api.schemas import document
from poolhouse.pipeline.config.topology import load as load_topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker import registry
from tests.kit.unit.api.conftest import REGISTRY, application


class Model(BaseModel):
    here: int


class Input(Payload):
    model: Model


@task("zählen-x")
def count(payload: Input, ctx: TaskContext) -> list[Model]:
    return [payload.model]


@task("strange")
def strange(payload: Input, ctx: TaskContext) -> object:
    return None


class Order(BaseModel):
    number: int


def signed_in(key: Annotated[str | None, Security(APIKeyHeader(name="X-Key", auto_error=False))]) -> str:
    if key != "sesame":
        raise HTTPException(401, "who are you?", headers={"WWW-Authenticate": "Key"})
    return key


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = await call_next(request)
        answer.headers["x-stamp"] = "ours"
        return answer


@pytest.fixture
def app() -> FastAPI:
    app = application(MemoryStore(), MemoryTopics(), ManualClock())
    orders = APIRouter(prefix="/orders", dependencies=[Depends(signed_in)])

    @orders.post("/{number}")
    async def get_task(number: int, order: Order) -> Order:  # a name that the kit has too
        return Order(number=number + order.number)

    app.include_router(orders)
    app.add_middleware(Stamp)
    return app


def test_own_routes_dependencies_and_middleware_work_beside_the_kits(app: FastAPI) -> None:
    with TestClient(app) as client:
        assert client.post("/orders/1", json={"number": 2}).status_code == 401
        answer = client.post("/orders/1", json={"number": 2}, headers={"X-Key": "sesame"})
        assert (answer.status_code, answer.json()) == (200, {"number": 3})
        health = client.get("/health")
        assert (health.status_code, health.headers["x-stamp"]) == (200, "ours")
        refused = client.post("/orders/1", json={"number": "x"}, headers={"X-Key": "sesame"})
        assert refused.status_code == 422
        assert refused.headers["content-type"] == "application/problem+json"


def test_one_authentication_can_guard_every_call_of_the_kit() -> None:
    app = application(MemoryStore(), MemoryTopics(), ManualClock())

    class Guard(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            open_to_all = request.url.path == "/health" or request.headers.get("x-key") == "sesame"
            return await call_next(request) if open_to_all else Response(status_code=401)

    app.add_middleware(Guard)
    with TestClient(app) as client:
        body = {"task_type": "anything", "payload": {}}
        assert client.get("/health").status_code == 200
        assert client.post("/tasks", json=body).status_code == 401
        assert client.post("/tasks", json=body, headers={"X-Key": "sesame"}).status_code == 202


def test_the_document_has_own_calls_beside_the_kits(app: FastAPI) -> None:
    found = app.openapi()
    own = found["paths"]["/orders/{number}"]["post"]
    assert own["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Order"}
    assert own["security"] == [{"APIKeyHeader": []}]
    assert "Order" in found["components"]["schemas"]


def test_operation_ids_are_stable_names_and_no_two_are_the_same(app: FastAPI) -> None:
    ids = {
        (method, path): operation["operationId"]
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    }
    assert len(set(ids.values())) == len(ids)
    assert ids["post", "/orders/{number}"] == "get_task_orders__number__post"
    kits = {call: name for call, name in ids.items() if "orders" not in call[1]}
    assert kits == {
        ("post", "/submit-task"): "submit_task",
        ("post", "/submit-file-task"): "submit_file_task",
        ("post", "/submit-data-task"): "submit_data_task",
        ("post", "/tasks"): "create_task",
        ("get", "/tasks"): "list_tasks",
        ("get", "/groups"): "list_groups",
        ("post", "/tasks:batch"): "create_tasks",
        ("post", "/tasks:cancel"): "cancel_tasks",
        ("post", "/index:rebuild"): "rebuild_index",
        ("post", "/dead-letters:replay"): "replay_dead_letters",
        ("post", "/dead-letters:discard"): "discard_dead_letters",
        ("post", "/queues/{name}:pause"): "pause_queue",
        ("post", "/queues/{name}:resume"): "resume_queue",
        ("post", "/queues/{name}:purge"): "purge_queue",
        ("get", "/tasks/{task_id}"): "get_task",
        ("get", "/tasks/{task_id}/result"): "get_result",
        ("get", "/tasks/{task_id}/events"): "follow_task",
        ("post", "/tasks/{task_id}:cancel"): "cancel_task",
        ("post", "/tasks/{task_id}:run-now"): "run_task_now",
        ("post", "/tasks/{task_id}:reschedule"): "reschedule_task",
        ("post", "/files"): "create_file",
        ("get", "/files/{name}"): "download_file",
        ("get", "/statistics"): "get_statistics",
        ("get", "/triggers"): "list_triggers",
        ("post", "/triggers/{name}:backfill"): "backfill_trigger",
        ("post", "/groups"): "create_group",
        ("post", "/groups/{group_id}:add"): "add_members",
        ("post", "/groups/{group_id}:close"): "close_group",
        ("get", "/groups/{group_id}"): "get_group",
        ("post", "/groups/{group_id}:cancel"): "cancel_group",
        ("get", "/queues"): "list_queues",
        ("get", "/dead-letters"): "list_dead_letters",
        ("get", "/dead-letters/{task_id}"): "get_dead_letter",
        ("post", "/dead-letters/{task_id}:discard"): "discard_dead_letter",
        ("post", "/dead-letters/{task_id}:replay"): "replay_dead_letter",
        ("get", "/schedules"): "list_schedules",
        ("post", "/schedules/{name}:pause"): "pause_schedule",
        ("post", "/schedules/{name}:resume"): "resume_schedule",
        ("post", "/schedules/{name}:run"): "run_schedule",
        ("post", "/schedules/{name}:due"): "schedule_due",
        ("get", "/limits"): "list_limits",
        ("get", "/quotas"): "list_quotas",
        ("get", "/health"): "health",
        ("get", "/ready"): "ready",
    }


def test_results_have_the_types_that_handlers_return(app: FastAPI) -> None:
    handlers = registry.Registry([*count.__poolhouse_handlers__, *strange.__poolhouse_handlers__, *REGISTRY.values()])
    found: dict[str, Any] = document(app, handlers, load_topology(ROOT / "pipeline.toml"))
    schemas = found["components"]["schemas"]
    result = schemas["Task.zxe4hlen-x"]["properties"]["result"]["anyOf"][0]
    assert (result["type"], result["items"]) == ("array", {"$ref": "#/components/schemas/Model"})
    assert schemas["Task.zxe4hlen-x"]["properties"]["task_type"]["const"] == "zählen-x"
    assert schemas["Task.anything"]["properties"]["result"]["anyOf"][0] == {"type": "null"}
    assert "write_token" not in schemas["Task.zxe4hlen-x"]["properties"]
    titles = ["".join(filter(str.isalnum, schema["title"])).lower() for schema in schemas.values()]
    assert len(titles) == len(set(titles))


def test_a_deployed_api_documents_no_sample_types() -> None:
    topology = load_topology(ROOT / "pipeline.toml")
    assert not [name for name in registry.load(topology.handlers) if name.startswith(("sample.", "chaos."))]


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("def create(:\n", "create", r"broken_api can't be imported: .*broken_api.py:1: SyntaxError"),
        ("import nowhere_to_be_found\n", "create", r"can't be imported: .*ModuleNotFoundError.*nowhere_to_be_found"),
        ("1 / 0\n", "create", r"can't be imported: .*broken_api.py:1: ZeroDivisionError: division by zero"),
        ("", "create", r"broken_api has no function create"),
        ("create = 1\n", "create", r"broken_api has no function create"),
        ("def create(): return 1\n", "create", r"create\(\) must return the application that poolhouse.api.create_app"),
        ("import fastapi\ncreate = fastapi.FastAPI\n", "create", r"must return the application that"),
        ("def create(): return 1 / 0\n", "create", r"create\(\) failed: .*broken_api.py:1: ZeroDivisionError"),
        ("def create(x): return 1\n", "create", r"create\(\) failed: .*TypeError"),
    ],
)
def test_a_broken_api_module_is_an_error_with_its_place(
    text: str, name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_api.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_api", raising=False)
    with pytest.raises(ConfigError, match=words) as caught:
        applications.load(f"broken_api:{name}")
    assert "pipeline.toml" in str(caught.value)
    sys.modules.pop("broken_api", None)
