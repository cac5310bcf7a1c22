"""The emulator's console without a browser: what its pages show, what its forms do, and what they refuse."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import re
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from poolhouse_pubsub import protos
from poolhouse_pubsub.control.clients import TELEMETRY_HEADER, Clients
from poolhouse_pubsub.control.faults import KINDS
from poolhouse_pubsub.control.restart import Restart
from poolhouse_pubsub.http import HttpRequest, HttpResponse
from poolhouse_pubsub.status import Code
from poolhouse_pubsub.ui import faults, serve_ui
from poolhouse_pubsub.ui.app import DONE
from poolhouse_pubsub.ui.rates import Rates
from tests.kit.unit.pubsub.world import START, SUBSCRIPTION, TOPIC, World

TOPIC_PAGE = "/ui/topics/core/orders"
PAGE = "/ui/subscriptions/core/orders-worker"
#: Does something wherever it is taken for HTML.
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{braces}&amp;"
AVRO = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "note", "type": ["null", "string"]},
            {"name": "lines", "type": {"type": "array", "items": "double"}},
            {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["NEW", "OLD"]}},
        ],
    }
)


class Browser:
    """What a browser would send to the console of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._ui = serve_ui(world.service, Restart(world.emulator, lambda error: None), project="core")

    def send(self, method: str, target: str, *, body: bytes = b"", **headers: str) -> HttpResponse:
        path, _, query = target.partition("?")
        request = HttpRequest(
            method=method,
            path=path,
            query={name: values[-1] for name, values in parse_qs(query).items()},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            body=body,
        )
        answer = asyncio.run(self._ui(request))
        assert answer is not None
        return answer

    def page(self, target: str, *, status: int = 200) -> str:
        answer = self.send("GET", target)
        assert answer.status == status, answer.body.decode()
        return answer.body.decode()

    def post(self, path: str, *, status: int = 303, **fields: str) -> str:
        """Fill in a form; returns the place that it leads to, or the page that refuses it."""
        answer = self.send(
            "POST",
            path,
            body=urlencode(fields).encode(),
            content_type="application/x-www-form-urlencoded",
            origin="http://127.0.0.1:8085",
        )
        assert answer.status == status, answer.body.decode()
        return dict(answer.headers)["location"] if status == 303 else answer.body.decode()

    def schema(self, definition: str = AVRO, *, kind: str = "AVRO", encoding: str = "JSON") -> None:
        self.post("/ui/schemas", schema="order", project="core", type=kind, definition=definition)
        self.post("/ui/topics", topic="typed", project="core", schema="projects/core/schemas/order", encoding=encoding)
        self.post("/ui/topics/core/typed/subscribe", subscription="typed-worker")


@pytest.fixture
def browser() -> Browser:
    return Browser(World())


