"""The two servers as testcontainers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage
from testcontainers.core.config import testcontainers_config

from poolhouse.local.compose.engine import docker
from poolhouse.local.errors import StackError
from poolhouse.local.provision import realise
from poolhouse.pipeline.config import settings
from poolhouse.testing.containers import Answers, PubSubContainer, StorageContainer, containers
from poolhouse.testing.servers import Servers
from tests.kit.engine import require_engine

pytestmark = [pytest.mark.xdist_group("containers"), pytest.mark.slow]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    require_engine()
    with containers() as started:
        yield started


@pytest.fixture
def environment(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", servers.pubsub_host)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", servers.storage_url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "containers")
    monkeypatch.setenv("BUCKET_NAME", "containers")


@pytest.mark.usefixtures("environment")
def test_a_message_comes_through_googles_emulator() -> None:
    topic, subscription = "projects/containers/topics/one", "projects/containers/subscriptions/one"
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    publisher.create_topic(name=topic)
    subscriber.create_subscription(name=subscription, topic=topic)
    publisher.publish(topic, b"hello").result(timeout=30)
    pulled = subscriber.pull(subscription=subscription, max_messages=1, timeout=30)
    assert [received.message.data for received in pulled.received_messages] == [b"hello"]
    subscriber.close()


@pytest.mark.usefixtures("environment")
def test_the_topology_is_made_once_and_then_found() -> None:
    loaded = settings.load()
    first, second = realise(loaded), realise(loaded)
    assert len(first.created) == 1 + 4 * len(loaded.topology.queues)
    assert (second.created, second.updated) == ((), ())


@pytest.mark.usefixtures("environment")
def test_an_object_is_read_by_the_link_that_the_server_gives(servers: Servers) -> None:
    client = storage.Client(project="containers", credentials=AnonymousCredentials())
    bucket = client.create_bucket("links")
    bucket.blob("a/b.txt").upload_from_string("hello")
    blob = bucket.get_blob("a/b.txt")  # with its properties, the download link among them
    assert blob.media_link.startswith(servers.storage_url)
    assert blob.download_as_bytes() == b"hello"


@pytest.mark.usefixtures("environment")
def test_an_upload_session_has_an_address_that_works_from_here(servers: Servers) -> None:
    client = storage.Client(project="containers", credentials=AnonymousCredentials())
    blob = client.create_bucket("sessions").blob("big.bin")
    session = blob.create_resumable_upload_session(content_type="application/octet-stream", size=5)
    assert session.startswith(servers.storage_url)
    assert requests.put(session, data=b"hello", timeout=10).ok
    assert blob.download_as_bytes() == b"hello"


def test_both_are_locked_down_and_stop_at_once() -> None:
    require_engine()
    for made in (PubSubContainer(), StorageContainer()):
        with made as container:
            inspected = container.get_wrapped_container()
            inspected.reload()
            host = inspected.attrs["HostConfig"]
            assert inspected.attrs["Config"]["User"] == "65532:65532"
            assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
            published = [entry for entries in inspected.ports.values() for entry in entries or ()]
            assert {entry["HostIp"] for entry in published} == {"127.0.0.1"}
            started = time.monotonic()
            inspected.stop(timeout=20)
            # They end by SIGTERM, long before SIGKILL would come; the bound is for a machine that is busy.
            assert time.monotonic() - started < 5


def test_containers_are_reached_by_the_host_that_testcontainers_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    require_engine()
    gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    monkeypatch.setattr(testcontainers_config, "tc_host_override", gateway)
    with StorageContainer() as server:
        assert server.url == f"http://{gateway}:{server.port}"
        client = storage.Client(
            project="containers", credentials=AnonymousCredentials(), client_options={"api_endpoint": server.url}
        )
        blob = client.create_bucket("override").blob("big.bin")
        assert blob.create_resumable_upload_session(size=5).startswith(server.url)


def test_a_container_that_ends_while_it_starts_is_reported_at_once_with_its_log() -> None:
    require_engine()
    broken = PubSubContainer().with_command(["sh", "-c", "echo no jar here >&2; exit 3"])
    started = time.monotonic()
    with pytest.raises(StackError, match="ended while it started:\nno jar here"), broken:
        pass
    assert time.monotonic() - started < 20


def test_a_server_that_never_answers_is_given_up() -> None:
    require_engine()
    silent = PubSubContainer().with_command(["sleep", "60"])
    silent.waiting_for(Answers(silent.port, "/", timeout_s=0.5))
    with pytest.raises(StackError, match=r"did not answer in 0 s:\n\(it wrote nothing\)"), silent:
        pass
