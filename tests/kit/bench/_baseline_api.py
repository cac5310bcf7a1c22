"""The usual API in front of the usual worker, to compare with: `python -m tests.kit.bench._baseline_api --port N`.

One endpoint that publishes with Google's client and waits for the message id where it stands, in an `async def`: while
it waits nobody else is served. With `--threads` it is a `def`, which the framework runs on threads of its own.
"""

from __future__ import annotations

import argparse
import json
import uuid
from typing import Any

import uvicorn
from fastapi import Body, FastAPI
from google.cloud import pubsub_v1

from tests.kit.bench._stack import PROJECT, TOPIC

app = FastAPI()
_publisher = pubsub_v1.PublisherClient()
_topic = _publisher.topic_path(PROJECT, TOPIC)


@app.get("/ready")
def ready() -> None:
    """It is, once it answers."""


def submit(task: dict[str, Any]) -> dict[str, str]:
    """Publish a task; its id and its message's."""
    task_id = str(uuid.uuid4())
    message = json.dumps({**task, "task_id": task_id}).encode()
    return {"task_id": task_id, "message_id": _publisher.publish(_topic, message).result(), "status": "submitted"}


async def submit_in_the_loop(task: dict[str, Any] = Body()) -> dict[str, str]:  # noqa: B008 - FastAPI's way
    """The same, with everybody waiting."""
    return submit(task)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", action="store_true")
    options = parser.parse_args()
    app.post("/submit-task")(submit if options.threads else submit_in_the_loop)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
