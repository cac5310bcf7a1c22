"""Who is let into a deployed console, who may act, and the line that each act leaves in the log."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import quote

import pytest
import requests
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from poolhouse.local.console.deployed.assertions import HEADER, Assertions, Person, is_among
from poolhouse.local.console.deployed.gate import Gate
from poolhouse.local.console.stacks import Deployed
from tests.kit.unit.local.console.conftest import words
from tests.kit.unit.local.console.deployed.conftest import (
    AUDIENCE,
    KEYS,
    OPERATOR,
    OPERATORS,
    STRANGER,
    URL,
    VIEWER,
    Visited,
    assertion,
    console,
)

#: Where nobody listens.
NOWHERE = "http://127.0.0.1:9"
#: A payload with what no log may have.
PLANTED = '{"dataset_size": 770077}'

#: Every page; `{dead}` and `{group}` are ids.
PAGES = (
    "/", "/tasks", "/tasks?status=queued", "/tasks/{dead}", "/tasks/{delayed}", "/groups", "/groups/{group}",
    "/delayed", "/limits", "/files", "/dead-letters", "/dead-letters/{dead}", "/schedules", "/triggers", "/emulator",
)  # fmt: skip
REFUSED = {
    "no assertion": {},
    "unsigned headers alone": {"X-Goog-Authenticated-User-Email": f"accounts.google.com:{OPERATOR}"},
    "not a token": {HEADER: "x"},
    "for another service": {HEADER: assertion(OPERATOR, aud=AUDIENCE.replace("shop", "other"))},
    "for an address": {HEADER: assertion(OPERATOR, aud=URL)},
    "by another issuer": {HEADER: assertion(OPERATOR, iss="https://accounts.google.com")},
    "expired": {HEADER: assertion(OPERATOR, ended_s=60)},
    "by a stranger under the proxy's key id": {HEADER: assertion(OPERATOR, by=STRANGER)},
    "by an unknown key": {HEADER: assertion(OPERATOR, by=STRANGER, key_id="two")},
    "changed": {HEADER: assertion(OPERATOR)[:-6] + "AAAAAA"},
    "of no one": {HEADER: assertion("")},
}


def test_nobody_is_let_in_whom_the_proxy_has_not_named(visited: Visited) -> None:
    for why, headers in REFUSED.items():
        for path in ("/", "/static/console.css", "/files/download?name=uploads/a"):
            answer = visited.client.get(path, headers=headers)
            assert (answer.status_code, "content-security-policy" in answer.headers) == (401, True), why
        with capture_logs() as lines:
            answer = visited.client.post("/queues/default/pause", headers={**headers, "Origin": URL})
        assert (answer.status_code, audited(lines)) == (401, []), why
    assert visited.served.api.get("/queues")["queues"][0]["paused_at"] is None


def test_a_second_assertion_makes_the_call_nobodys(visited: Visited) -> None:
    for first, second in ((OPERATOR, VIEWER), (VIEWER, OPERATOR), (OPERATOR, OPERATOR)):
        answer = visited.client.get("/", headers=[(HEADER, assertion(first)), (HEADER.title(), assertion(second))])
        assert answer.status_code == 401
        assert "this one has 2" in answer.text


def test_cloud_run_asks_for_its_health_without_a_name(visited: Visited) -> None:
    assert visited.client.get("/health", headers={"Host": "10.0.0.1:8080"}).status_code == 200
    # Nothing else is answered so, no page that says what this is among it.
    for path, method in (("/health", "POST"), ("/health", "OPTIONS"), ("/health/", "GET"), ("//health", "GET")):
        answer = visited.client.request(method, URL + path, headers={"Origin": URL})
        assert answer.status_code in {401, 403}, (method, path)
        assert "some-project" not in answer.text


def test_a_websocket_is_closed_before_the_console_sees_it() -> None:
    sent: list[Message] = []

    async def console_app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the gate let it through")

    async def receive() -> NoReturn:
        raise AssertionError("nothing more is asked for")

    async def send(message: Message) -> None:
        sent.append(message)

    gate = Gate(console_app, assertions=Assertions(audience=AUDIENCE, fetch=lambda: KEYS), operators=OPERATORS)
    asyncio.run(gate({"type": "websocket", "path": "/", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_no_page_is_kept_by_what_is_in_between(visited: Visited) -> None:
    for path in ("/", "/static/console.css", "/files/download?name=uploads/none", "/nothing"):
        for name in (VIEWER, OPERATOR):
            assert visited.get(path, as_=name).headers["cache-control"] == "no-store", path
        assert visited.client.get(path).headers["cache-control"] == "no-store", path


def test_without_the_keys_of_the_proxy_nobody_is_let_in_and_the_next_try_may_do() -> None:
    def fetch() -> Mapping[str, str]:
        raise requests.ConnectionError("no network")

    answer = console(NOWHERE, fetch=fetch).get("/", headers={HEADER: assertion(OPERATOR)})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("person", "may"),
    [
        (Person(address=OPERATOR), True),
        (Person(address=VIEWER), False),
        (Person(address="bot@p.iam.gserviceaccount.com"), True),
        (Person(address="eve@ops.example.com", domain="ops.example.com"), True),
        # An address of the domain that is no account of it: anyone may register one with Google.
        (Person(address="eve@ops.example.com"), False),
        (Person(address="eve@example.com", domain="example.com"), False),
    ],
)
def test_operators_are_who_iam_would_mean_by_them(person: Person, may: bool) -> None:
    assert is_among(person, OPERATORS) is may


def test_addresses_are_compared_without_regard_to_case() -> None:
    read = Assertions(audience=AUDIENCE, fetch=lambda: KEYS).person
    person = read(assertion("Ann@Example.com", hd="Example.com"))
    assert person == Person(address="ann@example.com", domain="example.com")
    assert is_among(person, ("user:ANN@example.com",))


def ids(visited: Visited) -> Mapping[str, str]:
    api = visited.served.api
    delayed = api.post("/tasks", {"task_type": "anything", "payload": {}, "delay_s": 3600})["task_id"]
    group = api.post("/groups", {"tasks": [{"task_type": "anything", "payload": {}}]})["group_id"]
    return {"dead": visited.served.bury("data_transformation", dataset_size=7), "delayed": delayed, "group": group}


def test_a_viewer_sees_every_page_and_nothing_to_act_with(visited: Visited) -> None:
    known = ids(visited)
    acting = re.compile(r'method="post"|formaction|"/submit|type="checkbox" (data-all|form)')
    for path in PAGES:
        seen, acted = (visited.get(path.format(**known), as_=name) for name in (VIEWER, OPERATOR))
        assert seen.status_code == acted.status_code == 200, path
        assert acting.search(acted.text), path
        assert not acting.search(seen.text), path
        assert f"{VIEWER} · viewer" in seen.text
        assert f"{OPERATOR} · operator" in acted.text


def test_a_viewer_is_shown_no_form(visited: Visited) -> None:
    for path in ("/submit", "/submit/anything", "/submit/anything?json"):
        answer = visited.get(path, as_=VIEWER)
        assert answer.status_code == 403
        assert "bob@example.com is not among the operators under [console] in pipeline.toml." in words(answer.text)
        assert visited.get(path).status_code == 200


def acts(visited: Visited) -> Mapping[str, dict[str, Any]]:
    """Forms of every kind of act, by where they go."""
    known, other = ids(visited), visited.served.bury()
    return {
        "/queues/default/pause": {},
        "/queues/default/purge": {},
        "/tasks/matching/cancel": {"status": "queued"},
        f"/tasks/{known['delayed']}/reschedule": {"delay": "2h"},
        f"/tasks/{known['delayed']}/cancel": {},
        f"/groups/{known['group']}/cancel": {},
        f"/dead-letters/{known['dead']}/replay": {"payload": PLANTED},
        "/dead-letters/discard": {"id": [other]},
        "/dead-letters/matching/discard": {"queue": "default", "reason": "770077"},
        "/schedules/nightly/run": {},
        "/submit/data_transformation": {"payload": PLANTED, "queue": "default"},
        "/files/upload": {"folder": "in"},
    }


def audited(lines: list[Any]) -> list[dict[str, Any]]:
    found = (line for line in lines if line["event"] == "audit")
    return [{name: value for name, value in line.items() if name != "log_level"} for line in found]


def test_a_viewer_who_acts_is_refused_whatever_it_is_and_the_log_names_it(visited: Visited) -> None:
    for path, form in acts(visited).items():
        with capture_logs() as lines:
            answer = visited.post(path, as_=VIEWER, **form)
        assert answer.status_code == 403, path
        assert "not among the operators" in answer.text
        expected = {"event": "audit", "who": VIEWER, "role": "viewer", "act": path, "on": {}}
        assert audited(lines) == [{**expected, "outcome": "denied", "status": 403}]
    assert len(visited.served.dead) == 2
    assert visited.served.api.get("/queues")["queues"][0]["paused_at"] is None


def test_an_act_of_an_operator_is_done_and_the_log_has_one_line_without_what_tasks_carry(visited: Visited) -> None:
    made = acts(visited)
    kept = {"status", "delay", "id", "queue", "folder"}
    for path, form in made.items():
        with capture_logs() as lines:
            answer = visited.post(path, **form)
        assert answer.status_code == 303, path
        (line,) = audited(lines)
        on = {name: [value] if isinstance(value, str) else value for name, value in form.items() if name in kept}
        outcome = "incomplete" if path == "/files/upload" else "done"  # it has no file
        led_to = answer.headers["location"].partition("?")[0]
        expected = {"event": "audit", "who": OPERATOR, "role": "operator", "act": path, "on": on}
        assert line == {**expected, "outcome": outcome, "status": 303, "led_to": led_to}
        assert "770077" not in repr(line)


def test_the_log_says_what_did_not_come_of_an_act(visited: Visited) -> None:
    found = {}
    for path, form in {
        "/dead-letters/replay": {"id": [visited.served.bury(), "none-1"]},
        "/tasks/none-1/cancel": {},
        "/submit/data_transformation": {"field:dataset_size": "planted"},
        "/queues/none/pause": {},
        "/nothing": {},
    }.items():
        with capture_logs() as lines:
            visited.post(path, **form)
        (line,) = audited(lines)
        found[path] = (line["outcome"], line["status"])
        assert "planted" not in repr(line)
    assert found == {
        "/dead-letters/replay": ("incomplete", 303),
        "/tasks/none-1/cancel": ("refused", 404),
        "/submit/data_transformation": ("refused", 422),
        "/queues/none/pause": ("refused", 404),
        "/nothing": ("refused", 404),
    }
    with capture_logs() as lines:
        Visited(visited.served, console(NOWHERE)).post("/queues/default/pause")
    assert [(line["outcome"], line["status"]) for line in audited(lines)] == [("failed", 503)]


def test_a_mistake_of_the_console_leads_to_cloud_logging_and_tells_nothing_else(
    visited: Visited, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(_: Deployed) -> NoReturn:
        raise RuntimeError("planted")

    monkeypatch.setattr(Deployed, "emulator", mistaken)
    answer = visited.get("/emulator", as_=VIEWER)
    assert answer.status_code == 500
    assert "Its log has the details: Cloud Logging, where Logs leads." in words(answer.text)
    assert "planted" not in answer.text


def test_no_form_makes_a_line_that_is_none_of_the_logs(visited: Visited) -> None:
    forged = 'a\n{"message": "audit", "who": "eve@example.com"}'
    with capture_logs() as lines:
        visited.post(f"/tasks/{quote(forged + '#b?c')}/cancel", queue=[forged, "\u2028"])
    (line,) = audited(lines)
    # As it is asked for, not what is left of it between signs that mean something in an address.
    assert (line["act"], line["on"]) == (f"/tasks/{forged}#b?c/cancel", {"queue": [forged, "\u2028"]})
    with capture_logs() as lines:
        visited.post(f"/tasks/{'x' * 5000}/cancel", delay="x" * 10**6, id=["\N{GRINNING FACE}" * 600] * 60, queue="q")
    (line,) = audited(lines)
    kept = line["on"]
    assert (len(line["act"]), len(kept["delay"][0]), kept["queue"]) == (500, 501, ["q"])
    assert kept["id"][-1] == f"and {60 - len(kept['id']) + 1} more"
    assert len(json.dumps(line)) < 50_000


def test_a_page_of_another_site_acts_with_no_operators_session(visited: Visited) -> None:
    for headers in (
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil-1.europe-west1.run.app", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {},
        # What a page has to ask for first; the console has no use for it.
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"},
    ):
        sent = {HEADER: assertion(OPERATOR), **headers}
        expected = 415 if "Content-Type" in headers else 403
        assert visited.client.post("/queues/default/pause", headers=sent).status_code == expected, headers
    assert visited.served.api.get("/queues")["queues"][0]["paused_at"] is None
