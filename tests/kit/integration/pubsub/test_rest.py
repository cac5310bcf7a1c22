"""REST/JSON on the emulator's port: every route, the JSON forms in and out, errors, and the Python client over REST."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient, SchemaServiceClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherRestTransport
from google.pubsub_v1.services.schema_service.transports import SchemaServiceRestTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberRestTransport
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolhouse_pubsub.http import HttpRequest, HttpResponse
from poolhouse_pubsub.server import EmulatorServer
from poolhouse_pubsub.status import Code
from poolhouse_pubsub.transport.routes import ROUTES
from tests.kit.waiting import until

TOPIC = "projects/p1/topics/orders"
SUBSCRIPTION = "projects/p1/subscriptions/orders-sub"
SNAPSHOT = "projects/p1/snapshots/orders-snap"
SCHEMA = "projects/p1/schemas/record"
AVRO = {"type": "AVRO", "definition": '{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}'}

PACK = {"compression": {"compressionAlgorithm": "ZLIB", "compressionMode": "COMPRESS"}}


class Rest:
    """Calls below `/v1/`; answers the JSON of a success."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def __call__(self, method: str, path: str, body: Any = None, **parameters: Any) -> Any:
        response = self.raw(method, path, body, **parameters)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json; charset=UTF-8"
        return response.json()

    def raw(self, method: str, path: str, body: Any = None, **parameters: Any) -> httpx.Response:
        kwargs = {"params": parameters} if parameters else {}  # even empty ones would replace a query in the path
        return self.client.request(method, f"/v1/{path}", json=body, **kwargs)

    def error(self, method: str, path: str, body: Any = None, **parameters: Any) -> tuple[int, str, str]:
        """HTTP code, status name and message of a refusal; checks its form."""
        response = self.raw(method, path, body, **parameters)
        error = response.json()["error"]
        assert error["code"] == response.status_code
        return response.status_code, error["status"], error["message"]


@pytest.fixture(scope="module")
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer(seed=1) as running:
        yield running


@pytest.fixture
def rest(server: EmulatorServer) -> Iterator[Rest]:
    with httpx.Client(base_url=f"http://{server.address}", timeout=20, trust_env=False) as client:
        client.post("/reset").raise_for_status()
        yield Rest(client)


@pytest.fixture
def orders(rest: Rest) -> Rest:
    """A REST caller with a topic and a subscription there."""
    rest("PUT", TOPIC, {})
    rest("PUT", SUBSCRIPTION, {"topic": TOPIC})
    return rest


