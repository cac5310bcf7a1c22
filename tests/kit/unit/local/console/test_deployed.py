"""The console of a pipeline that runs elsewhere: all that its API returns, and nothing of processes."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from poolhouse.local.console.app import create_app
from poolhouse.local.console.stacks import TOKEN_S, Deployed
from poolhouse.pipeline.errors import PoolhouseError
from tests.kit.unit.commands.conftest import Served
from tests.kit.unit.local.console.conftest import HOST, served, words

__all__ = ["served"]


def browser(stack: Deployed) -> TestClient:
    return TestClient(create_app(stack), base_url=f"http://{HOST}", raise_server_exceptions=False)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/tasks",
        "/submit",
        "/submit/anything",
        "/dead-letters",
        "/schedules",
        "/delayed",
        "/groups",
        "/limits",
        "/triggers",
        "/emulator",
    ],
)
def test_its_pages_show_the_pipeline_and_lead_to_no_other_place(served: Served, path: str) -> None:
    served.bury()
    answer = browser(Deployed("some-project", served.api.url, lambda: "token")).get(path)
    assert answer.status_code == 200
    assert "Google Cloud" in answer.text
    assert "some-project" in answer.text
    # The API lets no browser in, and logs and processes are elsewhere.
    for absent in ("/logs", f"{served.api.url}/docs"):
        assert f'href="{absent}' not in answer.text


def test_the_emulators_page_says_why_there_is_none(served: Served) -> None:
    page = words(browser(Deployed("some-project", served.api.url, lambda: "token")).get("/emulator").text)
    assert "The Pub/Sub of this pipeline is Google Cloud’s, in some-project" in page
    assert "./invoke up" in page


def test_it_looks_less_often_than_at_a_local_stack(served: Served) -> None:
    page = browser(Deployed("some-project", served.api.url, lambda: "token")).get("/tasks").text
    assert 'data-every="6.0"' in page


@pytest.mark.parametrize("path", ["/logs", "/ui"])
def test_what_it_has_not_is_not_found(served: Served, path: str) -> None:
    assert browser(Deployed("some-project", served.api.url, lambda: "token")).get(path).status_code == 404


def test_a_task_is_submitted_and_followed_there(served: Served) -> None:
    there = browser(Deployed("some-project", served.api.url, lambda: "token"))
    sent = there.post(
        "/submit/data_transformation",
        data={"field:dataset_size": "7"},
        headers={"Origin": f"http://{HOST}"},
        follow_redirects=False,
    )
    page = there.get(sent.headers["location"])
    assert page.status_code == 200
    assert "queued" in words(page.text)
    assert [task["dataset_size"] for task in served.published] == [7]


def test_a_token_is_asked_for_once_while_it_is_good(served: Served) -> None:
    now, given = [0.0], list[bool]()

    def token() -> str:
        given.append(True)
        return "token"

    there = browser(Deployed("some-project", served.api.url, token, clock=lambda: now[0]))
    for _ in range(3):
        assert there.get("/tasks").status_code == 200
    assert len(given) == 1
    now[0] += TOKEN_S
    there.get("/tasks")
    assert len(given) == 2


def test_without_a_login_a_page_says_so(served: Served) -> None:
    def token() -> str:
        raise PoolhouseError("You are not logged in: gcloud auth login.")

    answer = browser(Deployed("some-project", served.api.url, token)).get("/tasks")
    assert answer.status_code == 502
    assert "gcloud auth login" in answer.text
