"""Who may call an API that everybody can reach: keys, scopes, rates, and Cloud Scheduler's tokens."""

from __future__ import annotations

import base64
import datetime
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.testclient import TestClient
from google.auth import crypt, jwt
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocket
from structlog.testing import capture_logs

from poolhouse.api.callers import CallerCheck, needs
from poolhouse.api.callers.google_tokens import GoogleTokens
from poolhouse.pipeline.config import settings as environment
from poolhouse.pipeline.config.api_access import ApiAccess, ApiKey, Scope, digest
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.signed_tokens import KEEP_S, LOOK_AGAIN_S
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics

from .conftest import Api, application, settings

TASK = {"task_type": "anything"}
ACCOUNT, AUDIENCE = "shop-scheduler@p.iam.gserviceaccount.com", "https://shop-api-1.europe-west1.run.app"


def key(*may: Scope, name: str = "key", per_minute: int | None = None) -> ApiKey:
    return ApiKey(sha256=digest(name), may=may, per_minute=per_minute)


class Watch:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Checked:
    """Calls of the application behind the check."""

    def __init__(self, api: Api, access: ApiAccess, *, tokens: GoogleTokens | None = None) -> None:
        self.watch = Watch()
        app = CallerCheck(api.app, access=access, tokens=tokens, clock=self.watch)
        self._client = TestClient(app, raise_server_exceptions=False)

    def __call__(self, method: str, path: str, *, key: str | None = None, **options: Any) -> requests.Response:
        headers = {**options.pop("headers", {}), **({} if key is None else {"X-API-Key": key})}
        answer: Any = self._client.request(method, path, headers=headers, **options)
        return answer  # type: ignore[no-any-return]


#: What each call of the kit needs. A new call has no place here: decide who may make it.
NEEDS = """
nothing GET /health
nothing GET /ready
any     GET /docs
any     GET /docs/assets/{name}
any     GET /groups/{group_id}
any     GET /tasks/{task_id}
any     GET /tasks/{task_id}/events
any     GET /tasks/{task_id}/result
read    GET /dead-letters
read    GET /dead-letters/{task_id}
read    GET /files/{name:path}
read    GET /groups
read    GET /limits
read    GET /queues
read    GET /schedules
read    GET /statistics
read    GET /tasks
read    GET /triggers
submit  POST /files
submit  POST /groups
submit  POST /groups/{group_id}:add
submit  POST /groups/{group_id}:close
submit  POST /submit-task
submit  POST /tasks
submit  POST /tasks:batch
operate GET /quotas
due     POST /schedules/{name}:due
"""


def test_every_call_of_the_kit_has_a_need_and_what_is_not_listed_is_for_operators(api: Api) -> None:
    listed = {line.split(maxsplit=1)[1]: line.split()[0] for line in NEEDS.strip().splitlines()}
    there = {f"{method} {route.path}" for route in api.app.state.routes for method in route.methods if method != "HEAD"}
    assert listed.keys() - there == set()
    for call in sorted(there):
        method, path = call.split()
        assert needs.need(method, path.replace("{", "").replace("}", "")) == listed.get(call, "operate"), call
    rest = there - listed.keys()
    assert len(rest) > 10
    # What is left to operators changes what is there: a call of a thing that is there already.
    assert {call for call in rest if ":" not in call.removeprefix("POST ")} == set()


@pytest.mark.parametrize(
    ("may", "reads", "submits", "operates"),
    [(("read",), 200, 403, 403), (("submit",), 403, 202, 403), (("operate",), 200, 202, 200)],
)
def test_a_key_opens_what_its_scope_says_and_each_scope_follows_a_task_by_its_id(
    api: Api, may: tuple[Scope, ...], reads: int, submits: int, operates: int
) -> None:
    task_id = api.submit()
    call = Checked(api, ApiAccess(keys={"shop": key(*may)}))
    assert call("GET", "/tasks", key="key").status_code == reads
    assert call("POST", "/tasks", key="key", json=TASK).status_code == submits
    assert call("POST", "/queues/default:pause", key="key").status_code == operates
    assert call("GET", f"/tasks/{task_id}", key="key").status_code == 200


def test_a_key_may_have_two_scopes_and_the_answer_names_the_one_that_it_lacks(api: Api) -> None:
    call = Checked(api, ApiAccess(keys={"shop": key("read", "submit")}))
    assert call("GET", "/queues", key="key").status_code == 200
    assert call("POST", "/submit-file-task", key="key", json={"filename": "a.txt"}).status_code == 200
    refused = call("POST", "/queues/default:pause", key="key")
    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["error"] == "this call needs the scope operate; this key may read and submit"


