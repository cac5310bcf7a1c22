"""What a client may get wrong: each answer is a 4xx problem document that names the field, and nothing is submitted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolhouse.api.strict_query import StrictQueryRoute
from tests.kit.unit.api.conftest import Anything, Api

JSON = {"content-type": "application/json"}
LONG = "x" * 1100
NESTED = b'{"task_type":"anything","value":' + b"[" * 200 + b"]" * 200 + b"}"
DEEP = b'{"task_type":"anything","value":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

#: A body, the status, the field named (None: no single field is to blame).
BODIES: list[tuple[str, bytes, int, str | None]] = [
    ("no body", b"", 400, None),
    ("white space", b"  \n", 400, None),
    ("not JSON", b"task_type=anything", 400, None),
    ("half of it", b'{"task_type": "anything"', 400, None),
    ("not UTF-8", b'{"task_type": "\xff\xfe"}', 400, None),
    ("a byte order mark", b'\xef\xbb\xbf{"task_type": "anything"}', 400, None),
    ("a list", b"[]", 400, None),
    ("a string", b'"anything"', 400, None),
    ("a number", b"7", 400, None),
    ("null", b"null", 400, None),
    ("no task type", b"{}", 400, "task_type"),
    ("an empty task type", b'{"task_type": ""}', 400, "task_type"),
    ("null as task type", b'{"task_type": null}', 400, "task_type"),
    ("a number as task type", b'{"task_type": 7}', 422, "task_type"),
    ("a list as task type", b'{"task_type": ["anything"]}', 422, "task_type"),
    ("an unknown task type", b'{"task_type": "nonsense"}', 422, "task_type"),
    ("an endless task type", json.dumps({"task_type": "x" * 100_000}).encode(), 422, "task_type"),
    ("a name twice", b'{"task_type": "anything", "value": 1, "value": 2}', 400, "value"),
    ("a name twice, deep inside", b'{"task_type": "anything", "value": [{"a": 1, "a": 2}]}', 400, "a"),
    ("NaN", b'{"task_type": "anything", "value": NaN}', 400, None),
    ("infinity", b'{"task_type": "anything", "value": -Infinity}', 400, None),
    ("a float beyond floats", b'{"task_type": "anything", "value": {"a": [1e400]}}', 422, "value.a.0"),
    ("an integer beyond 64 bits", b'{"task_type": "anything", "value": 9223372036854775808}', 422, "value"),
    ("an integer of 5,000 digits", b'{"task_type": "anything", "value": ' + b"9" * 5000 + b"}", 400, None),
    ("half a surrogate pair", b'{"task_type": "anything", "value": "\\ud800"}', 422, "value"),
    ("half a surrogate pair in a name", b'{"task_type": "anything", "\\ud800": 1}', 422, None),
    ("half a surrogate pair as type", b'{"task_type": "\\ud800"}', 422, "task_type"),
    ("200 levels", NESTED, 422, None),
    ("100,000 levels", DEEP, 400, None),
    ("an id of the client's own", b'{"task_type": "anything", "task_id": "mine"}', 422, "task_id"),
    ("a time of the client's own", b'{"task_type": "anything", "submitted_at": "2020-01-01"}', 422, "submitted_at"),
    ("a field that is none", b'{"task_type": "anything", "valeu": 1}', 422, "valeu"),
    ("a missing field", b'{"task_type": "file_processing"}', 422, "filename"),
    ("a wrong type", b'{"task_type": "file_processing", "filename": 7}', 422, "filename"),
    ("a negative number", b'{"task_type": "data_transformation", "dataset_size": -1}', 422, "dataset_size"),
    ("too large a number", b'{"task_type": "data_transformation", "dataset_size": 1000001}', 422, "dataset_size"),
    ("a fraction", b'{"task_type": "data_transformation", "dataset_size": 1.5}', 422, "dataset_size"),
    (
        "a wrong entry of a list",
        b'{"task_type": "data_transformation", "dataset_size": 1, "columns": ["a", ""]}',
        422,
        "columns.1",
    ),
    (
        "a negative time",
        b'{"task_type": "file_processing", "filename": "a", "processing_time": -1}',
        422,
        "processing_time",
    ),
    ("two wrong fields", b'{"task_type": "file_processing", "filename": 7, "other": 1}', 422, "other"),
]

FILE_NAMES = {
    "empty": "",
    "up": "../x",
    "up inside": "a/../b",
    "here": "./a",
    "double slash": "a//b",
    "leading slash": "/etc/passwd",
    "trailing slash": "a/",
    "NUL": "a\0b",
    "newline": "a\nb",
    "escape": "a\x1bb",
    "line separator": "a\u2028b",
    "backslash": "a\\b",
    "1,100 bytes": LONG,
    "1,100 bytes in segments": "/".join(["x" * 99] * 11),
    "a segment of 201 bytes": "x" * 201,
    "1,100 bytes of two-byte letters": "ü" * 550,
}


def problem(answer: Any, status: int) -> dict[str, Any]:
    """The problem document of an answer, after checking that it is one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["detail"]
    assert document["error"]
    assert "Traceback" not in answer.text
    return document


