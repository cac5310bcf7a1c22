"""Policies of an organisation, at the calls that a deploy makes (Organization Policy, Organization policy constraints).

Each is enforced as an administrator would switch it on: a deploy either keeps it, or is refused with its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from poolhouse.cloud.rehearsal.http import ApiError, Request

#: Where the locations policy allows resources to be: the value group `in:us-locations`.
_ALLOWED_LOCATIONS = re.compile(r"us(-.*)?", re.I)


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """One policy."""

    #: Pattern that `METHOD HOST/PATH` of a call must contain for it to be looked at.
    calls: str
    #: Whether the body of such a call breaks it.
    broken: Callable[[Mapping[str, Any]], bool]
    message: str
    #: Canonical code of the refusal; Cloud Storage has one of its own.
    status: str = "FAILED_PRECONDITION"


def _members(body: Mapping[str, Any]) -> Iterable[str]:
    policy = body.get("policy", body)
    return (member for binding in policy.get("bindings", ()) for member in binding.get("members", ()))


def _annotation(body: Mapping[str, Any], name: str) -> str:
    return str(body.get("metadata", {}).get("annotations", {}).get(f"run.googleapis.com/{name}", ""))


def _bucket(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = body.get("iamConfiguration", {})
    return found


_NEW_BUCKET, _SERVICE = r"POST storage\.googleapis\.com/storage/v1/b$", r"(POST|PUT) .*run\.googleapis\.com/.*/services"
#: By name, without `constraints/`.
CONSTRAINTS: Mapping[str, Constraint] = {
    "gcp.resourceLocations": Constraint(
        calls=_NEW_BUCKET,
        broken=lambda body: not _ALLOWED_LOCATIONS.fullmatch(str(body.get("location", "US"))),
        message="The location violates constraint 'constraints/gcp.resourceLocations'",
        status="conditionNotMet",
    ),
    "storage.uniformBucketLevelAccess": Constraint(
        calls=_NEW_BUCKET,
        broken=lambda body: not _bucket(body).get("uniformBucketLevelAccess", {}).get("enabled"),
        message="The bucket violates constraint 'constraints/storage.uniformBucketLevelAccess'",
        status="conditionNotMet",
    ),
    "storage.publicAccessPrevention": Constraint(
        calls=_NEW_BUCKET,
        broken=lambda body: _bucket(body).get("publicAccessPrevention") != "enforced",
        message="The bucket violates constraint 'constraints/storage.publicAccessPrevention'",
        status="conditionNotMet",
    ),
    "iam.disableServiceAccountCreation": Constraint(
        calls=r"POST iam\.googleapis\.com/v1/projects/[^/]+/serviceAccounts$",
        broken=lambda body: True,
        message="Service account creation is not allowed on this project "
        "(constraints/iam.disableServiceAccountCreation).",
    ),
    "iam.allowedPolicyMemberDomains": Constraint(
        calls=r"(:setIamPolicy|PUT storage\.googleapis\.com/.*/iam)$",
        broken=lambda body: any(member in {"allUsers", "allAuthenticatedUsers"} for member in _members(body)),
        message="One or more users named in the policy do not belong to a permitted customer "
        "(constraints/iam.allowedPolicyMemberDomains).",
    ),
    "run.managed.requireInvokerIam": Constraint(
        calls=_SERVICE,
        broken=lambda body: _annotation(body, "invoker-iam-disabled").lower() == "true",
        message="Operation denied by org policy: ['constraints/run.managed.requireInvokerIam']",
    ),
    "run.allowedIngress": Constraint(
        calls=_SERVICE,
        broken=lambda body: _annotation(body, "ingress") not in {"internal", "internal-and-cloud-load-balancing"},
        message="Constraint constraints/run.allowedIngress violated: ingress 'all' is not allowed.",
    ),
}


def enforce(names: Iterable[str], request: Request) -> None:
    """Check a call against the policies of these names. Raises `ApiError` with the first that it breaks."""
    call = f"{request.method} {request.host}{request.path}"
    for name in names:
        constraint = CONSTRAINTS[name]
        if re.search(constraint.calls, call) and constraint.broken(request.json):
            raise ApiError(constraint.status, constraint.message)
