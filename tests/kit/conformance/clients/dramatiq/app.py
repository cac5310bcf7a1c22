"""Dramatiq over dramatiq-gcpubsub: twenty tasks; the broker has no delayed messages, and so no retries."""

from __future__ import annotations

import json
import os
import sys
import threading

import dramatiq
from dramatiq_gcpubsub import PubSubBroker

broker = PubSubBroker(os.environ["GOOGLE_CLOUD_PROJECT"], middleware=[])
dramatiq.set_broker(broker)
done: list[int] = []
finished = threading.Event()


@dramatiq.actor(queue_name=f"dramatiq-{sys.argv[1]}")
def work(number: int) -> None:
    done.append(number)
    if len(done) >= 20:
        finished.set()


broker.declare_queue(work.queue_name)
for number in range(20):
    work.send(number)
worker = dramatiq.Worker(broker, worker_threads=4, worker_timeout=1000)
worker.start()
in_time = finished.wait(60)
worker.stop()
print(json.dumps({"in_time": in_time, "done": sorted(done)}))
