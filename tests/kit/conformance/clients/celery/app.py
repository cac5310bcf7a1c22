"""Celery over its Pub/Sub transport: twenty tasks, and one that fails twice before it succeeds."""

from __future__ import annotations

import json
import os
import sys
import threading

from celery import Celery
from celery.contrib.testing.worker import start_worker

PROJECT, SUFFIX = os.environ["GOOGLE_CLOUD_PROJECT"], sys.argv[1]

app = Celery("conformance", broker=f"gcpubsub://projects/{PROJECT}")
app.conf.update(
    task_default_queue=f"celery-{SUFFIX}",
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)
done: list[int] = []
attempts: list[int] = []
finished = threading.Event()


def finish() -> None:
    if len(done) >= 20 and len(attempts) >= 3:
        finished.set()


@app.task
def work(number: int) -> None:
    done.append(number)
    finish()


@app.task(bind=True, max_retries=5)
def flaky(self: object) -> None:
    attempts.append(len(attempts))
    if len(attempts) < 3:
        raise self.retry(countdown=0)  # type: ignore[attr-defined]
    finish()


for number in range(20):
    work.delay(number)
flaky.delay()
with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False, loglevel="ERROR"):
    in_time = finished.wait(60)
print(json.dumps({"in_time": in_time, "done": sorted(done), "attempts": len(attempts)}))
