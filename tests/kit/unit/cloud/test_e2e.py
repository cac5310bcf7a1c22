"""The checks for a deployed system, where it is another application than this repository's."""

from __future__ import annotations

from typing import Any

from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.cloud.e2e import run


class Api(Client):
    """A deployed API with one task type of its own."""

    def __init__(self) -> None:
        super().__init__("http://api.invalid")
        self.posted: list[Any] = []

    def get(self, path: str, **more: Any) -> Any:
        new_task = {"properties": {"task_type": {"const": "greet"}}}
        return {
            "/health": {"status": "healthy"},
            "/ready": {"status": "ready"},
            "/queues": {"queues": [{"name": "default"}]},
            "/openapi.json": {"components": {"schemas": {"NewTask.greet": new_task}}},
        }[path]

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        self.posted.append(body)
        raise ApiError(f"unknown task type {body['task_type']!r}", status=422)


def test_checks_of_task_types_that_the_image_does_not_have_are_left_out() -> None:
    lines: list[str] = []
    with Api() as api:
        assert run(api, prefix="e2e-own", say=lines.append)
        assert api.posted == [{"task_type": "unheard-of"}]
    assert [line.partition(" ")[0] for line in lines] == ["ok", "ok", *["left"] * 4, "ok", "left", "ok"]
    assert "left out: an uploaded file is processed: this pipeline has no task type file_processing" in lines
