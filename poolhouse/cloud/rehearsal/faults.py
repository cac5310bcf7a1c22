"""What can be made to go wrong in a rehearsal, on purpose and a given number of times."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from poolhouse.cloud.rehearsal.http import ApiError, Request


@dataclass
class Fault:
    """Answers some requests with an error."""

    #: Pattern that `METHOD HOST/PATH` of a request must contain.
    match: str
    #: Canonical code of the error.
    status: str = "UNAVAILABLE"
    #: Its message.
    message: str = "The service is currently unavailable."
    #: How often; then the fault is over.
    times: int = 1
    #: The request is carried out first, and only its answer lost: the way that a retry meets its own work.
    lost: bool = False
    #: Matching requests to let through before the first.
    skip: int = 0

    def hits(self, request: Request, *, after: bool) -> bool:
        """Whether it strikes this request, before or after it was carried out; counts."""
        if after != self.lost or self.times < 1:
            return False
        if not re.search(self.match, f"{request.method} {request.host}{request.path}"):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True

    @property
    def error(self) -> ApiError:
        """The error to answer with."""
        return ApiError(self.status, self.message)


@dataclass
class Faults:
    """All that goes wrong in one rehearsal."""

    #: Errors by request.
    faults: list[Fault] = field(default_factory=list)
    #: Times that a long-running operation says it is not done.
    operation_polls: int = 0
    #: Times that a fresh service account is refused as a member, as if it were not known yet.
    account_uses: int = 0
    #: The same for Pub/Sub's service agent.
    agent_uses: int = 0
    #: Times that a fresh grant is not seen yet by the service that it is for.
    grant_uses: int = 0
    #: Names of the policies of the organisation (`organisation.CONSTRAINTS`).
    constraints: tuple[str, ...] = ()
    #: Whether answers have fields of a later version of the APIs.
    newer_fields: bool = False

    def strike(self, request: Request, *, after: bool) -> None:
        """Raise the error of the first fault that hits."""
        for fault in self.faults:
            if fault.hits(request, after=after):
                raise fault.error


#: Faults by the names that `invoke rehearse --fault NAME` takes.
NAMED: dict[str, tuple[Fault, ...]] = {
    "busy": (
        Fault(
            match=r"pubsub\.googleapis", status="RESOURCE_EXHAUSTED", message="rateLimitExceeded: per minute", times=3
        ),
    ),
    "unavailable": (Fault(match=r"(PUT|POST) ", times=5, skip=3),),
    "lost-answers": (
        Fault(match=r"PUT pubsub\.googleapis.com/v1/projects/[^/]+/topics/", lost=True, times=2),
        Fault(match=r"POST iam\.googleapis.com/v1/projects/[^/]+/serviceAccounts$", lost=True),
    ),
    "build-region": (
        Fault(
            match=r"POST cloudbuild\.googleapis\.com/.*/locations/europe-west1/builds",
            status="FAILED_PRECONDITION",
            message="due to quota restrictions, cannot run builds in this region. Please contact support",
            times=1000,
        ),
    ),
    "no-worker-pools": (
        Fault(
            match=r"(POST|PUT) .*/workerpools",
            status="FAILED_PRECONDITION",
            message="Worker pools are not available in region europe-west1.",
            times=1000,
        ),
    ),
    "stuck-worker": (
        Fault(
            match=r"(POST|PUT) .*/workerpools",
            status="FAILED_PRECONDITION",
            message="Revision is not ready. The user-provided container failed the configured startup probe checks.",
            times=1000,
        ),
    ),
    "conflict": (
        Fault(
            match=r":setIamPolicy",
            status="ABORTED",
            message="There were concurrent policy changes. Please retry with exponential backoff.",
            times=2,
        ),
        Fault(match=r"DELETE ", status="ABORTED", message="The operation was aborted: concurrent changes.", times=3),
    ),
}


def named(name: str) -> list[Fault]:
    """Fresh faults of that name; none for an empty name."""
    return [replace(fault) for fault in NAMED[name]] if name else []
