"""The OpenAPI document and its examples, for whatever payloads models allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Generic, Literal, Self, TypedDict, TypeVar
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from pydantic import ConfigDict, Field, HttpUrl, create_model

from poolhouse.api import create_app
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker import Payload, TaskContext, task
from poolhouse.worker.registry import Registry
from tests.kit.unit.api.conftest import settings

T = TypeVar("T")


class Literally(Payload):
    kind: Literal["literally"]
    value: int


class Sum(Payload):
    kind: Literal["sum"]
    left: Expression
    right: Expression


Expression = Annotated[Sum | Literally, Field(discriminator="kind")]
Sum.model_rebuild()


class Folder(Payload):
    name: str
    folders: list[Folder]


class Box(Payload, Generic[T]):
    item: T


class Colour(Enum):
    RED = "red"


class ExampleOfNone(Payload):
    model_config = ConfigDict(json_schema_extra={"examples": [{"value": float("nan")}]})
    value: float = 1.0


#: Fields that are required, and of which the document has an example that the model takes.
FIELDS: list[Any] = [
    *(str, int, float, bool, bytes, Decimal, date, datetime, time, timedelta, UUID, Colour, Path, HttpUrl, None, Any),
    *(IPv4Address, IPv6Address, list[int], set[str], dict[int, str], tuple[int, str], tuple[int, ...], str | None),
    *(Literal[1, "x"], Expression, Sum, Folder, Box[int], Box[Folder]),
    Annotated[str, Field(min_length=10)],
    Annotated[str, Field(max_length=2)],
    Annotated[list[str], Field(min_length=3)],
    Annotated[int, Field(gt=3, lt=5)],
    Annotated[int, Field(le=-5)],
    Annotated[int, Field(multiple_of=7, gt=10)],
    Annotated[float, Field(gt=0, lt=1)],
    Annotated[float, Field(lt=-5)],
]


@contextmanager
def served(model: type[Payload], path: Path, *, returns: Any = None) -> Iterator[TestClient]:
    def handle(payload: Any, ctx: TaskContext) -> None:
        """Do nothing."""

    handle.__annotations__ |= {"payload": model, "return": returns}
    (path / "pipeline.toml").write_text("[queues.default]\n")
    file = str(path / "pipeline.toml")
    environment = settings(pipeline_file=file, publish_timeout_s=60, storage_timeout_s=60)
    registry = Registry(task("any")(handle).__poolhouse_handlers__)  # type: ignore[attr-defined]
    publisher = Publisher(environment, topics=MemoryTopics())
    app = create_app(environment, store=MemoryStore(), publisher=publisher, registry=registry, clock=ManualClock())
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


class Row(TypedDict):  # pydantic takes it from Python 3.12 on
    number: int


@pytest.mark.parametrize("returns", [Row, list[Row], Self, Lock, Callable[[], int], complex])
def test_a_result_that_pydantic_does_not_know_is_any_in_the_document(tmp_path: Path, returns: Any) -> None:
    with served(Box[int], tmp_path, returns=returns) as client:
        assert "Task.any" in client.get("/openapi.json").json()["components"]["schemas"]


def test_examples_fit_the_models_that_they_are_made_for(tmp_path: Path) -> None:
    fields: dict[str, Any] = {f"field_{number}": (kind, ...) for number, kind in enumerate(FIELDS)}
    with served(create_model("Everything", __base__=Payload, **fields), tmp_path) as client:
        document = client.get("/openapi.json").json()
        [example] = document["components"]["schemas"]["NewTask.any"]["examples"]
        answer = client.post("/tasks", json=example)
        assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("endless", ["nan", "inf", "-inf"])
def test_a_number_that_json_has_no_form_for_is_left_out_of_the_document(tmp_path: Path, endless: str) -> None:
    value = float(endless)
    model = create_model("M", __base__=Payload, a=(float, value), b=(Annotated[float, Field(gt=value)], 1.0))
    for each in (model, ExampleOfNone):
        with served(each, tmp_path) as client:
            answer = client.get("/openapi.json")
            assert answer.status_code == 200
            assert client.get("/docs").status_code == 200


def test_a_model_that_can_not_do_without_itself_has_a_document_all_the_same(tmp_path: Path) -> None:
    class Endless(Payload):
        inner: Endless

    Endless.model_rebuild(_types_namespace={"Endless": Endless})
    with served(Endless, tmp_path) as client:
        assert client.get("/openapi.json").status_code == 200
