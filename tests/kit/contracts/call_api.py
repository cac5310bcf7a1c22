"""Submits a task and reads its typed result with the client that openapi-python-client made, as the package `made`."""

# mypy: ignore-errors
from __future__ import annotations

import json
import sys
import urllib.request

from made import Client
from made.api.submit import create_task
from made.api.tasks import get_task
from made.models import Echo, Echoed, NewTaskSampleEcho, Submitted, TaskSampleEcho

with Client(base_url=sys.argv[1]) as client:
    submitted = create_task.sync(
        client=client, body=NewTaskSampleEcho(task_type="sample.echo", payload=Echo(value="Ada"))
    )
    assert isinstance(submitted, Submitted), submitted
    # The stream ends with the task.
    urllib.request.urlopen(f"{sys.argv[1]}/tasks/{submitted.task_id}/events", timeout=60).read()
    task = get_task.sync(submitted.task_id, client=client)
    assert isinstance(task, TaskSampleEcho), task
    assert isinstance(task.result, Echoed), task.result
    print(json.dumps({"value": task.result.value, "attempt": task.result.attempt}))
