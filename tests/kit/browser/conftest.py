"""A real Chromium, driven with Playwright: the one of the system, not a build that Playwright downloads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, expect, sync_playwright

from tests.kit.browser.world import World, running

TIMEOUT_MS = 60_000
OPTIONS = (
    "--disable-dev-shm-usage",
    # Every host but this machine resolves to nothing: a page that needs a CDN shows as empty. One name is an attacker's
    # that resolves to this machine (DNS rebinding).
    "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)

expect.set_options(timeout=TIMEOUT_MS)


def program() -> str:
    """The browser; without one the test fails in CI, and is skipped elsewhere."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        message = "Chromium is not installed (Debian: apt-get install chromium)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    return found


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One for all of these tests; not longer, since Playwright's event loop runs as long in this thread."""
    path = program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What went wrong in the pages of this test: scripts, blocked by the policy or not, failed requests, dialogs."""
    return []


@pytest.fixture
def new_page(browser: Browser, complaints: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens tabs, each in a profile of its own; nothing that the test does may make them complain."""
    contexts: list[BrowserContext] = []

    def new(**options: Any) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: _heed(message, complaints))
        page.on("dialog", lambda dialog: _dismiss(dialog, complaints))
        return page

    yield new
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(new_page: Callable[..., Page], world: World) -> Page:
    """A tab of the console."""
    return new_page(base_url=world.console_url)


def _heed(message: ConsoleMessage, complaints: list[str]) -> None:
    if message.type == "error":
        complaints.append(f"{message.text} ({message.location['url']})")


def _dismiss(dialog: Dialog, complaints: list[str]) -> None:
    complaints.append(f"dialog: {dialog.message}")
    dialog.dismiss()


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The stack that all tests of the console share: those of the group `console`."""
    with running(tmp_path_factory.mktemp("console")) as world:
        yield world
