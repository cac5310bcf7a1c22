"""The control plane: checks the caller, strikes with faults, finds the handler, keeps a log of every request."""

from __future__ import annotations

import re
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from poolhouse.cloud.rehearsal import newer, organisation
from poolhouse.cloud.rehearsal.faults import Faults
from poolhouse.cloud.rehearsal.http import ApiError, Request, Response
from poolhouse.cloud.rehearsal.state import State

#: Answers a request: a JSON value, or a `Response` where more is to be said. Groups of the path come as keywords.
Handler = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One call of an API."""

    method: str
    #: Pattern of the host.
    host: str
    #: Pattern of the path.
    path: str
    handler: Handler
    #: API that must be enabled, short; empty: none.
    api: str = ""


def route(method: str, path: str, handler: Handler, *, api: str, host: str = "", gated: bool = True) -> Route:
    """A route from a template: `{name}` stands for one segment without a colon.

    Args:
        method: HTTP method.
        path: template.
        handler: who answers.
        api: short name of the API; its host is `API.googleapis.com` unless given.
        host: pattern of the host.
        gated: whether the API must be enabled first.
    """
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/:]+)", path)
    return Route(
        method=method,
        host=host or rf"{api}\.googleapis\.com",
        path=pattern,
        handler=handler,
        api=api if gated else "",
    )


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One request, as it was answered."""

    method: str
    host: str
    path: str
    status: int


@dataclass
class ControlPlane:
    """The simulated Google Cloud."""

    #: Id of the one project there is.
    project: str
    #: The access token that callers must show.
    token: str
    #: What it can do.
    routes: Sequence[Route]
    #: What goes wrong.
    faults: Faults = field(default_factory=Faults)
    log: list[Logged] = field(default_factory=list)
    #: Tracebacks of the rehearsal's own mistakes: a test that finds one here has found it.
    bugs: list[str] = field(default_factory=list)
    state: State = field(init=False)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        """Start with an empty project."""
        self.state = State(project=self.project, faults=self.faults)

    def __call__(self, request: Request) -> Response:
        """Answer a request; never raises."""
        with self.lock:
            try:
                self.authenticate(request.headers.get("authorization", ""))
                self.faults.strike(request, after=False)
                organisation.enforce(self.faults.constraints, request)
                response = self._answer(newer.removed(request))
                if self.faults.newer_fields:
                    response = newer.added(response)
                self.faults.strike(request, after=True)
            except ApiError as error:
                response = error.response
            except Exception as error:  # noqa: BLE001 - a bug of the rehearsal: reported as such, and kept
                self.bugs.append("".join(traceback.format_exception(error)))
                response = ApiError("INTERNAL", f"the rehearsal itself failed: {error!r}").response
            self.note(request, response.status)
            return response

    def authenticate(self, header: str) -> None:
        """Check the caller's token. Raises `ApiError`: 403 without one, 401 with another."""
        if not header:
            raise ApiError(
                "PERMISSION_DENIED",
                "Method doesn't allow unregistered callers (callers without established identity).",
            )
        if header != f"Bearer {self.token}":
            raise ApiError("UNAUTHENTICATED", "Request had invalid authentication credentials.")

    def require(self, api: str) -> None:
        """Check that an API is enabled. Raises `ApiError` (403) as Service Usage words it."""
        name = f"{api}.googleapis.com"
        if name not in self.state.enabled:
            info = {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SERVICE_DISABLED",
                "domain": "googleapis.com",
                "metadata": {"service": name, "consumer": f"projects/{self.project}"},
            }
            raise ApiError(
                "PERMISSION_DENIED",
                f"{name} API has not been used in project {self.project} before or it is disabled. Enable it by "
                "visiting the console then retry.",
                details=(info,),
            )

    def note(self, request: Request, status: int) -> None:
        """Keep a line of the log; tokens and bodies are never in it."""
        self.log.append(Logged(method=request.method, host=request.host, path=request.path, status=status))

    def _answer(self, request: Request) -> Response:
        for candidate in self.routes:
            if candidate.method != request.method or not re.fullmatch(candidate.host, request.host):
                continue
            match = re.fullmatch(candidate.path, request.path)
            if match is None:
                continue
            groups = match.groupdict()
            if groups.get("project", "-") not in {self.project, "-"}:  # "-": whichever project it is in
                raise ApiError(
                    "PERMISSION_DENIED",
                    f"Permission denied on resource project {groups['project']} (or it may not exist).",
                )
            if candidate.api:
                self.require(candidate.api)
            answer = candidate.handler(self.state, request, **{k: v for k, v in groups.items() if k != "project"})
            return answer if isinstance(answer, Response) else Response(body={} if answer is None else answer)
        raise ApiError(
            "UNIMPLEMENTED", f"The rehearsal does not simulate {request.method} {request.host}{request.path}"
        )
