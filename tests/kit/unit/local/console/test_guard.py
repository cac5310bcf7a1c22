from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from poolhouse.local.console import __main__ as console
from poolhouse.local.console import command, guard, rendering
from poolhouse.local.console.stacks import LocalStack
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import USAGE
from poolhouse.pipeline.web_guard import WebGuard
from tests.kit.unit.local.console.conftest import HOST, Shown


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost:8081", "localhost", "[::1]:8081", "LOCALHOST:1"])
def test_this_machines_names_are_answered(host: str) -> None:
    assert guard.refusal("GET", Headers({"host": host}), guard=WebGuard()) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8081",
        "evil.example:8081",
        "",
        "127.0.0.1:8081@e",
    ],
)
def test_any_other_name_is_not_even_for_reading(host: str) -> None:
    refused = guard.refusal("GET", Headers({"host": host}), guard=WebGuard())
    assert refused is not None
    assert refused.status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": f"http://{HOST}"},
        {"sec-fetch-site": "same-origin"},
        {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"},
    ],
)
def test_a_change_may_come_from_a_page_of_the_console(headers: dict[str, str]) -> None:
    assert guard.refusal("POST", Headers({"host": HOST, **headers}), guard=WebGuard()) is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:8080"},  # the API's own port: another origin
        {"origin": "http://localhost:8081"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
        {"origin": f"http://{HOST}", "sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_change_may_come_from_nowhere_else(method: str, headers: dict[str, str]) -> None:
    refused = guard.refusal(method, Headers({"host": HOST, **headers}), guard=WebGuard())
    assert refused is not None
    assert refused.status == 403


def test_what_is_refused_reaches_no_page_and_does_nothing(shown: Shown) -> None:
    task_id = shown.served.bury()
    answer = shown.client.post(
        "/dead-letters/discard", data={"id": task_id}, headers={"Origin": "https://evil.example"}
    )
    assert answer.status_code == 403
    assert shown.served.dead == [task_id]
    assert shown.client.get("/", headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("path", ["/", "/static/console.js", "/nowhere"])
def test_every_answer_has_a_policy_that_runs_files_of_the_console_only(shown: Shown, path: str) -> None:
    headers = shown.client.get(path).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_form_that_is_too_large_is_refused_before_it_is_kept(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_FORM_BYTES", 1000)
    page = shown.post("/dead-letters/replay", status=413, id=["x" * 2000])
    assert "Traceback" not in page


def test_templates_hold_no_script_no_style_and_no_address_of_elsewhere() -> None:
    templates = sorted((rendering.HERE / "templates").glob("*.html"))
    assert templates
    for template in templates:
        text = template.read_text()
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! type=\"module\" src=\"/static/)|\|\s*safe", text), (
            template
        )
        assert not re.search(r"(src|href|action)=\"(https?:)?//", text), template
    for file in (rendering.HERE / "static").iterdir():
        assert not re.search(r"(?<!xmlns=\")https?://|@import|url\(", file.read_text()), file


@pytest.mark.parametrize(("name", "what"), [("ALLOWED_HOSTS", "host"), ("ALLOWED_ORIGINS", "origin")])
def test_a_wrong_setting_ends_the_console_with_one_line_before_it_listens(
    name: str, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "https://*/x")
    assert console.main(["--port", "0"]) == USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"console: ALLOWED_HOSTS or ALLOWED_ORIGINS: 'https://*/x' is no {what}\n"
    with pytest.raises(ConfigError, match=f"is no {what}"):
        command.run(LocalStack(lambda: pytest.fail("it asked for the stack"), state_dir=Path()))