#: A call of every route, on what `furnished` makes.
CALLS: dict[str, tuple[str, Any]] = {
    "PUT topics/*": ("projects/p1/topics/fresh", {}),
    "PATCH topics/*": (TOPIC, {"topic": {"labels": {"a": "b"}}, "updateMask": "labels"}),
    "GET topics/*": (TOPIC, None),
    "DELETE topics/*": (TOPIC, None),
    "GET topics": ("projects/p1/topics", None),
    "GET topics/*/subscriptions": (f"{TOPIC}/subscriptions", None),
    "GET topics/*/snapshots": (f"{TOPIC}/snapshots", None),
    "POST topics/*:publish": (f"{TOPIC}:publish", {"messages": [{"data": "eA=="}]}),
    "POST subscriptions/*:detach": (f"{SUBSCRIPTION}:detach", None),
    "PUT subscriptions/*": ("projects/p1/subscriptions/fresh", {"topic": TOPIC}),
    "PATCH subscriptions/*": (
        SUBSCRIPTION,
        {"subscription": {"ackDeadlineSeconds": 20}, "updateMask": "ackDeadlineSeconds"},
    ),
    "GET subscriptions/*": (SUBSCRIPTION, None),
    "DELETE subscriptions/*": (SUBSCRIPTION, None),
    "GET subscriptions": ("projects/p1/subscriptions", None),
    "POST subscriptions/*:pull": (f"{SUBSCRIPTION}:pull", {"maxMessages": 1, "returnImmediately": True}),
    "POST subscriptions/*:acknowledge": (f"{SUBSCRIPTION}:acknowledge", {"ackIds": ["ACK"]}),
    "POST subscriptions/*:modifyAckDeadline": (
        f"{SUBSCRIPTION}:modifyAckDeadline",
        {"ackIds": ["ACK"], "ackDeadlineSeconds": 60},
    ),
    "POST subscriptions/*:modifyPushConfig": (f"{SUBSCRIPTION}:modifyPushConfig", {"pushConfig": {}}),
    "POST subscriptions/*:seek": (f"{SUBSCRIPTION}:seek", {"time": "2020-01-01T00:00:00Z"}),
    "PUT snapshots/*": ("projects/p1/snapshots/fresh", {"subscription": SUBSCRIPTION}),
    "PATCH snapshots/*": (SNAPSHOT, {"snapshot": {"labels": {"a": "b"}}, "updateMask": "labels"}),
    "GET snapshots/*": (SNAPSHOT, None),
    "DELETE snapshots/*": (SNAPSHOT, None),
    "GET snapshots": ("projects/p1/snapshots", None),
    "POST schemas": ("projects/p1/schemas?schemaId=fresh", AVRO),
    "GET schemas": ("projects/p1/schemas", None),
    "GET schemas/*": (SCHEMA, None),
    "DELETE schemas/*": (SCHEMA, None),
    "GET schemas/*:listRevisions": (f"{SCHEMA}:listRevisions", None),
    "POST schemas/*:commit": (f"{SCHEMA}:commit", {"schema": {**AVRO, "definition": AVRO["definition"] + " "}}),
    "POST schemas/*:rollback": (f"{SCHEMA}:rollback", {"revisionId": "REVISION"}),
    "DELETE schemas/*:deleteRevision": (f"{SCHEMA}@REVISION:deleteRevision", None),
    "POST :validateMessageTransform": ("projects/p1:validateMessageTransform", {"messageTransform": PACK}),
    "POST :testMessageTransforms": (
        "projects/p1:testMessageTransforms",
        {"message": {"data": "eA=="}, "messageTransforms": {"messageTransforms": [PACK]}},
    ),
    "POST schemas:validate": ("projects/p1/schemas:validate", {"schema": AVRO}),
    "POST schemas:validateMessage": (
        "projects/p1/schemas:validateMessage",
        {"schema": AVRO, "message": base64.b64encode(b'{"a":1}').decode(), "encoding": "JSON"},
    ),
}
for _kind, _name in {
    "topics": TOPIC,
    "subscriptions": SUBSCRIPTION,
    "snapshots": SNAPSHOT,
    "schemas": SCHEMA,
}.items():
    CALLS[f"GET {_kind}/*:getIamPolicy"] = (f"{_name}:getIamPolicy", None)
    CALLS[f"POST {_kind}/*:setIamPolicy"] = (f"{_name}:setIamPolicy", {"policy": {}})
    CALLS[f"POST {_kind}/*:testIamPermissions"] = (f"{_name}:testIamPermissions", {"permissions": ["pubsub.x.get"]})


@pytest.fixture
def furnished(orders: Rest) -> tuple[Rest, dict[str, str]]:
    """A REST caller with one of everything, and what to put for ACK and REVISION in a call."""
    orders("PUT", SNAPSHOT, {"subscription": SUBSCRIPTION})
    revision = orders("POST", "projects/p1/schemas", AVRO, schemaId="record")["revisionId"]
    orders("POST", f"{SCHEMA}:commit", {"schema": {**AVRO, "definition": AVRO["definition"] + "\n"}})
    orders("POST", f"{TOPIC}:publish", {"messages": [{"data": "eA=="}]})
    pulled = orders("POST", f"{SUBSCRIPTION}:pull", {"maxMessages": 1})
    return orders, {"ACK": pulled["receivedMessages"][0]["ackId"], "REVISION": revision}


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_answers(route: str, furnished: tuple[Rest, dict[str, str]]) -> None:
    rest, known = furnished
    path, body = CALLS[route]
    text = json.dumps(body)
    for placeholder, value in known.items():
        path, text = path.replace(placeholder, value), text.replace(placeholder, value)
    method = route.partition(" ")[0]
    assert rest(method, path, None if body is None else json.loads(text)) is not None


def test_the_root_answers_ok_and_a_reset_empties_everything(orders: Rest) -> None:
    assert orders.client.get("/").text.strip() == "Ok"
    assert orders.client.post("/reset").status_code == 200
    assert orders("GET", "projects/p1/topics") == {}


