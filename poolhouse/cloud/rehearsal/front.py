"""What stands before the control plane: the login, and a stack on this machine that stands in for what was deployed."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote

import requests

from poolhouse.cloud.rehearsal.control_plane import ControlPlane
from poolhouse.cloud.rehearsal.http import ApiError, Request, Response
from poolhouse.cloud.rehearsal.services import iap
from poolhouse.cloud.rehearsal.services.run import name, open_to_all

_SERVICE = re.compile(r"(?P<service>[a-z0-9-]+)-(?P<number>\d+)\.(?P<region>[a-z0-9-]+)\.run\.app")
_OBJECTS = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o(?:/(?P<object>.+))?")
#: Headers that are about one connection, or about an encoding that is undone on the way.
_OWN = frozenset(
    ["connection", "content-encoding", "content-length", "content-type", "host", "keep-alive", "transfer-encoding"]
)
_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Running:
    """A stack on this machine."""

    #: Its API, which answers for every service.
    api_url: str
    #: Its storage server.
    storage_url: str
    #: Its buckets, by the names of the deployed ones that they stand in for.
    buckets: Mapping[str, str]


class Front:
    """Answers a request itself, or hands it on.

    Args:
        control_plane: the control plane.
        login: what gcloud's login shows (as a refresh token) to get tokens.
        running: what stands in for the deployed services and the objects of their bucket; None: nothing answers at a
            service's address, and buckets hold what builds put there.
    """

    def __init__(self, control_plane: ControlPlane, *, login: str, running: Running | None = None) -> None:
        """Connect to nothing yet."""
        self._control_plane = control_plane
        self._login_word = login
        self._running = running
        self._identity = _unsigned({"iss": "https://accounts.google.com", "exp": int(time.time()) + 43_200})

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        if request.host == "oauth2.googleapis.com":
            return self._noted(request, self._login(request))
        if service := _SERVICE.fullmatch(request.host):
            return self._noted(request, self._call(request, **service.groupdict()))
        objects = _OBJECTS.fullmatch(request.path) if request.host == "storage.googleapis.com" else None
        if self._running is not None and objects and objects["bucket"] in self._running.buckets:
            return self._objects(request, self._running, objects["bucket"], objects["object"])
        return self._control_plane(request)

    def _noted(self, request: Request, response: Response) -> Response:
        self._control_plane.note(request, response.status)
        return response

    def _login(self, request: Request) -> Response:
        form = parse_qs(request.body.decode())
        if form.get("grant_type") != ["refresh_token"] or form.get("refresh_token") != [self._login_word]:
            return Response(status=400, body={"error": "invalid_grant", "error_description": "Bad Request"})
        tokens = {"access_token": self._control_plane.token, "id_token": self._identity}
        return Response(body={**tokens, "expires_in": 3599, "token_type": "Bearer"})

    def _call(self, request: Request, *, service: str, number: str, region: str) -> Response:
        """A call of a service, as Cloud Run's front end lets it through or not."""
        state, authorization = self._control_plane.state, request.headers.get("authorization", "")
        with self._control_plane.lock:
            full = name(state, "services", region, service)
            there = full in state.items
            proxied = there and iap.in_front_of(state.items[full])
            public = there and (open_to_all(state.items[full]) or state.grants(full, "roles/run.invoker", "allUsers"))
        if not there:
            return _page(404)
        if proxied:
            # The proxy sends a browser to sign in, which no rehearsal can do: nothing here has a session with it.
            return Response(status=302, headers={"location": "https://accounts.google.com/o/oauth2/v2/auth"})
        if not public and authorization != f"Bearer {self._identity}":
            return _page(401 if authorization else 403)
        if self._running is None:
            return _page(503)
        path = quote(request.path, safe="/:")
        started = time.monotonic()
        response = _forward(request, self._running.api_url + path)
        with self._control_plane.lock:
            state.log_request(
                service=service,
                region=region,
                request={
                    "requestMethod": request.method,
                    "requestUrl": f"https://{request.host}{path}",
                    "status": response.status,
                    "latency": f"{time.monotonic() - started:.6f}s",
                },
            )
        return response

    def _objects(self, request: Request, running: Running, bucket: str, object_: str | None) -> Response:
        try:
            self._control_plane.authenticate(request.headers.get("authorization", ""))
        except ApiError as error:
            return self._noted(request, error.response)
        own = running.buckets[bucket]
        path = f"/storage/v1/b/{own}/o" + (f"/{quote(object_, safe='')}" if object_ else "")
        response = _forward(request, running.storage_url + path)
        if response.content_type.startswith("application/json") and request.query.get("alt") != "media":
            body = json.loads(response.body or b"null")
            for item in (body, *body.get("items", ())) if body else ():
                if item.get("bucket") == own:
                    item["bucket"] = bucket
            response = Response(status=response.status, body=body)
        return self._noted(request, response)


def _forward(request: Request, url: str) -> Response:
    with requests.Session() as session:
        session.trust_env = False  # no proxy between us and this machine
        answer = session.request(
            request.method,
            url,
            params=dict(request.query),
            data=request.body,
            headers={key: value for key, value in request.headers.items() if key not in _OWN - {"content-type"}},
            timeout=_TIMEOUT_S,
            allow_redirects=False,
        )
    return Response(
        status=answer.status_code,
        body=answer.content,
        content_type=answer.headers.get("Content-Type", "application/octet-stream"),
        headers={key: value for key, value in answer.headers.items() if key.lower() not in _OWN},
    )


def _page(status: int) -> Response:
    phrase = HTTPStatus(status).phrase
    return Response(status=status, body=f"<title>{status} {phrase}</title>".encode(), content_type="text/html")


def _unsigned(claims: Mapping[str, Any]) -> str:
    """A token in the form of a JWT (RFC 7519) without a signature."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), "unsigned"])
