"""The usual worker, to compare with: pull a batch, run it on threads, upload each result, wait for all, ack.

    python -m tests.kit.bench.baseline [--idle-sleep 0]

One upload a task, no record, no lease extension, no duplicate detection. `--idle-sleep` is its sleep after an empty
pull, in seconds; usual is 1 or more, 0 gives it every chance.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.api_core import exceptions as google_errors
from google.cloud import pubsub_v1, storage

from tests.kit.bench._stack import BUCKET, PROJECT, SUBSCRIPTION

BATCH = 10
#: How long a pull waits for a message, in seconds.
PULL_S = 1.0
_stopping = threading.Event()


def work(bucket: Any, message: Any) -> str:
    """Run one task and upload its result; returns the ack id."""
    task = json.loads(message.message.data)
    if task["task_type"] == "nap":
        time.sleep(task["seconds"])
    result = {"task_id": task["task_id"], "status": "succeeded"}
    bucket.blob(f"results/{task['task_id']}.json").upload_from_string(json.dumps(result), "application/json")
    return str(message.ack_id)


def main() -> None:
    """Work until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle-sleep", type=float, default=0.0)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: _stopping.set())
    subscriber = pubsub_v1.SubscriberClient()
    bucket = storage.Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT", PROJECT)).bucket(BUCKET)
    path = subscriber.subscription_path(PROJECT, SUBSCRIPTION)
    print("worker ready", flush=True)
    with ThreadPoolExecutor(BATCH) as pool:
        while not _stopping.is_set():
            try:
                received = subscriber.pull(subscription=path, max_messages=BATCH, timeout=PULL_S).received_messages
            except google_errors.DeadlineExceeded:
                received = []
            ids = list(pool.map(lambda message: work(bucket, message), received))
            if ids:
                subscriber.acknowledge(subscription=path, ack_ids=ids)
            else:
                _stopping.wait(options.idle_sleep)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