class TestJson:
    def test_answers_are_in_lower_camel_case_without_default_values(self, orders: Rest) -> None:
        assert orders("GET", SUBSCRIPTION) == {
            "name": SUBSCRIPTION,
            "topic": TOPIC,
            "ackDeadlineSeconds": 10,
            "messageRetentionDuration": "604800s",
            "expirationPolicy": {"ttl": "2678400s"},
            "state": "ACTIVE",
        }

    @pytest.mark.parametrize("mask", ["ackDeadlineSeconds,retryPolicy", "ack_deadline_seconds,retry_policy"])
    def test_both_spellings_go_in(self, orders: Rest, mask: str) -> None:
        camel = {"ackDeadlineSeconds": 30, "retryPolicy": {"minimumBackoff": "1.5s", "maximumBackoff": "90s"}}
        snake = {"ack_deadline_seconds": 30, "retry_policy": {"minimum_backoff": "1.500s", "maximum_backoff": "90s"}}
        for fields, mask_name in ((camel, "updateMask"), (snake, "update_mask")):
            changed = orders("PATCH", SUBSCRIPTION, {"subscription": fields, mask_name: mask})
            assert changed["ackDeadlineSeconds"] == 30
            assert changed["retryPolicy"] == {"minimumBackoff": "1.500s", "maximumBackoff": "90s"}

    def test_a_mask_reaches_into_a_field(self, rest: Rest, orders: Rest) -> None:
        rest("PUT", "projects/p1/topics/dead")
        policy = {"deadLetterTopic": "projects/p1/topics/dead", "maxDeliveryAttempts": 5}
        orders("PATCH", SUBSCRIPTION, {"subscription": {"deadLetterPolicy": policy}, "updateMask": "deadLetterPolicy"})
        changed = orders(
            "PATCH",
            SUBSCRIPTION,
            {
                "subscription": {"deadLetterPolicy": {"maxDeliveryAttempts": 9}},
                "updateMask": "deadLetterPolicy.maxDeliveryAttempts",
            },
        )
        assert changed["deadLetterPolicy"] == {**policy, "maxDeliveryAttempts": 9}

    def test_a_masked_field_that_is_not_given_returns_to_its_default(self, rest: Rest) -> None:
        rest("PUT", TOPIC, {"labels": {"a": "b"}})
        assert "labels" not in rest("PATCH", TOPIC, {"topic": {}, "updateMask": "labels"})

    @pytest.mark.parametrize("data", ["-_-_", "+/+/", "eA==", "eA"])
    def test_bytes_are_base64_in_either_alphabet_with_or_without_padding(self, orders: Rest, data: str) -> None:
        orders("POST", f"{TOPIC}:publish", {"messages": [{"data": data}]})
        pulled = orders("POST", f"{SUBSCRIPTION}:pull", {"maxMessages": 1})
        raw = base64.urlsafe_b64decode(data.replace("+", "-").replace("/", "_") + "=" * (-len(data) % 4))
        assert pulled["receivedMessages"][0]["message"]["data"] == base64.b64encode(raw).decode()

    def test_a_message_comes_out_whole(self, orders: Rest) -> None:
        sent = {"data": "eA==", "attributes": {"k": "v"}, "orderingKey": "o"}
        ids = orders("POST", f"{TOPIC}:publish", {"messages": [sent]})["messageIds"]
        (received,) = orders("POST", f"{SUBSCRIPTION}:pull", {"maxMessages": 10})["receivedMessages"]
        message = received["message"]
        assert message.pop("publishTime").endswith("Z")
        assert message == {**sent, "messageId": ids[0]}
        assert orders("POST", f"{SUBSCRIPTION}:acknowledge", {"ackIds": [received["ackId"]]}) == {}

    def test_parameters_that_every_api_takes_are_taken(self, orders: Rest) -> None:
        system = {"$.xgafv": "2", "alt": "json", "key": "x", "quotaUser": "x", "uploadType": "x"}
        assert orders("GET", TOPIC, **system)["name"] == TOPIC

    def test_pretty_print_can_be_turned_off_and_enums_be_numbers(self, orders: Rest) -> None:
        plain = orders.raw("GET", TOPIC, prettyPrint="false").content
        assert plain == b'{"name": "projects/p1/topics/orders", "state": "ACTIVE"}\n'
        assert orders("GET", TOPIC, **{"$alt": "json;enum-encoding=int"})["state"] == 1

    def test_query_parameters_fill_a_request_without_a_body(self, rest: Rest) -> None:
        for number in range(5):
            rest("PUT", f"projects/p1/topics/topic-{number}")
        first = rest("GET", "projects/p1/topics", pageSize=3)
        rest_of_them = rest("GET", "projects/p1/topics", page_size=3, page_token=first["nextPageToken"])
        names = [topic["name"] for topic in first["topics"] + rest_of_them["topics"]]
        assert names == [f"projects/p1/topics/topic-{number}" for number in range(5)]
        assert "nextPageToken" not in rest_of_them

    def test_a_view_is_an_enum_in_the_query(self, rest: Rest) -> None:
        rest("POST", "projects/p1/schemas", AVRO, schemaId="record")
        assert "definition" in rest("GET", SCHEMA)
        assert "definition" not in rest("GET", SCHEMA, view="BASIC")
        assert "definition" not in rest("GET", "projects/p1/schemas")["schemas"][0]
        assert "definition" in rest("GET", "projects/p1/schemas", view="FULL")["schemas"][0]

    def test_an_id_may_be_percent_encoded(self, rest: Rest) -> None:
        rest("PUT", "projects/p1/topics/a%2Bb%25c~d")
        assert rest("GET", "projects/p1/topics")["topics"][0]["name"] == "projects/p1/topics/a+b%c~d"

    def test_a_project_may_have_a_domain(self, rest: Rest) -> None:
        assert rest("POST", "projects/example.com:p1:validateMessageTransform", {"messageTransform": PACK}) == {}
        rest("PUT", "projects/example.com:p1/topics/orders")
        assert rest("GET", "projects/example.com:p1/topics")["topics"][0]["name"].startswith("projects/example.com:p1/")

    def test_a_policy_is_kept_and_its_etag_guards_it(self, orders: Rest) -> None:
        etag = orders("GET", f"{TOPIC}:getIamPolicy", **{"options.requestedPolicyVersion": 3})["etag"]
        policy = {"bindings": [{"role": "roles/pubsub.viewer", "members": ["user:a@example.com"]}], "etag": etag}
        kept = orders("POST", f"{TOPIC}:setIamPolicy", {"policy": policy})
        assert kept["bindings"] == policy["bindings"]
        assert orders("GET", f"{TOPIC}:getIamPolicy") == kept
        assert orders.error("POST", f"{TOPIC}:setIamPolicy", {"policy": policy})[:2] == (409, "ABORTED")
        granted = orders("POST", f"{TOPIC}:testIamPermissions", {"permissions": ["pubsub.topics.get"]})
        assert granted == {"permissions": ["pubsub.topics.get"]}


