"""The pages of a list, and the links between them."""

from __future__ import annotations

import re

import pytest

from poolhouse.local.console.paging import Asked
from tests.kit.unit.local.console.conftest import Shown


def links(page: str) -> dict[str, str]:
    """The addresses of the links that look like buttons, by their texts."""
    found = re.findall(r'<a class="button" href="([^"]*)">([^<]*)</a>', page)
    return {text: address.replace("&amp;", "&") for address, text in found}


def test_an_address_has_what_is_chosen_and_the_page() -> None:
    asked = Asked("/tasks", {"queue": "bulk", "text": "a&b"})
    assert asked.first
    assert asked.query(size=20) == {"queue": "bulk", "text": "a&b", "page_size": "20"}
    assert asked.address() == "/tasks?queue=bulk&text=a%26b"
    assert asked.address("x=") == "/tasks?queue=bulk&text=a%26b&page_token=x%3D"
    assert Asked("/tasks", {}).address() == "/tasks"
    assert not Asked("/tasks", {}, "x").first


@pytest.mark.parametrize(
    ("path", "delay_s", "first", "more"), [("/tasks", None, "Newest", "Older"), ("/delayed", 60.0, "Next due", "Later")]
)
def test_what_is_chosen_stays_chosen_on_the_next_page_and_back(
    shown: Shown, path: str, delay_s: float | None, first: str, more: str
) -> None:
    for _ in range(51):
        shown.served.api.post("/tasks", {"task_type": "anything", "delay_s": delay_s})
    other = shown.served.api.post("/tasks", {"task_type": "stamped", "delay_s": delay_s})["task_id"]
    start = f"{path}?task_type=anything"
    second = shown.page(links(shown.page(start))[more])
    assert second.count("<tr data-key=") == 1
    assert other not in second
    assert links(second)[first] == start


def test_from_older_dead_letters_a_link_leads_back_to_the_newest(shown: Shown) -> None:
    for _ in range(51):
        shown.served.bury()
    second = shown.page(links(shown.page("/dead-letters?queue=default"))["Older"])
    assert second.count("<tr data-key=") == 1
    assert links(second)["Newest"] == "/dead-letters?queue=default"
