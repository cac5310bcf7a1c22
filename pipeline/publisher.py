"""Publishing task messages: a future each, done once Pub/Sub has the message."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from google.api_core import exceptions as google_errors
from google.api_core.retry import Retry, if_exception_type
from google.cloud import pubsub_v1

from pipeline.errors import QueueUnavailable
from pipeline.message import TaskMessage
from pipeline.settings import Settings

#: A message waits this long for others to share its request, in seconds: no person notices, and a burst is batched.
BATCH_WAIT_S = 0.002
BATCH_MESSAGES = 500
BATCH_BYTES = 1_000_000


class Publisher:
    """Publishes to the queues of one pipeline. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._topology = settings.topology
        self._project = settings.google_cloud_project
        self._client = pubsub_v1.PublisherClient(
            batch_settings=pubsub_v1.types.BatchSettings(
                max_messages=BATCH_MESSAGES, max_bytes=BATCH_BYTES, max_latency=BATCH_WAIT_S
            )
        )
        self._options: dict[str, Any] = {
            "timeout": settings.publish_timeout_s,
            "retry": Retry(
                predicate=if_exception_type(
                    google_errors.ServiceUnavailable, google_errors.Aborted, google_errors.ResourceExhausted
                ),
                initial=0.05,
                maximum=1.0,
                multiplier=2.0,
                timeout=settings.publish_timeout_s,
            ),
        }

    def submit(self, task: TaskMessage) -> Future[str]:
        """Publish a task to its queue; the future gives the message id, or raises `QueueUnavailable`."""
        return self.replay(task.queue, task.data(), task.attributes())

    def replay(self, queue: str, data: bytes, attributes: Mapping[str, str]) -> Future[str]:
        """Publish a body as it is to a queue; the future is as `submit`'s."""
        return self.publish(self._topology.by_name[queue].topic, data, attributes)

    def dead_letter(self, queue: str, data: bytes, attributes: Mapping[str, str]) -> Future[str]:
        """Publish what failed for good to its queue's dead-letter topic; the future is as `submit`'s."""
        return self.publish(self._topology.by_name[queue].dead_letter_topic, data, attributes)

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> Future[str]:
        """Publish to a topic of the project by its id; the future is as `submit`'s."""
        answer: Future[str] = Future()
        sent = self._client.publish(self._client.topic_path(self._project, topic), data, **self._options, **attributes)

        def done(_: Any) -> None:
            error = sent.exception()
            if error is None:
                answer.set_result(str(sent.result()))
            else:
                failure = QueueUnavailable(f"the queue did not take the message ({topic}): {error}")
                failure.__cause__ = error
                answer.set_exception(failure)

        sent.add_done_callback(done)
        return answer

    def check(self) -> None:
        """Raise `QueueUnavailable` unless Pub/Sub answers and has every queue's topic."""
        for queue in self._topology.queues:
            path = self._client.topic_path(self._project, queue.topic)
            try:
                self._client.get_topic(topic=path, timeout=2, retry=None)
            except google_errors.GoogleAPICallError as error:
                raise QueueUnavailable(f"topic {path}: {error}") from error

    def close(self) -> None:
        """Send what waits and close the connection."""
        self._client.stop()
        self._client.transport.close()
