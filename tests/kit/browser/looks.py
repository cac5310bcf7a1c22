"""What holds for every page, wide and narrow, light and dark; and pictures of it, for people to look at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

WIDE, NARROW = 1280, 390
_AXE = Axe()
#: axe-core's rules. Colours are all that a dark page has of its own.
ALL: Mapping[str, object] = {"resultTypes": ["violations"]}
COLOURS = {**ALL, "runOnly": ["color-contrast"]}


def expect_status(page: Page, status: str) -> None:
    """Wait until the page of a task shows a status."""
    expect(page.locator("h1 .badge")).to_have_text(status)


def look_at(page: Page, paths: Mapping[str, str], *, folder: Path) -> None:
    """Visit pages: axe-core finds nothing wrong, and nothing is wider than a phone.

    Args:
        page: a tab.
        paths: the paths of the pages, by the names of their pictures.
        folder: where the pictures go; below SCREENSHOTS where that is set.
    """
    pictures = Path(os.environ.get("SCREENSHOTS") or folder)
    for name, path in paths.items():
        page.goto(path)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for width in (NARROW, WIDE):
                page.set_viewport_size({"width": width, "height": 900})
                _expect_to_fit(page, f"{name} at {width} px")
                page.screenshot(path=pictures / f"{name}-{scheme}-{width}.png", full_page=True)
        assert page.evaluate("document.getAnimations().length") == 0, name
        _expect_accessible(page, name, options=COLOURS)
        # What is folded counts too: a menu that opens beyond the edge can't be read.
        page.emulate_media(color_scheme="light")
        page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
        for width in (NARROW, WIDE):
            page.set_viewport_size({"width": width, "height": 900})
            _expect_to_fit(page, f"{name} at {width} px, unfolded")
        _expect_accessible(page, f"{name}, unfolded", options=ALL)


def _expect_to_fit(page: Page, what: str) -> None:
    beyond = page.evaluate("""() => [...document.querySelectorAll("main *")].filter(one => {
        const { left, right, width } = one.getBoundingClientRect();
        return width && one.checkVisibility() && (left < 0 || right > innerWidth) && !one.closest(".scroll, .sr, pre");
    }).map(one => one.outerHTML.slice(0, 200))""")
    assert beyond == [], f"{what}: {beyond}"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what


def _expect_accessible(page: Page, what: str, *, options: Mapping[str, object]) -> None:
    found = _AXE.run(page, options=dict(options))
    assert found.violations_count == 0, f"{what}: {found.generate_report()}"