class TestRefusals:
    @pytest.mark.parametrize(
        ("method", "path", "body", "expected"),
        [
            ("GET", "projects/p1/topics/absent", None, (404, "NOT_FOUND", "absent")),
            ("PUT", TOPIC, {}, (409, "ALREADY_EXISTS", "orders")),
            ("PUT", "projects/p1/topics/ab", {}, (400, "INVALID_ARGUMENT", "3 to 255")),
            ("PUT", "projects/p1/topics/a%2Fb", {}, (400, "INVALID_ARGUMENT", "3 to 255")),
            ("PUT", "projects/p1/topics/fresh", {"foo": 1}, (400, "INVALID_ARGUMENT", '"foo"')),
            ("PUT", "projects/p1/topics/fresh", [], (400, "INVALID_ARGUMENT", "a JSON object")),
            ("PUT", "projects/p1/topics/fresh", {"labels": "x"}, (400, "INVALID_ARGUMENT", "labels")),
            ("PUT", "projects/p1/topics/fresh?topicId=x", {}, (400, "INVALID_ARGUMENT", '"topicId"')),
            (
                *("PUT", "projects/p1/topics/fresh", {"ingestionDataSourceSettings": {"bogus": {}}}),
                (400, "INVALID_ARGUMENT", '"bogus"'),
            ),
            ("PUT", "projects/p1/subscriptions", {"topic": TOPIC}, (404, "NOT_FOUND", "subscriptions")),
            ("GET", "projects/p1/topics?bogus=1", None, (400, "INVALID_ARGUMENT", '"bogus"')),
            ("GET", "projects/p1/topics?pageSize=x", None, (400, "INVALID_ARGUMENT", "pageSize")),
            ("GET", "projects/p1/topics?pageSize.x=1", None, (400, "INVALID_ARGUMENT", "pageSize")),
            ("GET", "projects/p1/topics?pageSize=1&pageSize.x=1", None, (400, "INVALID_ARGUMENT", "pageSize.x")),
            ("GET", "projects/p1/topics?alt=proto", None, (400, "INVALID_ARGUMENT", "alt")),
            ("GET", "projects/p1/topics", {"a": 1}, (400, "INVALID_ARGUMENT", "no body")),
            ("PATCH", TOPIC, {"topic": {}}, (400, "INVALID_ARGUMENT", "update_mask")),
            ("PATCH", TOPIC, {"topic": {}, "updateMask": "bogus"}, (400, "INVALID_ARGUMENT", "bogus")),
            ("PATCH", TOPIC, {"topic": {}, "updateMask": "name"}, (400, "INVALID_ARGUMENT", "name")),
            ("POST", f"{TOPIC}:publish", {"messages": [{"data": "a!!!"}]}, (400, "INVALID_ARGUMENT", "messages.data")),
            ("POST", f"{TOPIC}:publish", {"messages": [{"data": 5}]}, (400, "INVALID_ARGUMENT", "data")),
            ("POST", f"{TOPIC}:publish", {"messages": {"data": "eA=="}}, (400, "INVALID_ARGUMENT", "messages")),
            ("POST", f"{TOPIC}:publish", {"messages": [7]}, (400, "INVALID_ARGUMENT", "messages")),
            ("POST", f"{TOPIC}:publish", {"messages": []}, (400, "INVALID_ARGUMENT", "")),
            ("POST", f"{SUBSCRIPTION}:pull", {"maxMessages": 0}, (400, "INVALID_ARGUMENT", "max_messages")),
            ("POST", f"{SUBSCRIPTION}:pull", {"maxMessages": "many"}, (400, "INVALID_ARGUMENT", "many")),
            ("POST", f"{SUBSCRIPTION}:bogus", {}, (404, "NOT_FOUND", ":bogus")),
            ("GET", "projects/p1/bogus", None, (404, "NOT_FOUND", "bogus")),
            ("GET", "projects/p1/topics/orders/more/of/it", None, (404, "NOT_FOUND", "more")),
            ("POST", "projects/p1/topics", {}, (404, "NOT_FOUND", "topics")),
        ],
    )
    def test_a_bad_call_is_refused_in_the_rest_form(
        self, orders: Rest, method: str, path: str, body: Any, expected: tuple[int, str, str]
    ) -> None:
        code, status, message = orders.error(method, path, body)
        assert (code, status) == expected[:2]
        assert expected[2] in message
        assert "\n" not in message

    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"nul",
            b"\xff",
            b"[" * 100_000,
            b'{"messages": [' + b'{"attributes": ' * 500 + b"0" + b"}" * 500 + b"]}",
        ],
    )
    def test_a_body_that_is_not_json_is_refused(self, orders: Rest, body: bytes) -> None:
        response = orders.client.post(f"/v1/{TOPIC}:publish", content=body)
        assert response.status_code == 400
        assert response.json()["error"]["status"] == "INVALID_ARGUMENT"

    def test_a_body_of_more_than_10_mib_is_refused(self, orders: Rest) -> None:
        response = orders.client.post(f"/v1/{TOPIC}:publish", content=b" " * (10 * 1024 * 1024 + 1))
        assert response.status_code == 400
        assert "10485760 bytes" in response.json()["error"]["message"]

    def test_an_exactly_once_failure_carries_its_details(self, orders: Rest) -> None:
        name = "projects/p1/subscriptions/once"
        orders("PUT", name, {"topic": TOPIC, "enableExactlyOnceDelivery": True})
        orders("POST", f"{TOPIC}:publish", {"messages": [{"data": "eA=="}]})
        ack_id = orders("POST", f"{name}:pull", {"maxMessages": 1})["receivedMessages"][0]["ackId"]
        orders("POST", f"{name}:acknowledge", {"ackIds": [ack_id]})
        error = orders.raw("POST", f"{name}:acknowledge", {"ackIds": [ack_id]}).json()["error"]
        assert error["details"] == [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "EXACTLY_ONCE_ACKID_FAILURE",
                "domain": "pubsub.googleapis.com",
                "metadata": {ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"},
            }
        ]

    def test_an_injected_fault_reaches_rest_too(self, orders: Rest, server: EmulatorServer) -> None:
        server.faults.add("error", methods=("GetTopic",), count=1)
        try:
            assert orders.error("GET", TOPIC)[:2] == (503, "UNAVAILABLE")
            assert orders("GET", TOPIC)
        finally:
            server.faults.clear()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.INVALID_ARGUMENT, 400),
        (Code.FAILED_PRECONDITION, 400),
        (Code.OUT_OF_RANGE, 400),
        (Code.UNAUTHENTICATED, 401),
        (Code.PERMISSION_DENIED, 403),
        (Code.NOT_FOUND, 404),
        (Code.ALREADY_EXISTS, 409),
        (Code.ABORTED, 409),
        (Code.RESOURCE_EXHAUSTED, 429),
        (Code.CANCELLED, 499),
        (Code.INTERNAL, 500),
        (Code.UNKNOWN, 500),
        (Code.UNIMPLEMENTED, 501),
        (Code.UNAVAILABLE, 503),
        (Code.DEADLINE_EXCEEDED, 504),
    ],
)
def test_each_code_has_its_http_status(orders: Rest, server: EmulatorServer, code: Code, status: int) -> None:
    server.faults.add("error", methods=("GetTopic",), count=1, code=code)
    try:
        assert orders.error("GET", TOPIC)[:2] == (status, code.name)
    finally:
        server.faults.clear()


