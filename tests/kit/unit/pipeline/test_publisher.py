"""Publishing in groups."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import MessageRefused, QueueUnavailable
from poolhouse.pipeline.messaging import publisher
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.messaging.pubsub_transport import Message
from poolhouse.testing.doubles import MemoryTopics

TOPIC = "poolhouse-default"


@pytest.fixture
def settings() -> Settings:
    return Settings(google_cloud_project="unit-publisher", bucket_name="unit-publisher", publish_timeout_s=0.2)


def test_an_idle_publisher_sends_at_once(settings: Settings) -> None:
    topics = MemoryTopics()
    publishing = Publisher(settings, topics=topics)

    assert publishing.publish(TOPIC, b"1", {"a": "b"}).result(timeout=0) == "1"
    assert publishing.publish(TOPIC, b"2", {}).result(timeout=0) == "2"
    assert topics.requests == [1, 1]


def test_what_comes_in_while_requests_are_under_way_goes_out_together(settings: Settings) -> None:
    topics = MemoryTopics(hold=True)
    publishing = Publisher(settings, topics=topics)

    answers = [publishing.publish(TOPIC, str(n).encode(), {}) for n in range(100)]
    assert topics.requests == [1] * publisher.REQUESTS_IN_FLIGHT
    topics.release()

    rest = 100 - publisher.REQUESTS_IN_FLIGHT
    assert topics.requests == [*[1] * publisher.REQUESTS_IN_FLIGHT, rest]
    sent = {published.message_id: published.message.data for published in topics.published}
    assert [sent[answer.result(timeout=0)] for answer in answers] == [str(n).encode() for n in range(100)]


def test_a_request_holds_no_more_than_pub_sub_takes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "REQUEST_MESSAGES", 7)
    monkeypatch.setattr(publisher, "REQUEST_BYTES", 100)
    topics = MemoryTopics(hold=True)
    publishing = Publisher(settings, topics=topics)

    sizes = [1] * 2 + [1] * 7 + [60, 60] + [1000] + [1]
    answers = [publishing.publish(TOPIC, b"x" * size, {}) for size in sizes]
    topics.release()

    assert topics.requests == [1, 1, 7, 1, 1, 1, 1]
    assert all(answer.done() for answer in answers)


def test_topics_do_not_wait_for_each_other(settings: Settings) -> None:
    topics = MemoryTopics(hold=True)
    publishing = Publisher(settings, topics=topics)

    for _ in range(5):
        publishing.publish("poolhouse-urgent", b"", {})
        publishing.publish("poolhouse-bulk", b"", {})

    assert len(topics.requests) == 2 * publisher.REQUESTS_IN_FLIGHT


def test_a_queue_that_is_down_fails_what_was_sent_and_nothing_later(settings: Settings) -> None:
    topics = MemoryTopics(down=True)
    publishing = Publisher(settings, topics=topics)
    failed = publishing.publish(TOPIC, b"1", {})
    topics.down = False

    with pytest.raises(QueueUnavailable):
        failed.result(timeout=0)
    assert publishing.publish(TOPIC, b"2", {}).result(timeout=0) == "1"


class PickyTopics(MemoryTopics):
    """Refuses any request with a bad message in it, as Pub/Sub does."""

    def _answer(self, answer: Future[Sequence[str]], topic: str, messages: Sequence[Message]) -> None:
        if any(message.data == b"bad" for message in messages):
            answer.set_exception(MessageRefused("a message is bad"))
        else:
            super()._answer(answer, topic, messages)


def test_a_refused_message_spoils_no_other(settings: Settings) -> None:
    topics = PickyTopics(hold=True)
    publishing = Publisher(settings, topics=topics)

    answers = [publishing.publish(TOPIC, data, {}) for data in (b"a", b"b", b"c", b"bad", b"d")]
    topics.release()

    assert [type(answer.exception(timeout=0)) for answer in answers] == [
        type(None),
        type(None),
        type(None),
        MessageRefused,
        type(None),
    ]
    assert sorted(published.message.data for published in topics.published) == [b"a", b"b", b"c", b"d"]
    assert publishing.publish(TOPIC, b"e", {}).result(timeout=0)


def test_who_stops_waiting_does_not_stop_the_message(settings: Settings) -> None:
    topics = MemoryTopics(hold=True)
    answer = Publisher(settings, topics=topics).publish(TOPIC, b"1", {})

    assert not answer.cancel()
    topics.release()
    assert answer.result(timeout=0) == "1"


def test_closing_sends_what_waits(settings: Settings) -> None:
    topics = MemoryTopics(hold=True)
    publishing = Publisher(settings, topics=topics)
    answers = [publishing.publish(TOPIC, b"", {}) for _ in range(10)]
    threading.Timer(0.02, topics.release).start()

    publishing.close()

    assert topics.closed
    assert all(answer.result(timeout=1) for answer in answers)
    with pytest.raises(QueueUnavailable, match="closed"):
        publishing.publish(TOPIC, b"", {}).result(timeout=0)


def test_closing_waits_no_longer_than_a_publish_may_take(settings: Settings) -> None:
    topics = MemoryTopics(hold=True)
    publishing = Publisher(settings, topics=topics)
    publishing.publish(TOPIC, b"", {})

    publishing.close()

    assert topics.closed


def test_many_threads_lose_nothing(settings: Settings) -> None:
    topics = MemoryTopics()
    publishing = Publisher(settings, topics=topics)
    answers: list[Future[str]] = []

    def publish() -> None:
        for _ in range(200):
            answers.append(publishing.publish(TOPIC, b"", {}))

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({answer.result(timeout=5) for answer in answers}) == 1600