def text(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


def fields_of(page: str, name: str) -> str:
    found = re.search(rf'<textarea name="{name}"[^>]*>\n?(.*?)</textarea>', page, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


# --- looking


def test_the_overview_shows_topics_subscriptions_and_snapshots(browser: Browser) -> None:
    browser.world.publish("one", "two", "three")
    browser.world.pull(1)
    browser.post(f"{PAGE}/snapshot", snapshot="before")
    shown = browser.page("/ui")
    assert f'href="{TOPIC_PAGE}"' in shown
    assert f'href="{PAGE}"' in shown
    assert "before" in shown
    row = re.search(rf'<tr><th scope="row"><a href="{PAGE}">.*?</tr>', shown, re.DOTALL)
    assert row is not None
    assert re.findall(r'<td class="n">([\d,]+)', row[0])[:3] == ["2", "1", "0"], "ready, leased, delayed"


def test_messages_are_seen_and_not_taken(browser: Browser) -> None:
    browser.world.publish("waiting", key="", kind="new")
    for _ in range(3):
        shown = text(browser.page(PAGE))
        assert "waiting" in shown
        assert "kind new" in re.sub(r"\s+", " ", shown)
    [received] = browser.world.pull(5)
    assert received.attempt in (0, 1)


def test_messages_are_chosen_by_their_state(browser: Browser) -> None:
    browser.world.publish("first", "second")
    browser.world.pull(1)
    assert "second" not in text(browser.page(f"{PAGE}?state=outstanding"))
    assert "first" not in text(browser.page(f"{PAGE}?state=ready"))
    assert "No messages." in text(browser.page(f"{PAGE}?state=delayed"))


def test_data_that_is_no_text_is_shown_as_bytes(browser: Browser) -> None:
    request = protos.PublishRequest(topic=TOPIC, messages=[{"data": b"\x00\xff\x10"}])
    browser.world.service.publisher.publish(request)
    assert "00 ff 10" in browser.page(PAGE)


def test_a_page_of_what_is_not_there_says_so(browser: Browser) -> None:
    for path in (
        "/ui/topics/core/none",
        "/ui/subscriptions/core/none",
        "/ui/schemas/core/none",
        "/ui/nothing",
        "/ui/a/b",
    ):
        assert "To the overview" in browser.page(path, status=404)


def test_large_numbers_of_resources_are_searched(browser: Browser) -> None:
    for number in range(250):
        browser.world.topic(f"projects/core/topics/many-{number:03}")
    assert "200 of 251" in text(browser.page("/ui"))
    assert "many-249" in browser.page("/ui?q=many-249")


# --- doing


def test_a_topic_and_a_subscription_are_created_by_hand(browser: Browser) -> None:
    assert (
        browser.post("/ui/topics", topic="new", project="core", retention_s="600") == "/ui/topics/core/new?done=created"
    )
    browser.post(
        "/ui/topics/core/new/subscribe",
        subscription="new-worker",
        ack_deadline_s="20",
        ordered="on",
        filter="attributes:a",
        dead_letter_topic=TOPIC,
        attempts="7",
    )
    config = browser.world.emulator.subscriptions["projects/core/subscriptions/new-worker"].config
    assert config.ack_deadline_seconds == 20
    assert config.enable_message_ordering
    assert not config.enable_exactly_once_delivery
    assert config.dead_letter_policy.max_delivery_attempts == 7
    assert "pull, ordered, filter" in text(browser.page("/ui/subscriptions/core/new-worker"))


def test_a_message_is_published_with_attributes_and_in_copies(browser: Browser) -> None:
    browser.post(
        f"{TOPIC_PAGE}/publish", data="two\r\nlines", attributes="a=b=c\r\n\r\nd=", copies="2", ordering_key="k"
    )
    first, second = browser.world.pull(5)
    assert first.data == second.data == "two\nlines"
    assert first.attributes == {"a": "b=c", "d": ""}
    assert first.key == "k"
    browser.post(f"{TOPIC_PAGE}/publish", data="aGVs\nbG8=", form="base64", attributes='{"line": "1\\n2"}')
    [third] = browser.world.pull(5)
    assert (third.data, third.attributes) == ("hello", {"line": "1\n2"})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "data"),
        ({"data": "x", "copies": "0"}, "copies"),
        ({"data": "x", "copies": "1e9"}, "copies"),
        ({"data": "x", "copies": "nan"}, "copies"),
        ({"data": "x", "attributes": "no pair"}, "key=value"),
        ({"data": "x", "attributes": '{"a": 1}'}, "string"),
        ({"data": "x", "attributes": "goog=1"}, "goog"),
        ({"data": "not base64!", "form": "base64"}, "base64"),
        ({"data": "x", "ordering_key": "k" * 1025}, "ordering key"),
    ],
)
def test_a_message_that_is_refused_stays_in_the_form(browser: Browser, fields: dict[str, str], reason: str) -> None:
    shown = browser.post(f"{TOPIC_PAGE}/publish", status=400, **fields)
    alert = re.search(r'role="alert">(.*?)</p>', shown, re.DOTALL)
    assert alert is not None
    assert reason in html.unescape(alert[1]).lower()
    assert fields_of(shown, "data") == fields.get("data", "")
    assert browser.world.pull(5) == []