def test_a_pull_waits_for_a_message_and_other_calls_go_on_meanwhile(orders: Rest, server: EmulatorServer) -> None:
    with ThreadPoolExecutor(1) as pool:
        pulling = pool.submit(orders, "POST", f"{SUBSCRIPTION}:pull", {"maxMessages": 1})
        until(lambda: server.call(lambda: server.emulator.subscriptions[SUBSCRIPTION].consumers) == 1)
        with httpx.Client(base_url=f"http://{server.address}", trust_env=False) as other:
            other.post(f"/v1/{TOPIC}:publish", json={"messages": [{"data": "eA=="}]}).raise_for_status()
        assert pulling.result(5)["receivedMessages"][0]["message"]["data"] == "eA=="


def test_a_pull_that_its_client_gave_up_leaves_no_waiter(orders: Rest, server: EmulatorServer) -> None:
    def waiting() -> int:
        return server.call(lambda: server.emulator.subscriptions[SUBSCRIPTION].consumers)

    with (
        httpx.Client(base_url=f"http://{server.address}", trust_env=False) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.post(f"/v1/{SUBSCRIPTION}:pull", json={"maxMessages": 1}, timeout=0.2)
    until(lambda: waiting() == 0)
    orders("POST", f"{TOPIC}:publish", {"messages": [{"data": "eA=="}]})
    assert orders("POST", f"{SUBSCRIPTION}:pull", {"maxMessages": 1})["receivedMessages"]


def test_a_bug_in_a_call_is_answered_and_logged(server: EmulatorServer, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: HttpRequest) -> HttpResponse | None:
        if request.path == "/broken":
            raise RuntimeError("a bug")
        return None

    server.call(lambda: server.core.add_app(broken))
    with httpx.Client(base_url=f"http://{server.address}", trust_env=False) as client:
        response = client.get("/broken")
        assert (response.status_code, response.json()["error"]["status"]) == (500, "INTERNAL")
        assert client.get("/").status_code == 200
    assert "a bug" in caplog.text


#: Names of fields, so that random JSON gets further than the first unknown name.
FIELDS = [
    *("name", "topic", "subscription", "labels", "messages", "data", "attributes", "orderingKey", "ackIds", "filter"),
    *("updateMask", "update_mask", "pushConfig", "pushEndpoint", "retryPolicy", "minimumBackoff", "time", "snapshot"),
    *("schema", "definition", "type", "encoding", "message", "policy", "bindings", "etag", "maxMessages", "ttl"),
    *("ackDeadlineSeconds", "messageRetentionDuration", "expirationPolicy", "schemaSettings", "permissions"),
    *("returnImmediately", "oidcToken", "noWrapper", "deadLetterPolicy", "deadLetterTopic", "revisionId"),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["10s", "-1s", "eA==", "1970-01-01T00:00:00Z", "AVRO", "JSON", TOPIC, SUBSCRIPTION, "labels,,x"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4) | VALUES


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(route=st.sampled_from(sorted(ROUTES)), body=BODIES)
def test_random_json_never_breaks_a_call(orders: Rest, route: str, body: Any) -> None:
    path, _ = CALLS[route]
    if isinstance(body, dict) and route == "POST subscriptions/*:pull":
        body["returnImmediately"] = True
    response = orders.raw(route.partition(" ")[0], path, body)
    assert response.status_code in (200, 400, 404, 409, 429), response.text


class TestPythonClient:
    """google-cloud-pubsub with REST in place of gRPC."""

    def test_a_message_goes_through(self, rest: Rest, server: EmulatorServer) -> None:
        options = {"host": f"http://{server.address}", "credentials": AnonymousCredentials(), "url_scheme": "http"}
        publisher = PublisherClient(transport=PublisherRestTransport(**options))
        subscriber = SubscriberClient(transport=SubscriberRestTransport(**options))
        publisher.create_topic(name=TOPIC)
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC)
        published = publisher.publish(topic=TOPIC, messages=[{"data": b"x", "attributes": {"k": "v"}}])
        (received,) = subscriber.pull(subscription=SUBSCRIPTION, max_messages=5).received_messages
        assert received.message.message_id == published.message_ids[0]
        assert received.message.data == b"x"
        assert dict(received.message.attributes) == {"k": "v"}
        subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[received.ack_id])
        changed = subscriber.update_subscription(
            subscription={"name": SUBSCRIPTION, "ack_deadline_seconds": 42},
            update_mask={"paths": ["ack_deadline_seconds"]},
        )
        assert changed.ack_deadline_seconds == 42
        snapshot = subscriber.create_snapshot(name=SNAPSHOT, subscription=SUBSCRIPTION)
        subscriber.seek(request={"subscription": SUBSCRIPTION, "snapshot": snapshot.name})
        assert [topic.name for topic in publisher.list_topics(project="projects/p1")] == [TOPIC]
        with pytest.raises(NotFound, match="absent"):
            publisher.get_topic(topic="projects/p1/topics/absent")

    def test_the_stock_client_takes_rest_by_name(
        self, rest: Rest, server: EmulatorServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)  # it would have the client open a gRPC channel
        options: dict[str, Any] = {
            "transport": "rest",
            "client_options": {"api_endpoint": f"http://{server.address}"},
            "credentials": AnonymousCredentials(),
        }
        publisher = pubsub_v1.PublisherClient(**options)
        subscriber = pubsub_v1.SubscriberClient(**options)
        publisher.create_topic(name=TOPIC)
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC)
        message_id = publisher.publish(TOPIC, b"x").result(5)
        (received,) = subscriber.pull(subscription=SUBSCRIPTION, max_messages=5).received_messages
        assert received.message.message_id == message_id
        publisher.stop()

    def test_schemas_go_through(self, rest: Rest, server: EmulatorServer) -> None:
        transport = SchemaServiceRestTransport(
            host=f"http://{server.address}", credentials=AnonymousCredentials(), url_scheme="http"
        )
        schemas = SchemaServiceClient(transport=transport)
        made = schemas.create_schema(
            parent="projects/p1", schema={"type_": "AVRO", "definition": AVRO["definition"]}, schema_id="record"
        )
        assert schemas.get_schema(name=SCHEMA).revision_id == made.revision_id
        schemas.validate_message(
            request={"parent": "projects/p1", "name": SCHEMA, "message": b'{"a":1}', "encoding": "JSON"}
        )
        with pytest.raises(BadRequest, match="missing"):
            schemas.validate_message(
                request={"parent": "projects/p1", "name": SCHEMA, "message": b"{}", "encoding": "JSON"}
            )
        assert [schema.name for schema in schemas.list_schemas(parent="projects/p1")] == [SCHEMA]
