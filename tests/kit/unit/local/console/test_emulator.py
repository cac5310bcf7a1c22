"""The emulator's page: what our emulator reports and does, and why there is none elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from poolhouse.local.console.app import create_app
from poolhouse.local.console.stacks import LocalStack
from poolhouse_pubsub import protos
from poolhouse_pubsub.control.faults import Fault
from poolhouse_pubsub.server import EmulatorServer
from tests.kit.unit.local.console.conftest import HOST, Shown, words


@pytest.fixture
def server(shown: Shown) -> Iterator[EmulatorServer]:
    """Our emulator with a backlog of two, as that of the stack that is shown."""
    topology = {"topics": ["orders"], "subscriptions": [{"name": "orders-workers", "topic": "orders"}]}
    with EmulatorServer(topology=topology, project="p", ui=True) as server:
        request = protos.PublishRequest(topic="projects/p/topics/orders", messages=[{"data": b"1"}, {"data": b"2"}])
        server.call(lambda: server.core.service.publisher.publish(request))
        shown.backend.where = replace(shown.backend.where, pubsub_host=server.address)
        yield server


def test_subscriptions_lead_to_their_messages_and_topics_to_the_form_that_publishes(
    shown: Shown, server: EmulatorServer
) -> None:
    page = shown.page("/emulator")
    assert f'href="http://{server.address}/ui/subscriptions/p/orders-workers"' in page
    assert f'href="http://{server.address}/ui/topics/p/orders"' in page
    assert "orders-workers orders 2 0 0" in words(page)


@pytest.mark.parametrize(
    ("moves_all", "said"),
    [(True, "It moves the whole stack"), (False, "Workers and scheduler keep this machine’s time")],
)
def test_the_clock_is_moved_and_the_page_says_what_moves_with_it(
    shown: Shown, server: EmulatorServer, moves_all: bool, said: str
) -> None:
    shown.backend.clock_moves_all = moves_all
    assert "It runs with this machine’s." in shown.text("/emulator")
    before = server.core.emulator.clock.now()
    page = words(shown.page(shown.post("/emulator/clock", by="2h")))
    assert server.core.emulator.clock.now() - before >= 7200
    assert "The clock is 2.0 h further." in page
    assert "2.0 h ahead of this machine." in page
    assert said in page


@pytest.mark.parametrize("by", ["", "soon", "-5m"])
def test_what_is_no_length_of_time_moves_nothing(shown: Shown, server: EmulatorServer, by: str) -> None:
    assert "90s, 15m, 2h or 3d" in shown.page(shown.post("/emulator/clock", by=by))
    assert "It runs with this machine’s." in shown.text("/emulator")


def test_faults_are_listed_and_cleared(shown: Shown, server: EmulatorServer) -> None:
    server.call(lambda: server.core.faults.add(Fault(kind="error", probability=0.25, methods=("Publish",))))
    assert "error 25 %, everywhere, Publish, happened 0 times" in shown.text("/emulator")
    assert "None is set." in shown.page(shown.post("/emulator/faults/clear"))


def test_where_the_emulator_is_googles_the_page_says_what_is_missing(shown: Shown) -> None:
    # Like Google's emulator, it answers and has no administration.
    shown.backend.where = replace(shown.backend.where, pubsub_host=shown.served.api.url.removeprefix("http://"))
    text = shown.text("/emulator")
    assert "is Google’s emulator" in text
    assert "--pubsub poolhouse" in text


def test_an_emulator_that_does_not_answer_is_named(shown: Shown) -> None:
    assert "the Pub/Sub emulator does not answer at" in shown.text("/emulator", status=502)


def test_ages_follow_a_clock_that_was_moved(shown: Shown) -> None:
    task_id = shown.served.api.post("/tasks", {"task_type": "anything", "payload": {}})["task_id"]
    moved = LocalStack(shown.find, state_dir=shown.state_dir, now=lambda: shown.served.clock() + timedelta(hours=2))
    assert "2.0 h ago" in TestClient(create_app(moved), base_url=f"http://{HOST}").get(f"/tasks/{task_id}").text
