"""Files and the page of a task in a real browser: what is dropped, what is shown, what stays folded."""

from __future__ import annotations

import base64

import pytest
from playwright.sync_api import Page, expect

from tests.kit.browser.looks import expect_status
from tests.kit.browser.world import World

pytestmark = pytest.mark.xdist_group("console")

#: One pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_a_file_is_dropped_looked_at_and_processed(page: Page) -> None:
    page.goto("/files")
    dropped = page.evaluate_handle(
        "() => { const data = new DataTransfer();"
        " data.items.add(new File(['thing,grams\\napple,120\\n'], 'dropped.csv', {type: 'text/csv'})); return data; }"
    )
    page.dispatch_event("main", "drop", {"dataTransfer": dropped})
    expect(page.get_by_role("heading", name="dropped.csv")).to_be_visible()
    expect(page.get_by_role("cell", name="apple")).to_be_visible()
    page.get_by_text("Process with").click()
    page.get_by_role("link", name="file_processing").click()
    expect(page.get_by_role("textbox", name="filename")).to_have_value("dropped.csv")
    page.get_by_role("button", name="Submit").click()
    expect_status(page, "succeeded")
    page.get_by_role("link", name='"dropped.csv"').first.click()
    expect(page.get_by_role("cell", name="apple")).to_be_visible()


def test_images_are_shown_and_what_could_run_is_text(page: Page) -> None:
    page.goto("/files")
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload=\"document.title='owned'\"><script>alert(1)</script></svg>"
    page.get_by_label("Files", exact=True).set_input_files(
        [
            {"name": "one.png", "mimeType": "image/png", "buffer": PNG},
            {"name": "two.svg", "mimeType": "image/svg+xml", "buffer": svg},
        ]
    )
    page.get_by_role("textbox", name="Folder").fill("shown")
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("link", name="two.svg").click()
    expect(page.get_by_label("Content")).to_contain_text("<svg xmlns=")
    expect(page.locator("main svg, main img, main iframe")).to_have_count(0)
    page.get_by_role("link", name="shown").click()
    page.get_by_role("link", name="one.png").click()
    expect(page.locator(".picture img")).to_have_js_property("naturalWidth", 1)
    assert "owned" not in page.title()


def test_what_is_folded_stays_folded_while_the_timeline_grows(page: Page, world: World) -> None:
    page.goto(f"/tasks/{world.submit('sample.slow', duration_s=600)}")
    expect(page.locator(".gantt rect.running")).to_have_count(1)
    payload = page.get_by_label("Payload")
    payload.locator("summary").click()
    expect(payload.get_by_text("600")).to_be_hidden()
    took = page.locator(".gantt .took").first.inner_text()
    expect(page.locator(".gantt .took").first).not_to_have_text(took)
    expect(payload.get_by_text("600")).to_be_hidden()
    page.get_by_role("button", name="Cancel").click()
    expect_status(page, "cancelled")