@pytest.mark.parametrize(
    ("anonymous", "reads", "submits"),
    [(None, 401, 401), ("read", 200, 401), ("submit", 401, 202), ("operate", 200, 202)],
)
def test_callers_without_a_key_get_what_everybody_may(
    api: Api, anonymous: Scope | None, reads: int, submits: int
) -> None:
    call = Checked(api, ApiAccess(anonymous=anonymous))
    assert call("GET", "/tasks").status_code == reads
    assert call("POST", "/tasks", json=TASK).status_code == submits
    refused = [
        answer for answer in (call("GET", "/tasks"), call("POST", "/tasks", json=TASK)) if answer.status_code > 400
    ]
    for answer in refused:
        assert answer.headers["www-authenticate"] == 'ApiKey header="X-API-Key"'
        assert "send a key in the header X-API-Key" in answer.json()["error"]
    assert call("GET", "/health").status_code == 200


def test_a_wrong_key_is_refused_even_where_none_is_needed_and_costs_no_call_of_the_bucket(api: Api) -> None:
    call = Checked(api, ApiAccess(anonymous="operate"))
    with capture_logs() as lines:
        answer = call("POST", "/tasks", key="made up", json=TASK)
    assert (answer.status_code, "no longer" in answer.json()["error"]) == (401, True)
    assert "made up" not in answer.text + json.dumps(lines, default=str)
    assert api.topics.published == []


def test_each_key_has_a_rate_of_its_own_and_is_told_when_to_come_back(api: Api) -> None:
    keys = {"slow": key("read", name="one", per_minute=2), "fast": key("read", name="two")}
    call = Checked(api, ApiAccess(keys=keys))
    assert [call("GET", "/queues", key="one").status_code for _ in range(3)] == [200, 200, 429]
    assert call("GET", "/queues", key="two").status_code == 200
    call.watch.now += 20
    refused = call("GET", "/queues", key="one")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "40")
    call.watch.now += 40  # what was refused in between has not counted
    assert call("GET", "/queues", key="one").status_code == 200


def test_callers_without_a_key_share_a_rate_with_those_who_guess_keys(api: Api) -> None:
    call = Checked(api, ApiAccess(anonymous="read", anonymous_per_minute=3, keys={"shop": key("read")}))
    assert call("GET", "/queues").status_code == 200
    assert [call("GET", "/queues", key=f"guess {n}").status_code for n in range(3)] == [401, 401, 429]
    assert call("GET", "/queues").status_code == 429
    assert call("GET", "/queues", key="key").status_code == 200
    assert [call("GET", "/health").status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    ("path", "body", "id_"),
    [("/tasks", TASK, "task_id"), ("/submit-task", TASK, "task_id"), ("/groups", {"tasks": [TASK]}, "group_id")],
)
def test_an_idempotency_key_is_that_of_its_caller_alone(api: Api, path: str, body: dict[str, Any], id_: str) -> None:
    call = Checked(api, ApiAccess(anonymous="submit", keys={n: key("submit", name=n) for n in ("one", "two")}))

    def submit(holder: str | None) -> str:
        answer = call("POST", path, key=holder, json=body, headers={"Idempotency-Key": "same"})
        assert answer.status_code in {200, 201, 202}, answer.text
        return str(answer.json()[id_])

    first = {holder: submit(holder) for holder in ("one", "two", None)}
    assert len(set(first.values())) == 3
    assert {holder: submit(holder) for holder in first} == first


def test_the_variable_of_a_deploy_turns_the_check_on_and_the_log_names_the_caller() -> None:
    access = ApiAccess(anonymous="read", keys={"shop": key("submit")})
    checked = settings(api_access=access.model_dump_json())
    assert checked.api_access == access
    app = application(MemoryStore(), MemoryTopics(), ManualClock(), environment=checked)
    with TestClient(app) as client, capture_logs() as lines:
        assert client.post("/tasks", json=TASK).status_code == 401
        assert client.post("/tasks", json=TASK, headers={"X-API-Key": "key"}).status_code == 202
        assert client.get("/tasks").status_code == 200
        document = client.get("/openapi.json").json()
    calls = [(line["status"], line.get("caller")) for line in lines if line["event"] == "request"]
    assert calls[:3] == [(401, None), (202, "key shop"), (200, "anonymous")]
    assert document["components"]["securitySchemes"]["ApiKey"]["name"] == "X-API-Key"
    assert document["security"] == [{"ApiKey": []}, {}]


def test_an_api_that_nothing_was_declared_for_checks_nothing(api: Api) -> None:
    assert CallerCheck not in [middleware.cls for middleware in api.app.user_middleware]
    assert "securitySchemes" not in api.client.get("/openapi.json").json()["components"]


@pytest.mark.parametrize("text", ["{", '{"keys": {"a": {"sha256": "x", "may": ["read"]}}}', '{"anonymus": "read"}'])
def test_a_variable_that_no_deploy_has_written_ends_the_start(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_ACCESS", text)
    with pytest.raises(ConfigError, match="API_ACCESS: "):
        environment.load(google_cloud_project="p", bucket_name="some-bucket")


SIGNER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(key: rsa.RSAPrivateKey = SIGNER) -> str:
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "signer")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + datetime.timedelta(days=9))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


CERTIFICATES = {"one": certificate()}


