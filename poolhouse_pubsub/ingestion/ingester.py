"""The loops that read import topics' buckets. Each object is read once: again only when it was written anew."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from poolhouse_pubsub import limits, protos
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.topic import Topic
from poolhouse_pubsub.ingestion.objects import ObjectError, glob_pattern, messages_of
from poolhouse_pubsub.object_store import ObjectStore, StoredObject, StoreError
from poolhouse_pubsub.service import Service
from poolhouse_pubsub.status import Reason, StatusError

_log = logging.getLogger(__name__)

#: How often a bucket is looked at, in seconds of the emulator's time.
POLL_S: Final = 1.0
#: Failure events that are kept to be looked at.
_KEPT_EVENTS: Final = 1_000
#: Messages of one publish, and their bytes: well below what one may have.
_BATCH_MESSAGES: Final = 500
_BATCH_BYTES: Final = 5_000_000

#: The field of CloudStorageFailure for what refused a message.
_REASONS: Final[dict[Reason | None, str]] = {
    Reason.SCHEMA: "schema_violation_reason",
    Reason.TRANSFORM: "message_transformation_failure_reason",
}


class Ingester:
    """All import loops of one emulator.

    Args:
        service: The RPCs: messages are published as those of any client.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loops: dict[Topic, _ImportLoop] = {}
        #: IngestionFailureEvents of topics whose platform logs are on, oldest first.
        self.failures: deque[Any] = deque(maxlen=_KEPT_EVENTS)

    def follow(self, topic: Topic) -> None:
        """Start or end the import of a topic that was made, changed or deleted."""
        emulator = self._service.emulator
        wanted = emulator.topics.get(topic.name) is topic and reads_bucket(topic.config)
        running = self._loops.get(topic)
        if wanted and running is None:
            self._loops[topic] = loop = _ImportLoop(topic, self._service, self.failures)
            loop.start()
        elif running is not None and not wanted:
            del self._loops[topic]
            running.stop()
        elif running is not None:
            running.show()

    def stop(self) -> None:
        """End all imports."""
        for loop in self._loops.values():
            loop.stop()
        self._loops.clear()


def reads_bucket(config: Any) -> bool:
    """Whether a Topic imports from Cloud Storage."""
    return bool(config.ingestion_data_source_settings.WhichOneof("source") == "cloud_storage")


class _ImportLoop:
    def __init__(self, topic: Topic, service: Service, failures: deque[Any]) -> None:
        self._topic = topic
        self._service = service
        self._emulator: Emulator = service.emulator
        self._failures = failures
        self._store = ObjectStore()
        self._timer = self._emulator.timers.timer(lambda now: self._look())
        self._task: asyncio.Task[None] | None = None
        self._state = "ACTIVE"
        self._lacks_avro = False

    def start(self) -> None:
        self._look()

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _look(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._import())
        self._timer.set(self._emulator.clock.now() + POLL_S)

    @property
    def _source(self) -> Any:
        return self._topic.config.ingestion_data_source_settings.cloud_storage

    async def _import(self) -> None:
        bucket = self._source.bucket
        try:
            for found in await asyncio.to_thread(lambda: list(self._store.list(bucket))):
                if self._wants(found):
                    content = await asyncio.to_thread(self._store.read, bucket, found.name)
                    self._publish(found, content)
        except StoreError as error:
            if self._state == "ACTIVE":
                _log.warning("%s can't import from bucket %s, it is tried again: %s", self._topic.name, bucket, error)
            self.show("CLOUD_STORAGE_PERMISSION_DENIED" if error.denied else "BUCKET_NOT_FOUND")
        except ImportError:
            if not self._lacks_avro:
                _log.warning("%s can't import Avro files: pip install 'poolhouse-pubsub[avro]'", self._topic.name)
            self._lacks_avro = True
        else:
            self.show("ACTIVE")

    def _wants(self, found: StoredObject) -> bool:
        source = self._source
        if self._emulator.ingested.get((self._topic.uid, found.name)) == found.generation:
            return False
        if source.match_glob and not glob_pattern(source.match_glob).fullmatch(found.name):
            return False
        least = source.minimum_object_create_time
        return bool(found.created >= least.seconds + least.nanos / 1e9)

    def _publish(self, found: StoredObject, content: bytes) -> None:
        for batch in self._batches(found, content):
            request = protos.PublishRequest(topic=self._topic.name, messages=batch)
            try:
                limits.check_size(request.ByteSize(), limits.PUBLISH_BYTES)
                self._service.publisher.publish(request)
            except StatusError:
                # One of them can't be published: each on its own, so that the others are.
                for message in batch:
                    self._publish_one(found, message)
        self._emulator.remember_ingested(self._topic, found.name, found.generation)

    def _publish_one(self, found: StoredObject, message: Any) -> None:
        request = protos.PublishRequest(topic=self._topic.name, messages=[message])
        try:
            limits.check_size(request.ByteSize(), limits.PUBLISH_BYTES)
            self._service.publisher.publish(request)
        except StatusError as error:
            self._report(found, error.message, field=_REASONS.get(error.reason, "api_violation_reason"))

    def _batches(self, found: StoredObject, content: bytes) -> Iterator[Sequence[Any]]:
        batch: list[Any] = []
        size_bytes = 0
        try:
            for message in messages_of(content, self._source):
                # What is too long for any publish must not take others with it.
                is_full = size_bytes + len(message.data) > _BATCH_BYTES or len(batch) >= _BATCH_MESSAGES
                if batch and (is_full or message.ordering_key != batch[0].ordering_key):
                    yield batch
                    batch, size_bytes = [], 0
                batch.append(message)
                size_bytes += len(message.data)
        except ObjectError as error:
            self._report(found, str(error), field="avro_failure_reason")
        if batch:
            yield batch

    def _report(self, found: StoredObject, message: str, *, field: str) -> None:
        """Write an IngestionFailureEvent; `field` is the one of CloudStorageFailure that holds the reason."""
        _log.warning("%s: a message of object %s was not imported: %s", self._topic.name, found.name, message)
        settings = self._topic.config.ingestion_data_source_settings.platform_logs_settings
        if settings.severity < protos.PlatformLogsSettings.Severity.Value("DEBUG"):
            return
        event = protos.IngestionFailureEvent(topic=self._topic.name, error_message=message)
        failure = event.cloud_storage_failure
        failure.bucket, failure.object_name = self._source.bucket, found.name
        failure.object_generation = found.generation
        getattr(failure, field).SetInParent()
        self._failures.append(event)

    def show(self, state: str | None = None) -> None:
        """Show the state, or the latest one again, in the source and in the topic, where it differs."""
        self._state = state or self._state
        config, source = self._topic.config, self._source
        number = source.State.Value(self._state)
        if source.state != number:
            source.state = number
            config.state = config.State.Value("ACTIVE" if self._state == "ACTIVE" else "INGESTION_RESOURCE_ERROR")
            self._emulator.save_topic(self._topic)
            self._emulator.commit()
