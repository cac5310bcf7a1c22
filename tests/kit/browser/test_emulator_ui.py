"""The emulator's own console in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poolhouse_pubsub import protos
from poolhouse_pubsub.server import EmulatorServer
from tests.kit.browser.chromium import Page, chromium

pytestmark = pytest.mark.xdist_group("console")

#: Does something wherever it is taken for HTML.
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
PATHS = ("/ui", "/ui/topics/p/orders", "/ui/subscriptions/p/orders-worker", "/ui/schemas", "/ui/clients", "/ui/faults")


@pytest.fixture(scope="module")
def server() -> Iterator[EmulatorServer]:
    topology = {"topics": ["orders"], "subscriptions": [{"name": "orders-worker", "topic": "orders"}]}
    with EmulatorServer(topology=topology, project="p", ui=True) as server:
        yield server


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Page]]:
    with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture
def page(tab: Callable[[], Page]) -> Iterator[Page]:
    page = tab()
    yield page
    assert page.complaints == []


def test_a_message_is_published_seen_pulled_and_acknowledged(page: Page, server: EmulatorServer) -> None:
    page.open(f"http://{server.address}/ui")
    page.click("a[href='/ui/topics/p/orders']")
    page.fill("textarea[name=data]", HOSTILE)
    page.fill("textarea[name=attributes]", f"kind={HOSTILE}")
    page.click("form[action$='/publish'] button")
    page.until_text("Published.")
    page.click("a[href='/ui/subscriptions/p/orders-worker']")
    page.until("document.querySelector('.message .badge.ready') !== null")
    page.click("form[action$='/pull'] button")
    page.until("document.querySelector('.message .badge.leased') !== null")
    page.click(".message summary")
    page.until_text(HOSTILE)
    page.click("form[action$='/ack'] button")
    page.until_text("No messages.")
    assert page.tell("document.querySelector('main img, main script')") is None
    assert "owned" not in page.tell("document.title")


def test_an_open_page_follows_what_happens_and_keeps_what_is_unfolded(page: Page, server: EmulatorServer) -> None:
    page.open(f"http://{server.address}/ui/subscriptions/p/orders-worker")
    publish(server, b"first")
    page.until("document.querySelectorAll('.message').length === 1")
    page.click(".message summary")
    page.tell("document.querySelector('.message summary').focus()")
    publish(server, b"second")
    page.until("document.querySelectorAll('.message').length === 2")
    assert page.tell("[...document.querySelectorAll('.message')].map(one => one.open)") == [True, False]
    assert page.tell("document.activeElement.parentElement === document.querySelector('.message')")
    page.click("form[action$='/purge'] button")
    page.until_text("No messages.")


def test_the_clock_and_faults_are_commanded(page: Page, server: EmulatorServer) -> None:
    page.open(f"http://{server.address}/ui/faults")
    page.click("button[name='seconds'][value='10']")
    page.until_text("10 s ahead of this machine")
    page.fill("select[name=kind]", "latency")
    page.fill("form[action='/ui/faults'] input[name=seconds]", "0.01")
    page.click("form[action='/ui/faults'] button.solid")
    page.until_text("The fault is set.")
    page.click("form[action='/ui/faults/clear'] button")
    page.until_text("None is set.")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_is_usable_on_a_phone_and_by_keyboard(
    page: Page, server: EmulatorServer, dark: bool, tmp_path: Path
) -> None:
    page.look_like(width=390, dark=dark)
    publish(server, b"a" * 300)
    for number, path in enumerate(PATHS):
        page.open(f"http://{server.address}{path}")
        assert page.tell("document.documentElement.scrollWidth <= innerWidth"), path
        nameless = page.tell(
            "[...document.querySelectorAll('a, button, summary, input:not([type=hidden]), select, textarea')]"
            ".filter(one => !(one.textContent.trim() || one.labels?.length || one.ariaLabel)).map(one => one.outerHTML)"
        )
        assert nameless == [], path
        assert page.tell("[...document.querySelectorAll('[tabindex]')].every(one => one.tabIndex === 0)")
        page.picture(tmp_path / f"{number}.png")


def publish(server: EmulatorServer, data: bytes) -> None:
    request = protos.PublishRequest(topic="projects/p/topics/orders", messages=[{"data": data}])
    server.call(lambda: server.core.service.publisher.publish(request))