def token(*, key_id: str = "one", **claims: object) -> str:
    now = int(time.time())
    payload = {"iss": "https://accounts.google.com", "aud": AUDIENCE, "email": ACCOUNT, "email_verified": True}
    pem = SIGNER.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    signer = crypt.RSASigner.from_string(pem.decode(), key_id=key_id)
    made: bytes = jwt.encode(signer, {**payload, "iat": now, "exp": now + 3600, **claims})
    return made.decode()


def unsigned() -> str:
    parts = ({"alg": "none", "kid": "one"}, {"aud": AUDIENCE, "email": ACCOUNT, "email_verified": True})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def tokens(fetch: Callable[[], Mapping[str, str]] = lambda: CERTIFICATES, clock: Watch | None = None) -> GoogleTokens:
    return GoogleTokens(audience=AUDIENCE, fetch=fetch, clock=clock or Watch())


def test_a_token_names_its_account_and_no_other_text_does() -> None:
    known = tokens()
    assert known.account(token()) == ACCOUNT
    refused = {
        "another audience": token(aud="https://other.run.app"),
        "an address that is not verified": token(email_verified=False),
        "another issuer": token(iss="https://other.example"),
        "expired": token(iat=int(time.time()) - 9000, exp=int(time.time()) - 5400),
        "an unknown key": token(key_id="two"),
        "not signed": unsigned(),
        "changed": token()[:-4] + "AAAA",
        "no token": "x",
        "nothing": "",
    }
    assert [why for why, text in refused.items() if known.account(text)] == []


def test_the_scheduler_may_report_a_due_time_and_do_nothing_else(api: Api) -> None:
    call = Checked(api, ApiAccess(scheduler=ACCOUNT, audience=AUDIENCE, keys={"ops": key("operate")}), tokens=tokens())
    bearer = {"Authorization": f"Bearer {token()}"}
    assert call("POST", "/schedules/none:due", headers=bearer).status_code == 404  # let through: there is none
    assert call("POST", "/schedules/none:due", headers={"Authorization": "Bearer x"}).status_code == 401
    assert call("POST", "/schedules/none:run", headers=bearer).status_code == 401
    assert call("GET", "/tasks", headers=bearer).status_code == 401
    assert call("POST", "/schedules/none:due", key="key").status_code == 404
    other = {"Authorization": f"Bearer {token(email='shop-worker@p.iam.gserviceaccount.com')}"}
    assert call("POST", "/schedules/none:due", headers=other).status_code == 401


def test_the_deployed_console_may_do_everything_and_is_named_in_the_log(api: Api) -> None:
    account = "shop-console@p.iam.gserviceaccount.com"
    access = ApiAccess(scheduler=ACCOUNT, console=account, audience=AUDIENCE, keys={"ops": key("operate")})
    call = Checked(api, access, tokens=tokens())
    bearer = {"Authorization": f"Bearer {token(email=account)}"}
    with capture_logs() as lines:
        assert call("GET", "/tasks", headers=bearer).status_code == 200
        assert call("POST", "/schedules/none:run", headers=bearer).status_code == 404  # let through: there is none
    assert {line["caller"] for line in lines if line["event"] == "request"} == {"console"}
    forged = {"Authorization": f"Bearer {token(email=account, aud='https://other.run.app')}"}
    assert call("GET", "/tasks", headers=forged).status_code == 401
    # Cloud Scheduler's account may do no more than before.
    assert call("GET", "/tasks", headers={"Authorization": f"Bearer {token()}"}).status_code == 401


def test_invented_tokens_do_not_make_the_api_fetch_certificates_again_and_again() -> None:
    watch, fetched = Watch(), 0

    def fetch() -> Mapping[str, str]:
        nonlocal fetched
        fetched += 1
        return CERTIFICATES

    known = tokens(fetch, watch)
    for _ in range(3):
        assert known.account(token())
        assert not known.account(token(key_id="invented"))
    assert fetched == 1
    watch.now += LOOK_AGAIN_S + 1  # Google may have new keys by now
    assert not known.account(token(key_id="invented"))
    assert fetched == 2
    watch.now += KEEP_S + 1
    assert known.account(token())
    assert fetched == 3


def test_a_due_time_that_can_not_be_checked_is_asked_for_again(api: Api) -> None:
    def fetch() -> Mapping[str, str]:
        raise requests.ConnectionError("no network")

    call = Checked(api, ApiAccess(scheduler=ACCOUNT, audience=AUDIENCE), tokens=tokens(fetch))
    answer = call("POST", "/schedules/none:due", headers={"Authorization": f"Bearer {token()}"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


def test_a_web_socket_of_an_application_is_for_operators() -> None:
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("open")
        await socket.close()

    access = ApiAccess(anonymous="submit", keys={"ops": key("operate", name="ops")})
    client = TestClient(CallerCheck(Starlette(routes=[WebSocketRoute("/live", echo)]), access=access))
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/live"):
        pass
    assert refused.value.status_code == 401
    with client.websocket_connect("/live", headers={"X-API-Key": "ops"}) as socket:
        assert socket.receive_text() == "open"
