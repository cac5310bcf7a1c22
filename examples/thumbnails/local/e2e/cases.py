"""What `invoke e2e` submits to the whole stack, and what must come of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

from PIL import Image
from poolhouse.local.e2e.case import Case, all_of, content, ended, one, succeeded
from poolhouse.local.e2e.client import Client
from poolhouse.local.e2e.project import File


def files() -> Mapping[str, File]:
    """Return the files that are uploaded before the cases run."""
    picture = io.BytesIO()
    Image.new("RGB", (800, 600), "teal").save(picture, "PNG")
    return {
        "teal.png": File(data=picture.getvalue(), content_type="image/png"),
        "notes.png": File(data=b"no picture at all", content_type="image/png"),
    }


def cases(run: str, *, queues: Sequence[str]) -> list[Case]:
    """Return the cases of one run; its files are below `RUN/`."""
    return [
        Case(
            name="thumbnail",
            through="/tasks",
            submit=_task(f"{run}/teal.png"),
            check=all_of(succeeded(), content(f"processed/{run}/teal.png/200.webp", _size_of, (200, 150))),
        ),
        Case(
            name="no picture",
            through="/tasks",
            submit=_task(f"{run}/notes.png"),
            check=ended("failed", reason="no picture that can be decoded"),
            dead_letter="no picture that can be decoded",
        ),
    ]


def _task(picture: str) -> Callable[[Client], list[str]]:
    return one("/tasks", {"task_type": "make_thumbnails", "payload": {"picture": picture, "sides": [200]}})


def _size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size
