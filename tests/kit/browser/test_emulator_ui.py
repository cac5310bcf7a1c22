"""The emulator's own console in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from poolhouse_pubsub import protos
from poolhouse_pubsub.server import EmulatorServer
from tests.kit.browser.looks import look_at

pytestmark = pytest.mark.xdist_group("console")

#: Does something wherever it is taken for HTML.
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
PATHS = {
    "emulator-overview": "/ui",
    "emulator-topic": "/ui/topics/p/orders",
    "emulator-subscription": "/ui/subscriptions/p/orders-worker",
    "emulator-schemas": "/ui/schemas",
    "emulator-clients": "/ui/clients",
    "emulator-faults": "/ui/faults",
}


@pytest.fixture(scope="module")
def server() -> Iterator[EmulatorServer]:
    topology = {"topics": ["orders"], "subscriptions": [{"name": "orders-worker", "topic": "orders"}]}
    with EmulatorServer(topology=topology, project="p", ui=True) as server:
        yield server


@pytest.fixture
def page(new_page: Callable[..., Page], server: EmulatorServer) -> Page:
    return new_page(base_url=f"http://{server.address}")


def test_a_message_is_published_seen_pulled_and_acknowledged(page: Page) -> None:
    page.goto("/ui")
    page.get_by_role("link", name="orders", exact=True).first.click()
    page.locator("textarea[name=data]").fill(HOSTILE)
    page.locator("textarea[name=attributes]").fill(f"kind={HOSTILE}")
    page.locator("form[action$='/publish'] button").click()
    expect(page.get_by_role("status")).to_contain_text(["Published."])
    page.get_by_role("link", name="orders-worker").click()
    message = page.locator(".message")
    expect(message.locator(".badge")).to_have_text("ready")
    page.locator("form[action$='/pull'] button").click()
    expect(message.locator(".badge")).to_have_text("leased")
    message.locator("summary").click()
    expect(message).to_contain_text(HOSTILE)
    page.locator("form[action$='/ack'] button").click()
    expect(page.get_by_text("No messages.")).to_be_visible()
    expect(page.locator("main img, main script")).to_have_count(0)
    assert "owned" not in page.title()


def test_an_open_page_follows_what_happens_and_keeps_what_is_unfolded(page: Page, server: EmulatorServer) -> None:
    page.goto("/ui/subscriptions/p/orders-worker")
    messages = page.locator(".message")
    publish(server, b"first")
    expect(messages).to_have_count(1)
    messages.locator("summary").click()
    publish(server, b"second")
    expect(messages).to_have_count(2)
    assert [message.get_attribute("open") for message in messages.all()] == ["", None]
    expect(messages.first.locator("summary")).to_be_focused()
    page.get_by_text("Purge…").click()
    page.locator("form[action$='/purge'] button").click()
    expect(page.get_by_text("No messages.")).to_be_visible()


def test_the_clock_and_faults_are_commanded(page: Page) -> None:
    page.goto("/ui/faults")
    page.get_by_role("button", name="10 s").click()
    expect(page.get_by_text("10 s ahead of this machine")).to_be_visible()
    page.get_by_text("Set a fault…").click()
    form = page.locator("form[action='/ui/faults']")
    form.get_by_label("Kind").select_option("latency")
    form.get_by_placeholder("of a latency or delay").fill("0.01")
    form.get_by_role("button").click()
    expect(page.get_by_text("The fault is set.")).to_be_visible()
    page.locator("form[action='/ui/faults/clear'] button").click()
    expect(page.get_by_text("None is set.")).to_be_visible()


def test_every_page_passes_axe_light_and_dark_wide_and_on_a_phone(
    page: Page, server: EmulatorServer, tmp_path: Path
) -> None:
    publish(server, b"a" * 300)
    look_at(page, PATHS, folder=tmp_path)


def publish(server: EmulatorServer, data: bytes) -> None:
    request = protos.PublishRequest(topic="projects/p/topics/orders", messages=[{"data": data}])
    server.call(lambda: server.core.service.publisher.publish(request))