def fields(document: dict[str, Any]) -> set[str]:
    return {error["field"] for error in document.get("errors", [])}


@pytest.mark.parametrize(("body", "status", "field"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES])
def test_a_wrong_body_is_refused_with_its_field(api: Api, body: bytes, status: int, field: str | None) -> None:
    document = problem(api.client.post("/submit-task", content=body, headers=JSON), status)

    assert field is None or field in fields(document)
    assert api.topics.published == []


def test_a_missing_task_type_is_reported_as_the_contract_says(api: Api) -> None:
    answer = api.client.post("/submit-task", json={"filename": "a.csv"})

    assert answer.status_code == 400
    assert answer.json()["error"] == "task_type is required"


@pytest.mark.parametrize("name", FILE_NAMES.values(), ids=FILE_NAMES)
@pytest.mark.parametrize(
    ("path", "field"), [("/submit-file-task", "filename"), ("/tasks", "payload.filename"), ("/files", "name")]
)
def test_a_file_name_that_can_do_harm_is_refused(api: Api, path: str, field: str, name: str) -> None:
    body: dict[str, Any] = {"filename": name}
    if path == "/tasks":
        body = {"task_type": "file_processing", "payload": body}
    elif path == "/files":
        body = {"name": name}

    document = problem(api.client.post(path, json=body), 422)

    assert fields(document) == {field}
    assert api.topics.published == []
    assert api.store.sessions == []


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; x=y"])
def test_a_body_not_declared_as_json_is_refused(api: Api, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}

    problem(api.client.post("/submit-task", content=b'{"task_type": "anything"}', headers=headers), 415)

    assert api.topics.published == []


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json"])
def test_json_by_another_name_is_accepted(api: Api, kind: str) -> None:
    answer = api.client.post("/submit-task", content=b'{"task_type": "anything"}', headers={"content-type": kind})

    assert answer.status_code == 200


class TestNestedForm:
    @pytest.mark.parametrize(
        ("body", "status", "field"),
        [
            ({}, 400, "task_type"),
            ({"task_type": "anything", "payload": None}, 422, "payload"),
            ({"task_type": "anything", "payload": [1]}, 422, "payload"),
            ({"task_type": "anything", "payload": {"valeu": 1}}, 422, "payload.valeu"),
            ({"task_type": "anything", "value": 1}, 422, "value"),
            ({"task_type": "anything", "task_id": "x"}, 422, "task_id"),
            ({"task_type": "anything", "payload": {"task_id": "x"}}, 422, "payload.task_id"),
            ({"task_type": "anything", "payload": {"task_type": "x"}}, 422, "payload.task_type"),
            ({"task_type": "anything", "payload": {"submitted_at": "x"}}, 422, "payload.submitted_at"),
            ({"task_type": "anything", "queue": "nonsense"}, 422, "queue"),
            ({"task_type": "anything", "queue": 7}, 422, "queue"),
            ({"task_type": "file_processing"}, 422, "payload.filename"),
        ],
    )
    def test_a_wrong_field_is_named(self, api: Api, body: dict[str, Any], status: int, field: str) -> None:
        assert field in fields(problem(api.client.post("/tasks", json=body), status))
        assert api.topics.published == []


@pytest.mark.parametrize("queue", ["nonsense", "../x", "x" * 5000])
def test_an_unknown_queue_is_refused(api: Api, queue: str) -> None:
    answer = api.client.post("/submit-task", params={"queue": queue}, json={"task_type": "anything"})

    assert fields(problem(answer, 422)) == {"queue"}


def test_a_simple_call_refuses_another_task_type(api: Api) -> None:
    answer = api.client.post("/submit-file-task", json={"task_type": "anything"})

    assert fields(problem(answer, 422)) == {"task_type"}


