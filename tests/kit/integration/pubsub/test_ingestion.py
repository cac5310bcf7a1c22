"""Import topics read a real storage server's bucket: formats, what is left out, failures, and restarts."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import pytest
from google.pubsub_v1.types import Topic

from poolhouse.local.storage.fake_gcs import FakeGcs
from poolhouse_pubsub.server import EmulatorServer
from tests.kit.conformance.semantics.targets import Clients, Target
from tests.kit.waiting import until

TOPIC = "projects/p/topics/imported"
READER = "projects/p/subscriptions/reader"


@dataclass(frozen=True)
class Bucket:
    """A bucket of the storage server that the environment names."""

    name: str
    server: FakeGcs

    def upload(self, name: str, content: bytes) -> int:
        return self.server.upload(self.name, name, content)


@pytest.fixture
def storage(fake_gcs: FakeGcs, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_gcs.url)
    bucket = Bucket(f"imports-{secrets.token_hex(5)}", fake_gcs)
    fake_gcs.create_bucket(bucket.name)
    return bucket


@pytest.fixture
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer() as running:
        yield running


@pytest.fixture
def clients(server: EmulatorServer) -> Iterator[Clients]:
    made = connect(server)
    made.publisher.create_topic(name=TOPIC)
    made.subscriber.create_subscription(name=READER, topic=TOPIC)
    yield made
    made.channel.close()


def connect(server: EmulatorServer) -> Clients:
    return Clients(Target("ours", server.address, server.clock.advance))


def import_from(clients: Clients, source: dict[str, Any], **settings: Any) -> None:
    topic = {"name": TOPIC, "ingestion_data_source_settings": {"cloud_storage": source, **settings}}
    mask = {"paths": ["ingestion_data_source_settings"]}
    clients.publisher.update_topic({"topic": topic, "update_mask": mask})


def imported(server: EmulatorServer, count: int) -> list[bytes]:
    """The data of the imported messages, once they are so many."""

    def there() -> bool:
        server.clock.advance(1)
        return server.inspect(READER).unacked >= count

    until(there, f"{count} messages")
    # Twice more: nothing is imported a second time.
    for _ in range(2):
        server.clock.advance(1)
    return [message.data for message in server.inspect(READER).messages]


def avro(schema: dict[str, Any], *records: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), records)
    return out.getvalue()


NUMBER = {"type": "record", "name": "N", "fields": [{"name": "n", "type": "int"}]}


@pytest.mark.parametrize(
    ("text_format", "lines"),
    [
        ({}, [b"one", b"two"]),
        ({}, [b"one\r", b"two"]),
        ({"delimiter": ";"}, [b"a", b"b\nc"]),
    ],
)
def test_each_line_of_a_text_becomes_a_message(
    clients: Clients, server: EmulatorServer, storage: Bucket, text_format: dict[str, str], lines: list[bytes]
) -> None:
    delimiter = text_format.get("delimiter", "\n").encode()
    storage.upload("open", delimiter.join(lines))
    storage.upload("ended", delimiter.join(lines) + delimiter)
    import_from(clients, {"bucket": storage.name, "text_format": text_format})
    assert sorted(imported(server, 2 * len(lines))) == sorted(2 * lines)


def test_each_record_of_an_avro_file_becomes_a_message(
    clients: Clients, server: EmulatorServer, storage: Bucket
) -> None:
    storage.upload("file.avro", avro(NUMBER, {"n": 7}, {"n": 8}))
    import_from(clients, {"bucket": storage.name, "avro_format": {}})
    schema = fastavro.parse_schema(NUMBER)
    found = [fastavro.schemaless_reader(io.BytesIO(data), schema, None) for data in imported(server, 2)]
    assert found == [{"n": 7}, {"n": 8}]


def test_what_a_subscription_exported_is_imported_again(
    clients: Clients, server: EmulatorServer, storage: Bucket
) -> None:
    source = "projects/p/topics/source"
    clients.publisher.create_topic(name=source)
    config = {"bucket": storage.name, "avro_config": {"write_metadata": True}}
    export = "projects/p/subscriptions/export"
    clients.subscriber.create_subscription({"name": export, "topic": source, "cloud_storage_config": config})
    message = {"data": b"one", "attributes": {"a": "b"}, "ordering_key": "k"}
    clients.publisher.publish(topic=source, messages=[message])
    until(lambda: server.inspect(export).outstanding, "the message with the export")
    server.clock.advance(300)
    until(lambda: storage.server.list(storage.name), "the file")
    import_from(clients, {"bucket": storage.name, "pubsub_avro_format": {}})
    assert imported(server, 1) == [b"one"]
    (found,) = server.inspect(READER).messages
    assert (found.attributes, found.ordering_key) == ({"a": "b"}, "k")


def test_only_objects_of_the_glob_are_imported_and_a_new_generation_is_again(
    clients: Clients, server: EmulatorServer, storage: Bucket
) -> None:
    for name in ("logs/a.txt", "logs/deep/b.txt", "logs/c.csv", "other/d.txt"):
        storage.upload(name, name.encode())
    import_from(clients, {"bucket": storage.name, "text_format": {}, "match_glob": "logs/**.txt"})
    assert sorted(imported(server, 2)) == [b"logs/a.txt", b"logs/deep/b.txt"]
    storage.upload("logs/a.txt", b"anew")
    assert sorted(imported(server, 3))[0] == b"anew"


def test_objects_from_before_are_left_out(clients: Clients, server: EmulatorServer, storage: Bucket) -> None:
    storage.upload("early", b"early")
    later = int(server.clock.now()) + 3600
    import_from(clients, {"bucket": storage.name, "text_format": {}, "minimum_object_create_time": {"seconds": later}})
    for _ in range(3):
        server.clock.advance(1)
    assert server.inspect(READER).unacked == 0
    import_from(clients, {"bucket": storage.name, "text_format": {}})
    assert imported(server, 1) == [b"early"]


def test_a_missing_bucket_shows_until_it_is_there(clients: Clients, server: EmulatorServer, storage: Bucket) -> None:
    late = Bucket(f"{storage.name}-late", storage.server)
    import_from(clients, {"bucket": late.name, "text_format": {}})

    def state() -> str:
        found = clients.publisher.get_topic(topic=TOPIC)
        ingestion = found.ingestion_data_source_settings.cloud_storage.state
        assert (found.state is Topic.State.ACTIVE) == (ingestion.name == "ACTIVE")
        return str(ingestion.name)

    until(lambda: state() == "BUCKET_NOT_FOUND", state)
    storage.server.create_bucket(late.name)
    late.upload("file", b"there")
    assert imported(server, 1) == [b"there"]
    until(lambda: state() == "ACTIVE", state)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"no Avro", ({"avro_format": {}}, "avro_failure_reason")),
        (b"good\n\ngood", ({"text_format": {}}, "api_violation_reason")),
        (b"good\nbad\ngood", ({"text_format": {}}, "message_transformation_failure_reason")),
    ],
    ids=["avro", "api", "transform"],
)
def test_a_failure_is_an_event_and_the_rest_is_imported(
    clients: Clients, server: EmulatorServer, storage: Bucket, content: bytes, expected: tuple[dict[str, Any], str]
) -> None:
    source, field = expected
    code = "function f(message, metadata) { if (message.data == 'bad') throw new Error('no'); return message; }"
    topic = {"name": TOPIC, "message_transforms": [{"javascript_udf": {"function_name": "f", "code": code}}]}
    clients.publisher.update_topic({"topic": topic, "update_mask": {"paths": ["message_transforms"]}})
    generation = storage.upload("file", content)
    import_from(clients, {"bucket": storage.name, **source}, platform_logs_settings={"severity": "WARNING"})
    until(lambda: server.ingestion_failures, "the event")
    (event,) = server.ingestion_failures
    failure = event.cloud_storage_failure
    assert (event.topic, failure.bucket, failure.object_name) == (TOPIC, storage.name, "file")
    assert failure.object_generation == generation
    assert failure.WhichOneof("reason") == field
    assert imported(server, content.count(b"good")) == [b"good"] * content.count(b"good")


@pytest.mark.parametrize("values", ["int", "string"], ids=["attributes of numbers", "attributes that are no map"])
def test_an_avro_file_of_another_make_is_an_event_and_later_files_are_imported(
    clients: Clients, server: EmulatorServer, storage: Bucket, values: str
) -> None:
    field = {"type": "map", "values": "int"} if values == "int" else "string"
    fields = [{"name": "data", "type": "bytes"}, {"name": "attributes", "type": field}]
    schema = {"type": "record", "name": "M", "fields": fields}
    attributes: Any = {"a": 1} if values == "int" else "a=1"
    storage.upload("a.avro", avro(schema, {"data": b"one", "attributes": attributes}))
    storage.upload("b.avro", avro({**schema, "fields": fields[:1]}, {"data": b"two"}))
    source = {"bucket": storage.name, "pubsub_avro_format": {}}
    import_from(clients, source, platform_logs_settings={"severity": "WARNING"})
    assert imported(server, 1) == [b"two"]
    assert [event.cloud_storage_failure.object_name for event in server.ingestion_failures] == ["a.avro"]


def test_a_restart_does_not_import_again(storage: Bucket, tmp_path: Path) -> None:
    storage.upload("file", b"once")
    for run in range(3):
        with EmulatorServer(data_dir=tmp_path) as server:
            clients = connect(server)
            if run == 0:
                clients.publisher.create_topic(name=TOPIC)
                clients.subscriber.create_subscription(name=READER, topic=TOPIC)
                import_from(clients, {"bucket": storage.name, "text_format": {}})
            assert imported(server, 1) == [b"once"]
            clients.channel.close()