def test_a_subscription_that_is_refused_stays_in_the_form(browser: Browser) -> None:
    fields = {"subscription": "urgent", "ack_deadline_s": "30", "filter": "kind is not a filter", "ordered": "on"}
    text = browser.post(f"{TOPIC_PAGE}/subscribe", status=400, **fields)
    assert '<details class="more" open>' in text
    for name in ("subscription", "ack_deadline_s", "filter"):
        assert re.search(rf'name="{name}"[^>]* value="{fields[name]}"', text), name
    assert 'name="ordered" checked>' in text
    assert 'name="exactly_once">' in text
    assert 'name="copies" type="number" min="1" max="1000" value="1"' in text


def test_a_message_is_pulled_acknowledged_and_given_back(browser: Browser) -> None:
    browser.world.publish("one", "two")
    assert browser.post(f"{PAGE}/pull", count="2").endswith("done=pulled")
    one, two = re.findall(r'name="ack_id" value="([^"]+)"', browser.page(PAGE))[::2]
    browser.post(f"{PAGE}/ack", ack_id=one)
    browser.post(f"{PAGE}/nack", ack_id=two)
    [again] = browser.world.pull(5)
    assert again.data == "two"
    assert browser.post(f"{PAGE}/pull", count="2").endswith("done=pulled-nothing")
    browser.post(f"{PAGE}/ack", status=400, ack_id="nonsense")


def test_a_subscription_is_purged_and_brought_back_by_a_snapshot(browser: Browser) -> None:
    browser.world.publish("one")
    browser.post(f"{PAGE}/snapshot", snapshot="before")
    browser.post(f"{PAGE}/purge")
    assert "No messages." in text(browser.page(PAGE))
    browser.post(f"{PAGE}/seek", snapshot="projects/core/snapshots/before")
    assert [received.data for received in browser.world.pull(5)] == ["one"]
    browser.post("/ui/snapshots/core/before/delete")
    assert not browser.world.emulator.snapshots
    browser.post(f"{PAGE}/seek", status=400, time="yesterday")


def test_a_seek_to_a_time_takes_the_emulators_time(browser: Browser) -> None:
    browser.post("/ui/topics", topic="kept", project="core", retention_s="600")
    browser.post("/ui/topics/core/kept/subscribe", subscription="late")
    browser.world.publish("one", topic="projects/core/topics/kept")
    browser.post("/ui/subscriptions/core/late/purge")
    browser.post("/ui/subscriptions/core/late/seek", time="2027-01-15T08:00:00")
    assert START == 1_800_000_000.0  # that moment
    assert "one" in text(browser.page("/ui/subscriptions/core/late"))


def test_what_is_detached_or_deleted_is_gone(browser: Browser) -> None:
    browser.post(f"{PAGE}/detach")
    assert "detached" in text(browser.page(PAGE))
    assert browser.post(f"{PAGE}/delete") == "/ui?done=deleted"
    browser.post(f"{TOPIC_PAGE}/delete")
    assert "No topics." in text(browser.page("/ui"))
    browser.post(f"{TOPIC_PAGE}/publish", status=404, data="x")


def test_a_dead_letter_is_published_again_to_where_it_came_from(browser: Browser) -> None:
    world = browser.world
    world.topic("projects/core/topics/dead")
    world.subscribe("projects/core/subscriptions/dead-letters", topic="projects/core/topics/dead")
    world.subscribe(
        "projects/core/subscriptions/strict",
        dead_letter_policy={"dead_letter_topic": "projects/core/topics/dead", "max_delivery_attempts": 5},
    )
    world.publish("poison", kind="bad")
    for _ in range(5):
        browser.post("/ui/subscriptions/core/strict/pull", count="1")
        [ack_id, _] = re.findall(r'name="ack_id" value="([^"]+)"', browser.page("/ui/subscriptions/core/strict"))
        browser.post("/ui/subscriptions/core/strict/nack", ack_id=ack_id)
    shown = browser.page("/ui/subscriptions/core/dead-letters")
    again = re.search(r'href="([^"]+)#publish"', shown)
    assert again is not None
    assert urlsplit(html.unescape(again[1])).path == TOPIC_PAGE
    form = browser.page(html.unescape(again[1]))
    assert fields_of(form, "data") == "poison"
    assert fields_of(form, "attributes") == "kind=bad"


