"""The API's reference page in a real browser, which reaches nothing but the service."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.kit.integration.api.conftest import ApiProcess, start_api

__all__ = ["start_api"]


def test_the_reference_shows_every_call_with_no_network(
    start_api: Callable[..., ApiProcess], new_page: Callable[..., Page]
) -> None:
    page = new_page()
    page.goto(f"{start_api().url}/docs")
    for call in ("/submit-task", "/tasks/{task_id}", "/files", "/queues", "/dead-letters"):
        expect(page.locator(f'[data-path="{call}"]').first).to_be_visible()
