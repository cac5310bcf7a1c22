"""Export subscriptions write to a real storage server and to files of tables; their states and their recovery."""

from __future__ import annotations

import io
import json
import re
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fastavro
import pytest
from google.pubsub_v1.types import Subscription

from poolhouse.local.storage.fake_gcs import FakeGcs
from poolhouse_pubsub.server import EmulatorServer
from tests.kit.conformance.semantics.targets import Clients, Target
from tests.kit.waiting import until

TOPIC = "projects/p/topics/orders"
EXPORT = "projects/p/subscriptions/export"


@pytest.fixture
def bucket(fake_gcs: FakeGcs, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_gcs.url)
    name = f"exports-{secrets.token_hex(5)}"
    fake_gcs.create_bucket(name)
    return name


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmulatorServer]:
    with EmulatorServer(export_dir=tmp_path) as running:
        yield running


@pytest.fixture
def clients(server: EmulatorServer) -> Iterator[Clients]:
    made = Clients(Target("ours", server.address, server.clock.advance))
    made.publisher.create_topic(name=TOPIC)
    yield made
    made.channel.close()


def unacked(server: EmulatorServer) -> int:
    return server.inspect(EXPORT).unacked


def state(clients: Clients) -> Subscription.State:
    return clients.subscriber.get_subscription(subscription=EXPORT).state


def write(clients: Clients, *data: str, key: str = "", **attributes: str) -> list[str]:
    messages = [{"data": each.encode(), "ordering_key": key, "attributes": attributes} for each in data]
    return list(clients.publisher.publish(topic=TOPIC, messages=messages).message_ids)


def taken(server: EmulatorServer, count: int) -> None:
    """Waits until the export has so many messages in its batch."""
    until(lambda: server.inspect(EXPORT).outstanding == count, f"{count} messages with the export")


def test_text_files_hold_a_line_for_each_message(
    clients: Clients, server: EmulatorServer, bucket: str, fake_gcs: FakeGcs
) -> None:
    config = {
        "bucket": bucket,
        "filename_prefix": "logs/",
        "filename_suffix": ".txt",
        "filename_datetime_format": "YYYY/MM/DD/hh_mm_ssZ",
        "max_duration": {"seconds": 60},
    }
    made = clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "cloud_storage_config": config})
    assert made.cloud_storage_config.max_bytes == 0
    write(clients, "one", "two")
    write(clients, "three")
    taken(server, 3)
    assert fake_gcs.list(bucket) == []
    server.clock.advance(60)
    until(lambda: unacked(server) == 0, "0 messages left")
    (name,) = fake_gcs.list(bucket)
    assert re.fullmatch(r"logs/\d{4}/\d\d/\d\d/\d\d_\d\d_\d\dZ_[0-9a-f]{8}\.txt", name)
    assert fake_gcs.download(bucket, name) == b"one\ntwo\nthree\n"


def test_a_file_ends_when_it_is_full(clients: Clients, server: EmulatorServer, bucket: str, fake_gcs: FakeGcs) -> None:
    config = {"bucket": bucket, "max_messages": 1000}
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "cloud_storage_config": config})
    for start in range(0, 1500, 500):
        write(clients, *[str(number) for number in range(start, start + 500)])
    until(lambda: unacked(server) == 500, "500 messages left")
    (name,) = fake_gcs.list(bucket)
    assert len((fake_gcs.download(bucket, name) or b"").splitlines()) == 1000
    clients.subscriber.delete_subscription(subscription=EXPORT)
    config = {"bucket": bucket, "max_bytes": 1000}
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "cloud_storage_config": config})
    write(clients, "x" * 600)
    taken(server, 1)
    assert len(fake_gcs.list(bucket)) == 1
    write(clients, "x" * 600)
    until(lambda: unacked(server) == 0, "0 messages left")
    assert len(fake_gcs.list(bucket)) == 2