def test_the_console_is_not_stopped_by_faults_or_grants(browser: Browser) -> None:
    browser.post("/ui/faults", kind="error", percent="100", code="INTERNAL")
    browser.post(f"{TOPIC_PAGE}/publish", data="x")
    assert "error" in text(browser.page("/ui/faults"))
    browser.post("/ui/faults/clear")
    assert browser.world.faults.all() == ()


def test_the_clock_is_advanced_and_leases_end_on_the_way(browser: Browser) -> None:
    browser.world.publish("one")
    browser.world.pull(1)
    browser.post("/ui/faults/advance", seconds="11")
    assert browser.world.emulator.clock.now() == START + 11
    assert [received.data for received in browser.world.pull(1)] == ["one"]
    browser.post("/ui/faults/advance", status=400, seconds="-1")
    browser.post("/ui/faults/restart")
    assert [received.data for received in browser.world.pull(1)] == ["one"]


@pytest.mark.parametrize("field", ["count", "percent", "seconds"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "9e399", "x", "-1", "1_0", "٣"])
def test_a_number_of_a_fault_is_one(browser: Browser, field: str, value: str) -> None:
    browser.post("/ui/faults", status=400, kind="error", **{field: value})
    assert browser.world.faults.all() == ()


def test_every_kind_of_fault_is_explained() -> None:
    assert list(faults.DOES) == list(KINDS)
    assert set(faults.CODES) <= {code.name for code in Code}


# --- schemas


def test_a_topic_with_a_schema_shows_its_fields_and_begins_with_an_example_that_fits(browser: Browser) -> None:
    browser.schema()
    shown = browser.page("/ui/topics/core/typed")
    assert "null or string" in text(shown)
    example = fields_of(shown, "data")
    assert json.loads(example) == {"id": 0, "note": {"string": ""}, "lines": [0.0], "kind": "NEW"}
    browser.post("/ui/topics/core/typed/publish", data=example)
    browser.post("/ui/topics/core/typed/publish", status=400, data="{}")
    assert "NEW, OLD" in text(browser.page("/ui/schemas/core/order"))


def test_json_is_encoded_for_a_topic_of_binary_messages(browser: Browser) -> None:
    browser.schema(encoding="BINARY")
    example = fields_of(browser.page("/ui/topics/core/typed"), "data")
    browser.post("/ui/topics/core/typed/publish", data=example, form="schema")
    browser.post("/ui/topics/core/typed/publish", status=400, data=example, form="text")
    browser.post("/ui/topics/core/typed/publish", status=400, data='{"id": "no number"}', form="schema")


def test_a_protobuf_schema_has_an_example_that_fits(browser: Browser) -> None:
    definition = """syntax = "proto3";
        message Order {
          enum Kind { NEW = 0; }
          message Line { double price = 1; Order parent = 2; }
          int64 id = 1; string note = 2; repeated Line lines = 3; Kind kind = 4; map<string, bool> flags = 5;
          oneof way { bytes raw = 6; bool none = 7; }
        }"""
    browser.schema(definition, kind="PROTOCOL_BUFFER", encoding="BINARY")
    shown = browser.page("/ui/topics/core/typed")
    assert "lines[].price" in text(shown)
    browser.post("/ui/topics/core/typed/publish", data=fields_of(shown, "data"), form="schema")


def test_a_schema_that_holds_itself_many_times_has_no_example(browser: Browser) -> None:
    members = [{"name": f"f{n}", "type": {"type": "array", "items": "Node"}} for n in range(40)]
    browser.schema(json.dumps({"type": "record", "name": "Node", "fields": members}))
    assert fields_of(browser.page("/ui/topics/core/typed"), "data") == ""


# --- keeping out