class TestSize:
    BODY = json.dumps({"task_type": "anything", "value": "x" * 21_000_000}).encode()

    def test_more_than_the_limit_is_refused_by_its_name(self, api: Api) -> None:
        answer = api.client.post("/submit-task", content=self.BODY, headers=JSON)

        found = problem(answer, 413)
        assert "20,000,000" in found["error"]
        assert "payloads.max_bytes" in found["detail"]
        assert api.topics.published == []

    def test_more_than_the_limit_without_a_declared_length_is_refused(self, api: Api) -> None:
        def chunks() -> Iterator[bytes]:
            for start in range(0, len(self.BODY), 100_000):
                yield self.BODY[start : start + 100_000]

        problem(api.client.post("/submit-task", content=chunks(), headers=JSON), 413)
        assert api.topics.published == []

    def test_nineteen_megabytes_are_accepted(self, api: Api) -> None:
        answer = api.client.post("/submit-task", json={"task_type": "anything", "value": "x" * 19_000_000})

        assert answer.status_code == 200


class TestFiles:
    @pytest.mark.parametrize(
        ("extra", "field"),
        [
            ({"content_type": "nonsense"}, "content_type"),
            ({"content_type": "text/csv\r\nX-Evil: 1"}, "content_type"),
            ({"content_type": 7}, "content_type"),
            ({"size_bytes": -1}, "size_bytes"),
            ({"size_bytes": 6 * 1024**4}, "size_bytes"),
            ({"size_bytes": "7"}, "size_bytes"),
            ({"size_bytes": True}, "size_bytes"),
            ({"size_bytes": 1.5}, "size_bytes"),
            ({"folder": "x"}, "folder"),
            ({"name": 7}, "name"),
            ({"name": None}, "name"),
        ],
    )
    def test_a_wrong_field_is_named(self, api: Api, extra: dict[str, Any], field: str) -> None:
        assert fields(problem(api.client.post("/files", json={"name": "a.csv", **extra}), 422)) == {field}
        assert api.store.sessions == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=nonsense", "status"),
        ("page_size=0", "page_size"),
        ("page_size=1001", "page_size"),
        ("page_size=many", "page_size"),
        ("page_token=" + "x" * 3000, "page_token"),
    ],
)
def test_a_wrong_parameter_of_a_listing_is_named(api: Api, query: str, field: str) -> None:
    assert fields(problem(api.client.get(f"/tasks?{query}"), 422)) == {field}


@pytest.mark.parametrize("path", ["/nothing", "/tasks/a/b", "/tasks/", "/docs/assets/secret.py", "/dead-letters/x:fly"])
def test_an_address_that_is_none_is_404(api: Api, path: str) -> None:
    problem(api.client.get(path, follow_redirects=False), 404)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/submit-task"), ("DELETE", "/tasks"), ("PUT", "/files"), ("POST", "/health")]
)
def test_another_method_is_405_and_says_which_are_allowed(api: Api, method: str, path: str) -> None:
    answer = api.client.request(method, path)

    problem(answer, 405)
    assert answer.headers["allow"]


@pytest.mark.parametrize(
    "task_id", ["unknown", "..", "%2e%2e", "a%00b", "x" * 200, "0" * 30, "%ff", "a\u00fc", "a%0Ab", "..%2Fconfig"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/tasks/{}"),
        ("GET", "/tasks/{}/result"),
        ("GET", "/tasks/{}/events"),
        ("POST", "/tasks/{}:cancel"),
        ("GET", "/dead-letters/{}"),
        ("POST", "/dead-letters/{}:replay"),
        ("POST", "/dead-letters/{}:discard"),
    ],
)
def test_an_id_that_was_never_issued_is_404(api: Api, method: str, path: str, task_id: str) -> None:
    before = api.store.names()

    problem(api.client.request(method, path.format(task_id), follow_redirects=False), 404)

    assert api.store.names() == before


def test_an_unexpected_error_is_500_and_reveals_nothing(api: Api) -> None:
    api.store.failure = RuntimeError("secret detail")

    answer = api.client.get("/tasks")

    assert "secret" not in answer.text
    problem(answer, 500)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
