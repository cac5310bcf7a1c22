"""The rule that keeps pages of other sites out: one table for each place that it lives in."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from poolhouse.pipeline import web_guard as of_the_pipeline
from poolhouse_pubsub.transport import web_guard as of_the_emulator

HOST = "127.0.0.1:8080"
JSON = {"content-type": "application/json; charset=utf-8"}
EVIL = {"origin": "https://evil.example"}
RULES = pytest.mark.parametrize("rule", [of_the_pipeline, of_the_emulator], ids=["pipeline", "emulator"])


def test_both_homes_hold_the_same_rule() -> None:
    """The emulator imports nothing of the project, and the API nothing of the emulator."""
    first, second = (Path(module.__file__ or "").read_text() for module in (of_the_pipeline, of_the_emulator))
    assert first == second


@RULES
@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:8080", "localhost.", "app.localhost", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080"),
        *("0.0.0.0:8080", "192.168.1.7:8085", "[fe80::1]"),
        *("pubsub:8085", "gcs", "api:8080", "my_service-1", "host.docker.internal:8085", "metadata.google.internal"),
    ],
)
def test_names_outside_the_public_dns_are_answered(rule: ModuleType, host: str) -> None:
    assert rule.WebGuard().refusal("GET", {"host": host}) is None


@RULES
@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "internal.example"),
        *(
            "127.0.0.1:8080@evil.example",
            "127.0.0.1:8080:1",
            "127.0.0.1:x",
            "",
            " ",
            "localhost evil",
            "2130706433.com",
        ),
        *("evil.local", "evil.localhost.example", "[::1", "x]", "127.0.0.1/", "1.2.3.4.5"),
    ],
)
def test_any_other_host_is_refused_for_reading_too(rule: ModuleType, host: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        refused = rule.WebGuard().refusal(method, {"host": host})
        assert refused is not None
        assert refused.status == 421


@RULES
def test_hosts_can_be_named(rule: ModuleType) -> None:
    guard = rule.WebGuard.of(hosts="local, Pool.test,*.corp.example", origins=None)
    for host in ("pool.test:80", "a.corp.example", "a.b.corp.example", "127.0.0.1"):
        assert guard.refusal("GET", {"host": host}) is None
    for host in ("a.pool.test", "corp.example", "xcorp.example"):
        assert guard.refusal("GET", {"host": host}) is not None
    assert rule.WebGuard.of(hosts="*", origins="").refusal("GET", {"host": "evil.example"}) is None
    assert rule.WebGuard.of(hosts="*", origins="").refusal("GET", {"host": "a.example", **EVIL}) is not None


@RULES
@pytest.mark.parametrize(("hosts", "origins"), [("a b", ""), ("http://a", ""), ("", "a.example"), ("", "https://a/b")])
def test_what_is_no_host_or_origin_is_refused(rule: ModuleType, hosts: str, origins: str) -> None:
    with pytest.raises(ValueError, match=r"is no (host|origin)"):
        rule.WebGuard.of(hosts=hosts, origins=origins)


@RULES
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl, gcloud and every client library
        JSON,
        {"content-type": "application/x-www-form-urlencoded"},  # curl -d
        {"user-agent": "Mozilla/5.0"},
        {"origin": f"http://{HOST}"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"},
        {"origin": "null", "sec-fetch-site": "same-origin"},  # a page that withholds its address
        {"origin": "http://localhost:5173", "sec-fetch-site": "same-origin"},  # behind a development server's proxy
    ],
)
def test_programs_and_own_pages_are_answered(rule: ModuleType, method: str, headers: dict[str, str]) -> None:
    assert rule.WebGuard().refusal(method, {"host": HOST, **headers}) is None
    assert (
        rule.WebGuard(hosts=None).refusal(method, {"host": "x-y.a.run.app", **headers}) is None or "origin" in headers
    )


@RULES
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        EVIL,
        {**EVIL, **JSON},
        {**EVIL, "sec-fetch-site": "cross-site"},
        {**EVIL, "sec-fetch-site": "cross-site", **JSON},
        {**EVIL, "sec-fetch-site": "same-origin"},
        {"origin": "null"},
        {"origin": "null", "sec-fetch-site": "cross-site"},
        {"origin": "http://127.0.0.1:9999", "sec-fetch-site": "same-site"},
        {"origin": "http://localhost:8080"},
        {"origin": "file://"},
        {"origin": ""},
        {"origin": f"http://{HOST}", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "anything-new"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ],
)
def test_pages_of_other_sites_are_refused(rule: ModuleType, method: str, headers: dict[str, str]) -> None:
    refused = rule.WebGuard().refusal(method, {"host": HOST, **headers})
    assert refused is not None
    assert refused.status == 403


@RULES
def test_a_link_can_be_followed_and_a_form_can_not(rule: ModuleType) -> None:
    link = {"host": HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert rule.WebGuard().refusal("GET", link) is None
    assert rule.WebGuard().refusal("POST", {**link, **EVIL}) is not None


@RULES
def test_origins_can_be_let_in(rule: ModuleType) -> None:
    guard = rule.WebGuard.of(hosts="local", origins="https://App.example, http://localhost:5173")
    call = {"host": HOST, "sec-fetch-site": "cross-site"}
    assert guard.refusal("PUT", {**call, "origin": "https://app.example"}) is None
    assert guard.refusal("OPTIONS", {**call, "origin": "http://localhost:5173"}) is None
    assert guard.refusal("GET", {**call, "referer": "https://app.example/page"}) is None  # an image: no Origin
    assert guard.refusal("GET", {**call, "referer": "https://[broken"}) is not None
    assert guard.refusal("PUT", {**call, "origin": "https://app.example:8443"}) is not None
    assert rule.WebGuard().refusal("PUT", {**call, **EVIL}, origins=["https://evil.example"]) is None


@RULES
def test_a_program_may_name_the_origin_of_the_page_that_it_works_for(rule: ModuleType) -> None:
    guard = rule.WebGuard()
    assert guard.refusal("POST", {"host": HOST, **EVIL, **JSON}, forwards_origin=True) is None
    for what_a_page_can_send in ({}, {"content-type": "text/plain"}, {"sec-fetch-site": "cross-site", **JSON}):
        headers = {"host": HOST, **EVIL, **what_a_page_can_send}
        assert guard.refusal("POST", headers, forwards_origin=True) is not None


@RULES
def test_without_hosts_of_its_own_a_service_refuses_what_a_page_can_send_unasked(rule: ModuleType) -> None:
    guard = rule.WebGuard(hosts=None)
    page = {"host": "api-123.a.run.app", **EVIL, "sec-fetch-site": "cross-site"}
    assert guard.refusal("GET", page) is None  # the page can't read the answer
    assert guard.refusal("POST", {**page, **JSON}) is None  # nor send this without being let to by a preflight
    assert guard.refusal("OPTIONS", page) is None
    for kind in ({}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
        refused = guard.refusal("POST", {**page, **kind})
        assert refused is not None
        assert refused.status == 403