def test_what_others_wrote_is_text(browser: Browser) -> None:
    world = browser.world
    request = protos.PublishRequest(topic=TOPIC)
    request.messages.add(data=HOSTILE.encode(), attributes={HOSTILE: HOSTILE}, ordering_key=HOSTILE)
    world.service.publisher.publish(request)
    assert world.service.clients is not None
    world.service.clients.note("Publish", [("user-agent", HOSTILE), (TELEMETRY_HEADER, HOSTILE)])
    world.emulator.subscriptions[SUBSCRIPTION].delivery_error = HOSTILE
    hostile = quote(HOSTILE, safe="")
    pages = [browser.page(path) for path in ("/ui", PAGE, "/ui/clients", f"/ui?q={hostile}", "/ui/faults")]
    pages.append(browser.page(f"{TOPIC_PAGE}?from={quote(SUBSCRIPTION)}&id=1&done={hostile}"))
    pages.append(browser.page(f"/ui/topics/{hostile}/{hostile}", status=404))
    pages.append(browser.post(f"{TOPIC_PAGE}/publish", status=400, data=HOSTILE, attributes=HOSTILE, copies="0"))
    pages.append(browser.post("/ui/topics", status=400, topic=HOSTILE, project=HOSTILE, retention_s="1"))
    pages.append(browser.post("/ui/schemas", status=400, schema=HOSTILE, project=HOSTILE, definition=HOSTILE))
    for page in pages:
        assert "<script>" not in page
        assert "<img" not in page
        assert "\"'>" not in page
    assert HOSTILE in html.unescape(pages[1])


def test_no_link_puts_words_of_its_own_on_a_page(browser: Browser) -> None:
    assert 'role="status">' not in browser.page("/ui?done=owned").replace('class="pulse" role="status">', "")
    assert DONE["deleted"] in browser.page("/ui?done=deleted")


def test_pages_run_no_script_but_their_own_and_are_not_framed(browser: Browser) -> None:
    for path in ("/ui", PAGE, "/ui/static/ui.css", "/ui/nothing"):
        headers = dict(browser.send("GET", path).headers)
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_a_form_comes_from_a_page_and_is_a_form(browser: Browser) -> None:
    body = urlencode({"data": "x"}).encode()
    form = "application/x-www-form-urlencoded"
    assert browser.send("POST", f"{TOPIC_PAGE}/publish", body=body, content_type=form).status == 403
    origin = "http://127.0.0.1:8085"
    assert (
        browser.send("POST", f"{TOPIC_PAGE}/publish", body=b"{}", content_type="text/plain", origin=origin).status
        == 400
    )
    assert browser.send("DELETE", TOPIC_PAGE, origin=origin).status == 405
    assert browser.world.pull(5) == []


def test_only_the_files_of_the_console_are_served(browser: Browser) -> None:
    assert browser.send("GET", "/ui/static/ui.js").content_type.startswith("text/javascript")
    for name in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "", "none.css"):
        assert browser.send("GET", f"/ui/static/{name}").status == 404


# --- clients and rates


def test_clients_are_told_apart_and_their_telemetry_is_read() -> None:
    clients = Clients(lambda: START + 3)
    telemetry = protos.PubsubClientTelemetry(
        publish_operation={"hedged_attempt_count": 2, "publish_start_time": {"seconds": int(START)}}
    )
    header = base64.b64encode(telemetry.SerializeToString()).decode()
    clients.note("Publish", [("user-agent", "grpc-go"), ("x-goog-api-client", "gl-go/1"), (TELEMETRY_HEADER, header)])
    clients.note("Publish", [("user-agent", "grpc-go"), ("x-goog-api-client", "gl-go/1"), (TELEMETRY_HEADER, "CgA=")])
    clients.note("Pull", [("user-agent", "grpc-python"), ("binary-bin", b"\x00")])
    python, go = clients.all()
    assert (python.user_agent, dict(python.calls)) == ("grpc-python", {"Pull": 1})
    assert (go.publishes_with_telemetry, go.hedged, go.last_hedge) == (2, 1, 2)
    assert go.last_delay_s is None
    assert go.telemetry_error == ""