@pytest.mark.parametrize("metadata", [False, True])
def test_avro_files_hold_data_and_metadata(
    clients: Clients, server: EmulatorServer, bucket: str, fake_gcs: FakeGcs, metadata: bool
) -> None:
    config = {"bucket": bucket, "avro_config": {"write_metadata": metadata}}
    clients.subscriber.create_subscription(
        {"name": EXPORT, "topic": TOPIC, "cloud_storage_config": config, "enable_message_ordering": True}
    )
    (id,) = write(clients, "one", key="k", a="b")
    taken(server, 1)
    server.clock.advance(300)
    until(lambda: unacked(server) == 0, "0 messages left")
    (name,) = fake_gcs.list(bucket)
    (record,) = list(fastavro.reader(io.BytesIO(fake_gcs.download(bucket, name) or b"")))
    assert isinstance(record, dict)
    assert record.pop("data") == b"one"
    if metadata:
        assert abs(record.pop("publish_time").timestamp() - server.clock.now()) < 400
        attributes = {"a": "b", "ordering_key": "k"}
        assert record == {"subscription_name": EXPORT, "message_id": id, "attributes": attributes}
    else:
        assert record == {}


def test_avro_files_may_have_the_schema_of_the_topic(
    clients: Clients, server: EmulatorServer, bucket: str, fake_gcs: FakeGcs
) -> None:
    definition = json.dumps({"type": "record", "name": "R", "fields": [{"name": "id", "type": "int"}]})
    schema = {"type_": "AVRO", "definition": definition}
    made = clients.schemas.create_schema(parent="projects/p", schema=schema, schema_id="record")
    topic = {"name": TOPIC, "schema_settings": {"schema": made.name, "encoding": "JSON"}}
    clients.publisher.update_topic({"topic": topic, "update_mask": {"paths": ["schema_settings"]}})
    config = {"bucket": bucket, "avro_config": {"use_topic_schema": True}}
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "cloud_storage_config": config})
    write(clients, '{"id": 7}', '{"id": 8}')
    taken(server, 2)
    server.clock.advance(300)
    until(lambda: unacked(server) == 0, "0 messages left")
    (name,) = fake_gcs.list(bucket)
    assert list(fastavro.reader(io.BytesIO(fake_gcs.download(bucket, name) or b""))) == [{"id": 7}, {"id": 8}]


def test_a_missing_bucket_shows_and_nothing_is_lost_until_it_is_there(
    clients: Clients, server: EmulatorServer, bucket: str, fake_gcs: FakeGcs
) -> None:
    late = f"{bucket}-late"
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "cloud_storage_config": {"bucket": late}})
    until(lambda: state(clients) is Subscription.State.RESOURCE_ERROR, "the state RESOURCE_ERROR")
    found = clients.subscriber.get_subscription(subscription=EXPORT)
    assert found.cloud_storage_config.state.name == "NOT_FOUND"
    write(clients, "one")
    labels = {"name": EXPORT, "labels": {"a": "b"}}
    changed = clients.subscriber.update_subscription({"subscription": labels, "update_mask": {"paths": ["labels"]}})
    assert changed.cloud_storage_config.state.name == "NOT_FOUND"
    fake_gcs.create_bucket(late)

    def recovered() -> bool:
        server.clock.advance(300)
        return unacked(server) == 0

    until(recovered, "the recovery")
    assert [fake_gcs.download(late, name) for name in fake_gcs.list(late)] == [b"one\n"]
    assert state(clients) is Subscription.State.ACTIVE


def test_without_a_storage_server_the_state_says_so(
    clients: Clients, server: EmulatorServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    clients.subscriber.create_subscription(
        {"name": EXPORT, "topic": TOPIC, "cloud_storage_config": {"bucket": "some-bucket"}}
    )
    until(lambda: state(clients) is Subscription.State.RESOURCE_ERROR, "the state RESOURCE_ERROR")
    assert "STORAGE_EMULATOR_HOST is not set" in caplog.text


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_bigquery_rows_go_to_a_file(clients: Clients, server: EmulatorServer, tmp_path: Path) -> None:
    config = {"table": "p.sales.orders", "write_metadata": True}
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "bigquery_config": config})
    (id,) = write(clients, "one", a="b")
    until(lambda: unacked(server) == 0, "0 messages left")
    (row,) = lines(tmp_path / "bigquery" / "p.sales.orders.ndjson")
    assert row.pop("publish_time")
    assert row == {"data": "one", "subscription_name": EXPORT, "message_id": id, "attributes": '{"a": "b"}'}


