"""The pipeline from an event to its receiver, on the level that `--backend` names."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import urllib3
from poolhouse.pipeline.tasks.records import Status
from poolhouse.testing.pipeline import Pipeline
from poolhouse.testing.tasks import Task

from tests.conftest import Receiver
from worker import signature
from worker.handlers.deliver import Delivery, Receipt, deliver

EVENT = {"type": "order.paid", "timestamp": "2026-03-01T12:00:00Z", "data": {"order": "A-1"}}


def submit(pipeline: Pipeline, receiver: Receiver, subscriber: str = "shop") -> Task[Receipt]:
    """Submit an event for a subscriber, whose path at the receiver has its name."""
    delivery = {"subscriber": subscriber, "url": f"{receiver.url}/{subscriber}", "event": EVENT}
    return pipeline.submit(deliver, Delivery.model_validate(delivery))


def test_an_event_arrives_signed(pipeline: Pipeline, receiver: Receiver, secret: str) -> None:
    task = submit(pipeline, receiver)
    pipeline.run_until_idle()
    assert task.result() == Receipt(status=204)
    [request] = receiver.requests
    assert json.loads(request.body) == EVENT
    assert request.headers["webhook-id"] == task.task_id
    sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    signed = signature.headers(request.body, event_id=task.task_id, now=sent_at, secret=secret)
    assert request.headers["webhook-signature"] == signed["webhook-signature"]


def test_a_receiver_that_refuses_an_event_is_not_asked_again(pipeline: Pipeline, receiver: Receiver) -> None:
    receiver.status = 410
    task = submit(pipeline, receiver)
    pipeline.run_until_idle()
    assert task.status is Status.FAILED
    assert len(receiver.requests) == 1
    pipeline.assert_dead_lettered(task, reason="the receiver answered 410")


def test_a_receiver_says_when_it_wants_to_be_asked_again(pipeline: Pipeline, receiver: Receiver) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": "3600"}
    task = submit(pipeline, receiver)
    pipeline.clock.advance("59 minutes")
    assert len(receiver.requests) == 1
    receiver.status = 204
    pipeline.clock.advance("2 minutes")
    assert task.result() == Receipt(status=204)
    assert len(receiver.requests) == 2


def test_an_event_that_can_not_be_delivered_for_a_day_is_kept_and_replayed(
    pipeline: Pipeline, receiver: Receiver
) -> None:
    receiver.status = 503
    task = submit(pipeline, receiver)
    pipeline.clock.advance("20 hours")
    assert not task.status.final
    pipeline.clock.advance("10 hours")
    assert len(receiver.requests) == 11
    pipeline.assert_dead_lettered(task, reason="the receiver answered 503")

    receiver.status = 204
    replayed = urllib3.request("POST", f"{pipeline.api_url}/dead-letters/{task.task_id}:replay")
    assert replayed.status == 200
    pipeline.run_until_idle()
    assert task.result() == Receipt(status=204)
    # So a receiver that had taken it, and whose answer was lost, takes it no second time.
    assert receiver.ids() == {task.task_id}


def test_a_receiver_that_is_down_is_tried_again(pipeline: Pipeline, receiver: Receiver) -> None:
    pipeline.submit(deliver, subscriber="shop", url="http://127.0.0.1:1/", event=EVENT)
    [task] = pipeline.assert_submitted(deliver, subscriber="shop")
    pipeline.clock.advance("1 minute")
    assert not task.status.final
    assert len(task.attempts) > 1


def test_a_flood_of_events_for_one_subscriber_keeps_no_other_waiting(pipeline: Pipeline, receiver: Receiver) -> None:
    for _ in range(25):
        submit(pipeline, receiver, "shop")
    submit(pipeline, receiver, "bank")
    pipeline.clock.advance("0.9 s")
    assert "/bank" in receiver.paths()
    assert 1 <= receiver.paths().count("/shop") <= 10
    pipeline.clock.advance("10 s")
    assert Counter(receiver.paths()) == {"/shop": 25, "/bank": 1}


def test_every_event_arrives_wherever_a_worker_dies_or_a_call_fails(pipeline: Pipeline, receiver: Receiver) -> None:
    for turn in pipeline.crash_points():
        with turn:
            receiver.requests.clear()
            task = submit(pipeline, receiver)
            pipeline.run_until_idle()
            assert receiver.ids() == {task.task_id}