@pytest.mark.parametrize("header", ["%%%", "////", "CgQIAQ==", "CggIARIECIDh6w==", "CgsI////////////AQ=="])
def test_telemetry_that_can_not_be_read_is_shown_and_the_call_goes_on(header: str) -> None:
    clients = Clients(lambda: START)
    clients.note("Publish", [(TELEMETRY_HEADER, header)])
    [client] = clients.all()
    assert client.telemetry_error.startswith(TELEMETRY_HEADER)
    assert client.calls == {"Publish": 1}
    assert client.publishes_with_telemetry == 0


def test_a_client_that_makes_up_names_does_not_fill_the_memory() -> None:
    clients = Clients(lambda: START)
    for number in range(1_000):
        clients.note("Pull", [("user-agent", f"{number}" * 1_000)])
    assert len(clients.all()) == 200
    assert all(len(client.user_agent) == 300 for client in clients.all())


def test_a_rate_is_of_the_last_seconds_and_begins_anew_with_the_counts() -> None:
    now = [0.0]
    rates = Rates(lambda: now[0])
    assert rates.of("s", 100) is None
    for second in range(1, 31):
        now[0] = float(second)
        shown = rates.of("s", 100 + 10 * second)
    assert shown == pytest.approx(10)
    now[0] = 35.0
    for second in range(35, 60):
        now[0] = float(second)
        shown = rates.of("s", 400)
    assert shown == 0
    assert rates.of("s", 3) is None


# --- odd input

ODD = [
    "",
    "\x00",
    "9" * 400,
    "-1",
    "1e300",
    "nan",
    "\u202e",
    "☃",
    "%",
    "../..",
    "a/b",
    "0001-01-01T00:00:00",
    HOSTILE,
    "{",
    "[]",
]
NUMBERS = ["1e300", "-1e300", "9" * 30, "-5", "0.5"]


@pytest.mark.parametrize("value", ODD)
def test_no_query_and_no_path_is_a_mistake_of_the_console(browser: Browser, value: str) -> None:
    odd = quote(value, safe="")
    browser.world.publish("one")
    query = "&".join(f"{name}={odd}" for name in ("q", "done", "from", "id", "state", "messages"))
    for path in ("/ui", TOPIC_PAGE, PAGE, "/ui/schemas", "/ui/clients", "/ui/faults"):
        browser.page(f"{path}?{query}")
    for kind in ("topics", "subscriptions", "schemas", "snapshots", "static", odd):
        assert browser.send("GET", f"/ui/{kind}/{odd}/{odd}").status in (200, 404)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/ui/topics", "topic project retention_s schema encoding"),
        (f"{TOPIC_PAGE}/publish", "data form attributes ordering_key copies"),
        (
            f"{TOPIC_PAGE}/subscribe",
            "subscription ack_deadline_s filter push_endpoint dead_letter_topic attempts",
        ),
        (f"{PAGE}/pull", "count"),
        (f"{PAGE}/ack", "ack_id"),
        (f"{PAGE}/nack", "ack_id"),
        (f"{PAGE}/seek", "time snapshot"),
        (f"{PAGE}/snapshot", "snapshot"),
        ("/ui/schemas", "schema project type definition"),
        ("/ui/faults", "kind percent count seconds subscription code methods"),
        ("/ui/faults/advance", "seconds"),
    ],
)
def test_no_form_is_a_mistake_of_the_console(browser: Browser, path: str, fields: str, value: str) -> None:
    usual = {"topic": "fine", "subscription": "fine", "project": "core", "data": "x", "schema": "", "kind": "error"}
    for field in fields.split():
        for odd in (value, *NUMBERS):
            form = {**{name: usual.get(name, "") for name in fields.split()}, field: odd}
            answer = browser.send(
                "POST",
                path,
                body=urlencode(form, errors="replace").encode(),
                content_type="application/x-www-form-urlencoded",
                origin="http://127.0.0.1:8085",
            )
            assert answer.status in (303, 400, 404, 409, 429), (form, answer.body.decode())