def test_what_is_no_row_becomes_a_dead_letter_and_the_others_are_written(
    clients: Clients, server: EmulatorServer, tmp_path: Path
) -> None:
    dead, letters = "projects/p/topics/dead", "projects/p/subscriptions/letters"
    clients.publisher.create_topic(name=dead)
    clients.subscriber.create_subscription(name=letters, topic=dead)
    clients.subscriber.create_subscription(
        {
            "name": EXPORT,
            "topic": TOPIC,
            "bigquery_config": {"table": "p.sales.orders", "use_table_schema": True},
            "dead_letter_policy": {"dead_letter_topic": dead, "max_delivery_attempts": 5},
        }
    )
    write(clients, '{"id": 1}', "no JSON", '{"id": 2}')
    until(lambda: state(clients) is Subscription.State.RESOURCE_ERROR, "the state RESOURCE_ERROR")
    found = clients.subscriber.get_subscription(subscription=EXPORT)
    assert found.bigquery_config.state.name == "SCHEMA_MISMATCH"
    assert lines(tmp_path / "bigquery" / "p.sales.orders.ndjson") == [{"id": 1}, {"id": 2}]

    def is_dead() -> bool:
        server.clock.advance(60)
        return unacked(server) == 0

    until(is_dead, "the dead letter")
    (letter,) = clients.subscriber.pull(subscription=letters, max_messages=9).received_messages
    assert letter.message.data == b"no JSON"
    assert "not JSON" in letter.message.attributes["CloudPubSubDeadLetterSourceDeliveryErrorMessage"]
    write(clients, '{"id": 3}')
    until(lambda: state(clients) is Subscription.State.ACTIVE, "the state ACTIVE")


@pytest.mark.parametrize(
    ("mapping", "row"),
    [
        (None, {"families": {"data": {"": '{"id": 7, "name": "x"}'}}}),
        (
            {"key_fields": ["name", "id"], "delimiter": b"#"},
            {"row_key": "x#7", "families": {"data": {"id": 7, "name": "x"}}},
        ),
    ],
    ids=["plain", "mapped"],
)
def test_bigtable_rows_go_to_a_file(
    clients: Clients, server: EmulatorServer, tmp_path: Path, mapping: Any, row: dict[str, Any]
) -> None:
    config: dict[str, Any] = {"table": "projects/p/instances/i/tables/orders"}
    if mapping:
        config["column_family_mapping"] = {"delimited_key": mapping}
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "bigtable_config": config})
    (id,) = write(clients, '{"id": 7, "name": "x"}')
    until(lambda: unacked(server) == 0, "0 messages left")
    (found,) = lines(tmp_path / "bigtable" / "projects.p.instances.i.tables.orders.ndjson")
    assert found | row == found
    if not mapping:
        assert re.fullmatch(rf"{EXPORT}#[0-9a-f]+#{id}", found["row_key"])


def test_a_subscription_that_stops_exporting_can_be_pulled(
    clients: Clients, server: EmulatorServer, bucket: str
) -> None:
    config = {"bucket": bucket}
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "cloud_storage_config": config})
    write(clients, "one")
    taken(server, 1)
    mask = {"paths": ["cloud_storage_config"]}
    clients.subscriber.update_subscription({"subscription": {"name": EXPORT}, "update_mask": mask})
    (received,) = clients.subscriber.pull(subscription=EXPORT, max_messages=1).received_messages
    assert received.message.data == b"one"


class BigQuery(BaseHTTPRequestHandler):
    """As much of BigQuery's REST as a subscription uses: one table with one column, which refuses others."""

    rows: ClassVar[list[Any]] = []
    #: How often it was asked for the table.
    looks: ClassVar[int] = 0
    #: While it is set, the table is not there.
    gone: ClassVar[bool] = False
    #: While it is set, an insert gets half an answer.
    broken: ClassVar[bool] = False
    #: Inserts are answered once it is set.
    answers: ClassVar[threading.Event]

    def do_GET(self) -> None:
        type(self).looks += 1
        known = not self.gone and self.path == "/bigquery/v2/projects/p/datasets/sales/tables/orders"
        self._answer(200 if known else 404, {"schema": {"fields": [{"name": "id", "type": "INT64"}]}})

    def do_POST(self) -> None:
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["rows"]
        self.answers.wait(30)
        if self.broken:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"{")
            return
        wrong = [place for place, row in enumerate(rows) if set(row["json"]) != {"id"}]
        self.rows.extend(row["json"] for place, row in enumerate(rows) if place not in wrong)
        errors = [{"index": place, "errors": [{"reason": "invalid", "message": "no such field"}]} for place in wrong]
        self._answer(200, {"insertErrors": errors} if errors else {})

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def bigquery(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[BigQuery]]:
    BigQuery.rows, BigQuery.looks, BigQuery.gone, BigQuery.broken = [], 0, False, False
    BigQuery.answers = threading.Event()
    BigQuery.answers.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), BigQuery)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"127.0.0.1:{server.server_port}")
    yield BigQuery
    BigQuery.answers.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("drops", [False, True])