SOME_NAMES = st.sampled_from(["task_type", "payload", "queue", "filename", "tasks", "name", "value", "task_id"])
SOME_VALUES = st.sampled_from(["anything", "file_processing", "urgent", "a.csv", {}, {"value": 1}, []])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/submit-task", "/submit-file-task", "/tasks", "/tasks:batch", "/files"]),
    body=st.dictionaries(SOME_NAMES | st.text(max_size=5), SOME_VALUES | JSON_VALUES, max_size=5) | JSON_VALUES,
)
def test_no_body_whatever_makes_the_service_fail(api: Api, path: str, body: Any) -> None:
    answer = api.client.post(path, content=json.dumps(body).encode(), headers=JSON)

    assert answer.status_code < 500
    if answer.status_code >= 400:
        problem(answer, answer.status_code)


@pytest.mark.parametrize(
    ("call", "field", "says"),
    [
        ("GET /tasks?statuss=failed", "statuss", "Did you mean 'status'?"),
        ("GET /tasks?status=failed&status=dead", "status", "is given more than once"),
        ("GET /dead-letters?pagesize=1", "pagesize", "Did you mean 'page_size'?"),
        ("POST /submit-task?delay=60", "delay", "Did you mean 'delay_s'?"),
        ("POST /submit-file-task?delay_s=60&delay_s=5", "delay_s", "is given more than once"),
        ("POST /tasks?delay_s=60", "delay_s", "options belong in the body"),
        ("POST /queues/default:pause?why=x", "why", "it takes none"),
    ],
)
def test_a_query_that_would_be_ignored_in_part_is_refused(api: Api, call: str, field: str, says: str) -> None:
    method, url = call.split()
    body = {"json": {"task_type": "anything"}} if method == "POST" else {}
    document = problem(api.client.request(method, url, **body), 422)
    assert [(error["field"], says in error["message"]) for error in document["errors"]] == [(field, True)]
    assert api.topics.published == []


#: What takes any query: monitors and browsers add their own.
LAX = {"/health", "/ready", "/docs", "/docs/assets/{name}"}


def test_every_parameter_of_the_description_is_taken_and_health_checks_may_add_their_own(api: Api) -> None:
    described = api.app.openapi()["paths"]
    strict = [route for route in api.app.state.routes if isinstance(route, StrictQueryRoute)]
    assert {route.path for route in api.app.state.routes if route not in strict} == LAX
    for route in strict:
        for method in route.methods or ():
            parameters = described[route.path_format][method.lower()].get("parameters", ())
            assert sorted(route.query_parameters) == sorted(
                each["name"] for each in parameters if each["in"] == "query"
            )
    assert api.client.get("/health?_=1").status_code == 200


def test_a_compressed_body_and_a_second_idempotency_key_are_refused(api: Api) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = api.client.post("/submit-task", content=gzip.compress(b'{"task_type": "anything"}'), headers=headers)
    assert "Content-Encoding" in problem(answer, 415)["detail"]
    keys = [("Content-Type", "application/json"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = api.client.post("/submit-task", content=b'{"task_type": "anything"}', headers=keys)
    assert problem(answer, 400)["errors"] == [
        {"field": "Idempotency-Key", "message": "is sent more than once: send one key"}
    ]
    assert api.topics.published == []


@pytest.mark.parametrize("text", ["1_0", " 10", "+10", "٣", "010", "nan", "10."])
@pytest.mark.parametrize(
    "call",
    [
        "POST /submit-task?delay_s",
        "GET /tasks?page_size",
        "GET /dead-letters?page_size",
        "GET /groups?page_size",
        "GET /statistics?minutes",
    ],
)
def test_a_number_of_a_query_is_written_as_json_writes_it(api: Api, call: str, text: str) -> None:
    method, url = call.split(" ")
    path, name = url.split("?")
    body = {"task_type": "anything"} if method == "POST" else None
    assert api.client.request(method, path, params={name: "10"}, json=body).status_code == 200
    published = len(api.topics.published)
    answer = api.client.request(method, path, params={name: text}, json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [name]
    assert len(api.topics.published) == published


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_validator_that_would_end_the_program_is_an_unexpected_error(
    api: Api, monkeypatch: pytest.MonkeyPatch, ending: type[BaseException]
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise ending

    with monkeypatch.context() as patched:
        patched.setattr(Anything, "model_validate", refuse)
        for call in ("/submit-task", "/tasks"):
            problem(api.client.post(call, json={"task_type": "anything"}), 500)
    assert api.client.post("/tasks", json={"task_type": "anything"}).status_code == 202
