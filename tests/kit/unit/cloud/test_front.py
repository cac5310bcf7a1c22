"""The login and the deployed service's door, as a rehearsal simulates them; and the query language of its logs."""

from __future__ import annotations

from typing import Any

import pytest

from poolhouse.cloud.log_filter import log_filter
from poolhouse.cloud.options import Options
from poolhouse.cloud.rehearsal import log_filter as simulated
from poolhouse.cloud.rehearsal.control_plane import ControlPlane
from poolhouse.cloud.rehearsal.front import Front
from poolhouse.cloud.rehearsal.http import ApiError, Request, Response
from poolhouse.cloud.rehearsal.services import ROUTES

PROJECT = "rehearsal-project"
SERVICE = f"run/{PROJECT}/europe-west1/services/shop-api"


@pytest.fixture
def control_plane() -> ControlPlane:
    control_plane = ControlPlane(project=PROJECT, token="access", routes=ROUTES)
    control_plane.state.items[SERVICE] = {}
    return control_plane


@pytest.fixture
def front(control_plane: ControlPlane) -> Front:
    return Front(control_plane, login="word")


def token(front: Front, word: str = "word") -> Response:
    body = f"grant_type=refresh_token&refresh_token={word}".encode()
    return front(Request(host="oauth2.googleapis.com", method="POST", path="/token", body=body))


def call(front: Front, *, authorization: str = "", service: str = "shop-api") -> Response:
    headers = {"authorization": authorization} if authorization else {}
    return front(Request(host=f"{service}-1.europe-west1.run.app", method="GET", path="/health", headers=headers))


def test_a_login_gets_the_tokens_and_another_word_gets_none(front: Front) -> None:
    assert token(front).body["access_token"] == "access"
    assert token(front, "other").status == 400


def test_a_service_lets_in_who_shows_an_identity_token_alone(front: Front, control_plane: ControlPlane) -> None:
    identity = token(front).body["id_token"]
    assert call(front).status == 403
    assert call(front, authorization="Bearer access").status == 401
    assert call(front, authorization=f"Bearer {identity}").status == 503  # nothing stands in for it
    assert call(front, authorization=f"Bearer {identity}", service="other").status == 404
    control_plane.state.policies[SERVICE] = {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}
    assert call(front).status == 503


def test_a_service_behind_the_proxy_lets_nobody_in_who_has_not_signed_in(
    front: Front, control_plane: ControlPlane
) -> None:
    control_plane.state.items[SERVICE] = {"metadata": {"annotations": {"run.googleapis.com/iap-enabled": "true"}}}
    identity = token(front).body["id_token"]
    for authorization in ("", f"Bearer {identity}"):
        answer = call(front, authorization=authorization)
        assert answer.status == 302
        assert answer.headers["location"].startswith("https://accounts.google.com/")


def entry(kind: str, pipeline: str = "shop", **labels: str) -> dict[str, Any]:
    resource = {"type": kind, "labels": labels}
    return {"timestamp": "2026-11-24T10:00:00Z", "resource": resource, "labels": {"poolhouse": pipeline}}


@pytest.mark.parametrize(
    ("service", "found", "asked"),
    [
        ("", entry("cloud_run_revision", service_name="shop-api"), True),
        ("", entry("cloud_run_worker_pool", worker_pool_name="shop-mail"), True),
        ("", entry("cloud_run_revision", "", service_name="shop-api"), True),
        ("", entry("cloud_run_revision", "", service_name="other-api"), False),
        ("", entry("cloud_run_revision", "shop-prod", service_name="shop-prod-api"), False),
        ("", entry("cloud_run_worker_pool", "shop-prod", worker_pool_name="shop-prod-mail"), False),
        ("", entry("k8s_container", service_name="shop-api"), False),
        ("shop-mail", entry("cloud_run_worker_pool", worker_pool_name="shop-mail"), True),
        ("shop-mail", entry("cloud_run_worker_pool", worker_pool_name="shop-mail-2"), False),
    ],
)
def test_the_filter_of_invoke_logs_finds_what_it_should(service: str, found: dict[str, Any], asked: bool) -> None:
    options = Options(project=PROJECT, name="shop")
    assert simulated.parse(log_filter(options, service=service))(found) is asked
    assert not simulated.parse(log_filter(options, service=service, since="2026-11-25"))(found)


@pytest.mark.parametrize("text", ["resource.type=", "a=(b", "a=b)", "a ~ b", "AND", "a=b c=d"])
def test_a_filter_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="Unparseable filter"):
        simulated.parse(text)