def test_bigquery_rows_go_to_an_emulator_of_it(
    clients: Clients, server: EmulatorServer, bigquery: type[BigQuery], drops: bool
) -> None:
    config = {"table": "p.sales.orders", "use_table_schema": True, "drop_unknown_fields": drops}
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "bigquery_config": config})
    write(clients, '{"id": 1}', '{"id": 2, "other": 3}', '{"id": 4}')
    if drops:
        until(lambda: unacked(server) == 0, "0 messages left")
        assert bigquery.rows == [{"id": 1}, {"id": 2}, {"id": 4}]
    else:
        until(lambda: state(clients) is Subscription.State.RESOURCE_ERROR, "the state RESOURCE_ERROR")
        assert bigquery.rows == [{"id": 1}, {"id": 4}]
        assert unacked(server) == 1
        assert "no such field" in server.inspect(EXPORT).delivery_error


def test_a_table_that_bigquery_does_not_have_is_not_found(
    clients: Clients, server: EmulatorServer, bigquery: type[BigQuery]
) -> None:
    config = {"table": "p.sales.absent"}
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "bigquery_config": config})
    until(lambda: state(clients) is Subscription.State.RESOURCE_ERROR, "the state RESOURCE_ERROR")
    found = clients.subscriber.get_subscription(subscription=EXPORT)
    assert found.bigquery_config.state.name == "NOT_FOUND"


def test_a_table_that_is_back_is_not_asked_for_again_and_again(
    clients: Clients, server: EmulatorServer, bigquery: type[BigQuery]
) -> None:
    bigquery.gone = True
    config = {"table": "p.sales.orders", "use_table_schema": True}
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "bigquery_config": config})
    until(lambda: state(clients) is Subscription.State.RESOURCE_ERROR, "the state RESOURCE_ERROR")
    bigquery.gone = False
    server.clock.advance(60)
    until(lambda: state(clients) is Subscription.State.ACTIVE, "the state ACTIVE")
    looks = bigquery.looks
    write(clients, '{"id": 1}')
    until(lambda: unacked(server) == 0, "0 messages left")
    assert bigquery.looks == looks


def test_an_answer_that_breaks_off_is_tried_again(
    clients: Clients, server: EmulatorServer, bigquery: type[BigQuery]
) -> None:
    bigquery.broken = True
    config = {"table": "p.sales.orders", "use_table_schema": True}
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "bigquery_config": config})
    write(clients, '{"id": 1}')
    until(lambda: state(clients) is Subscription.State.RESOURCE_ERROR, "the state RESOURCE_ERROR")
    bigquery.broken = False

    def recovered() -> bool:
        server.clock.advance(60)
        return unacked(server) == 0

    until(recovered, "the recovery")


def test_what_is_being_written_when_the_export_ends_can_be_pulled(
    clients: Clients, server: EmulatorServer, bigquery: type[BigQuery]
) -> None:
    bigquery.answers.clear()
    config = {"table": "p.sales.orders", "use_table_schema": True}
    clients.subscriber.create_subscription({"name": EXPORT, "topic": TOPIC, "bigquery_config": config})
    write(clients, '{"id": 1}')
    taken(server, 1)
    mask = {"paths": ["bigquery_config"]}
    clients.subscriber.update_subscription({"subscription": {"name": EXPORT}, "update_mask": mask})
    (received,) = clients.subscriber.pull(subscription=EXPORT, max_messages=1).received_messages
    assert received.message.data == b'{"id": 1}'
