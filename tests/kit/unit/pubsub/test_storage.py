"""What a data folder keeps: over an orderly stop, over kill -9, over a torn end of the log."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from poolhouse_pubsub import protos
from poolhouse_pubsub.control.inspection import inspect
from poolhouse_pubsub.core.emulator import timestamp
from poolhouse_pubsub.persistence.log_file import LogFile
from poolhouse_pubsub.persistence.storage import Storage
from poolhouse_pubsub.service import Service
from tests.kit.unit.pubsub.world import START, SUBSCRIPTION, TOPIC, World, data

SNAPSHOT = "projects/core/snapshots/before"


class Kept(World):
    """A world in a folder; `again` is what the next process finds there."""

    def __init__(self, folder: Path, **fields: object) -> None:
        self.folder = folder
        self._fields = fields
        super().__init__(**fields)
        self._attach(self.service)

    def _attach(self, service: Service) -> None:
        # The world's resources were made before the storage was there: they are written by its first rewrite.
        self.storage = Storage(self.folder)
        if self.storage._log.size_bytes < 100:
            self.storage._service = service
            service.emulator.journal = self.storage
            self.storage._rewrite()
        else:
            for store in (service.emulator.topics, service.emulator.subscriptions):
                store.clear()
            self.storage.restore(service)

    def killed(self) -> Kept:
        """The same folder in a new process, after this one was killed: nothing is flushed or closed by it."""
        os.close(self.storage._lock)
        os.close(self.storage._log._fd)
        again = Kept(self.folder, **self._fields)
        again.clock.skip(self.clock.now() - again.clock.now())
        return again


def test_what_was_published_is_there_and_what_was_acked_is_not(tmp_path: Path) -> None:
    world = Kept(tmp_path)
    world.publish("a", "b", "c", colour="blue")
    one, two, _ = world.pull()
    world.ack(two)
    world.nack(one)
    again = world.killed()
    assert [(message.data, message.attributes) for message in again.pull()] == [
        ("a", {"colour": "blue"}),
        ("c", {"colour": "blue"}),
    ]


def test_ids_and_times_go_on_and_old_ack_ids_do_not_count(tmp_path: Path) -> None:
    world = Kept(tmp_path)
    (first,) = world.publish("a")
    held = world.pull()
    again = world.killed()
    (second,) = again.publish("b")
    assert int(second) > int(first)
    new = again.pull()
    assert not {message.ack_id for message in new} & {message.ack_id for message in held}
    again.ack(*held)
    again.advance(10)
    assert sorted(data(again.pull())) == ["a", "b"]


def test_resources_come_back_as_they_were(tmp_path: Path) -> None:
    world = Kept(tmp_path, labels={"team": "a"}, enable_message_ordering=True)
    world.topic("projects/core/topics/gone")
    world.subscribe("projects/core/subscriptions/orphan", topic="projects/core/topics/gone")
    world.publish("left behind", topic="projects/core/topics/gone")
    world.service.publisher.delete_topic(protos.DeleteTopicRequest(topic="projects/core/topics/gone"))
    world.service.iam.set_iam_policy(
        protos.SetIamPolicyRequest(resource=TOPIC, policy={"bindings": [{"role": "r", "members": ["user:a"]}]})
    )
    before = [each.config for each in world.emulator.subscriptions.values()]
    again = world.killed()
    assert [each.config for each in again.emulator.subscriptions.values()] == before
    assert data(again.pull(name="projects/core/subscriptions/orphan")) == ["left behind"]
    policy = again.service.iam.get_iam_policy(protos.GetIamPolicyRequest(resource=TOPIC))
    assert policy.bindings[0].members == ["user:a"]
    assert list(again.emulator.topics[TOPIC].subscriptions) == [SUBSCRIPTION]


def test_attempts_go_on_counting(tmp_path: Path) -> None:
    dead = "projects/core/topics/dead"
    world = Kept(tmp_path)
    world.topic(dead)
    name = "projects/core/subscriptions/strict"
    world.subscribe(name, dead_letter_policy={"dead_letter_topic": dead})
    world.publish("a")
    for _ in range(2):
        world.nack(*world.pull(name=name), name=name)
    assert world.killed().pull(name=name)[0].attempt == 3


def test_ordered_lines_come_back_in_order(tmp_path: Path) -> None:
    world = Kept(tmp_path, enable_message_ordering=True)
    world.publish("1", "2", "3", key="k")
    world.ack(world.pull()[0])
    assert data(world.killed().pull()) == ["2", "3"]


def test_retained_messages_and_snapshots_can_be_sought_after_a_restart(tmp_path: Path) -> None:
    world = Kept(tmp_path, retain_acked_messages=True)
    world.publish("acked")
    world.ack(*world.pull())
    world.service.snapshots.create_snapshot(protos.CreateSnapshotRequest(name=SNAPSHOT, subscription=SUBSCRIPTION))
    world.publish("later")
    world.ack(*world.pull())
    again = world.killed()
    again.service.snapshots.seek(protos.SeekRequest(subscription=SUBSCRIPTION, snapshot=SNAPSHOT))
    assert data(again.pull()) == ["later"]
    third = again.killed()
    third.service.snapshots.seek(protos.SeekRequest(subscription=SUBSCRIPTION, time=timestamp(START)))
    assert data(third.pull()) == ["acked", "later"]


def test_acked_messages_that_were_let_go_are_gone_after_a_restart(tmp_path: Path) -> None:
    world = Kept(tmp_path, retain_acked_messages=True)
    world.publish("a")
    world.ack(*world.pull())
    world.service.subscriber.update_subscription(
        protos.UpdateSubscriptionRequest(
            subscription={"name": SUBSCRIPTION, "retain_acked_messages": False},
            update_mask={"paths": ["retain_acked_messages"]},
        )
    )
    assert inspect(world.killed().emulator, SUBSCRIPTION).retained == 0


def test_what_outlived_its_retention_is_gone_from_the_log(tmp_path: Path) -> None:
    world = Kept(tmp_path, message_retention_duration=protos.Duration(seconds=600), retain_acked_messages=True)
    world.publish("acked", "delivered", "fresh")
    acked, _ = world.pull(2)
    world.ack(acked)
    world.advance(601)
    found = inspect(world.killed().emulator, SUBSCRIPTION)
    assert (found.unacked, found.retained) == (0, 0)


def test_a_snapshot_of_a_deleted_topic_says_so_after_a_restart(tmp_path: Path) -> None:
    world = Kept(tmp_path)
    world.service.snapshots.create_snapshot(protos.CreateSnapshotRequest(name=SNAPSHOT, subscription=SUBSCRIPTION))
    world.service.publisher.delete_topic(protos.DeleteTopicRequest(topic=TOPIC))
    again = world.killed()
    assert again.emulator.snapshots[SNAPSHOT].config.topic == "_deleted-topic_"


def test_a_purge_lasts(tmp_path: Path) -> None:
    world = Kept(tmp_path)
    world.publish("a")
    world.service.snapshots.seek(protos.SeekRequest(subscription=SUBSCRIPTION, time=timestamp(START + 60)))
    world.publish("b")
    assert data(world.killed().pull()) == ["b"]


def test_a_torn_end_costs_only_the_torn_record(tmp_path: Path) -> None:
    world = Kept(tmp_path)
    world.publish("whole")
    world.publish("torn")
    log = tmp_path / "journal.log"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 3)
    again = world.killed()
    assert data(again.pull()) == ["whole"]
    again.publish("next")
    assert sorted(data(again.killed().pull())) == ["next", "whole"]


def test_the_log_is_rewritten_when_most_of_it_is_about_what_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolhouse_pubsub.persistence.storage.LEAST_REWRITE_BYTES", 50_000)
    world = Kept(tmp_path)
    for _ in range(200):
        world.publish("x" * 1000)
        world.ack(*world.pull())
    world.publish("kept")
    assert world.storage._log.size_bytes < 60_000
    assert data(world.killed().pull()) == ["kept"]


def test_a_folder_belongs_to_one_emulator_at_a_time(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    with pytest.raises(OSError, match="in use by another emulator"):
        Storage(tmp_path)
    storage.close()


def test_a_full_disk_refuses_messages_and_loses_none_that_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from poolhouse_pubsub.status import StatusError

    world = Kept(tmp_path)
    world.publish("before")
    real = os.write

    def full(fd: int, raw: bytes) -> int:
        if len(raw) > 10:
            return real(fd, raw[:10])  # a short write first, as on a disk that is nearly full
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", lambda fd, raw: full(fd, raw) if len(raw) < 50_000 else real(fd, raw))
    for _ in range(3):  # the publisher tries again
        with pytest.raises(StatusError, match="No space left"):
            world.publish("refused")
    monkeypatch.undo()
    world.publish("after")
    assert data(world.pull()) == ["before", "after"]
    assert data(world.killed().pull()) == ["before", "after"]


def test_what_makes_the_log_start_anew_is_in_the_new_one(tmp_path: Path) -> None:
    world = Kept(tmp_path)
    world.storage._rewrite_at = 0
    world.publish("kept")
    assert data(world.killed().pull()) == ["kept"]


def test_a_log_that_can_not_be_shortened_goes_on_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Kept(tmp_path)
    world.storage._rewrite_at = 0

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    world.publish("kept")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".new"] == []
    world.publish("after")
    assert data(world.killed().pull()) == ["kept", "after"]


def test_a_file_that_is_no_log_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    path.write_text("my notes")
    with pytest.raises(ValueError, match="is not a log of this emulator"):
        LogFile(path)
    assert path.read_text() == "my notes"


def _start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "poolhouse_pubsub", "--port", "0", "--data-dir", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip().rpartition("=")[2]


def test_kill_9_in_the_middle_of_traffic_loses_nothing_and_brings_nothing_acked_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud import pubsub_v1

    topic, subscription = "projects/kill/topics/orders", "projects/kill/subscriptions/orders"
    process, address = _start(tmp_path)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
    published: list[str] = []
    #: Acks that were sent, and those that were answered: of an answer that was cut off, either may be.
    sent: set[str] = set()
    acked: set[str] = set()
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    publisher.create_topic(name=topic)
    subscriber.create_subscription(name=subscription, topic=topic)

    def publish() -> None:
        number = 0
        try:
            while True:
                batch = [f"{number + each}" for each in range(5)]
                for future in [publisher.publish(topic, text.encode(), retry=None, timeout=2) for text in batch]:
                    future.result(timeout=10)
                published.extend(batch)
                number += 5
        except GoogleAPICallError:
            return

    def consume() -> None:
        try:
            while True:
                answer = subscriber.pull(subscription=subscription, max_messages=3, retry=None, timeout=2)
                if answer.received_messages:
                    ids = [message.ack_id for message in answer.received_messages]
                    texts = [message.message.data.decode() for message in answer.received_messages]
                    sent.update(texts)
                    subscriber.acknowledge(subscription=subscription, ack_ids=ids, retry=None, timeout=2)
                    acked.update(texts)
        except GoogleAPICallError:
            return

    threads = [threading.Thread(target=publish), threading.Thread(target=consume)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while len(acked) < 100 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(acked) >= 100
    process.send_signal(signal.SIGKILL)
    process.wait()
    for thread in threads:
        thread.join()
    assert process.stdout is not None
    process.stdout.close()
    publisher.transport.close()
    subscriber.close()

    process, address = _start(tmp_path)
    with urllib.request.urlopen(f"http://{address}/admin/subscriptions/kill/orders?messages=1000000") as answer:
        found = {base64.b64decode(message["data"]).decode() for message in json.load(answer)["messages"]}
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    assert process.stdout is not None
    process.stdout.close()
    assert not set(published) - sent - found, "lost"
    assert not acked & found, "came back"


def test_inspection_counts_are_those_of_before(tmp_path: Path) -> None:
    world = Kept(tmp_path)
    world.publish(*map(str, range(10)))
    world.ack(*world.pull(4))
    view = inspect(world.killed().emulator, SUBSCRIPTION)
    assert (view.undelivered, view.outstanding, view.unacked) == (6, 0, 6)
