"""What the simulated cloud remembers: one project, its resources by full name, policies, operations."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from poolhouse.cloud.rehearsal.faults import Faults
from poolhouse.cloud.rehearsal.http import ApiError
from poolhouse.cloud.rehearsal.roles import PERMISSIONS

Json = Any
#: Number of the simulated project.
PROJECT_NUMBER = "123456789012"
#: Both alphabets of base 64 are the same bytes to the services.
_STANDARD_ALPHABET = str.maketrans("-_", "+/")
_CONCURRENT = "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff."
_ROLE = re.compile(r"(roles|projects/[a-z0-9-]+/roles)/[A-Za-z0-9_.]+")
#: Service agents, which are there once they are asked for: the ends of their addresses, and their services.
_AGENTS = {
    "@gcp-sa-pubsub.iam.gserviceaccount.com": "pubsub.googleapis.com",
    "@gcp-sa-iap.iam.gserviceaccount.com": "iap.googleapis.com",
    "@gs-project-accounts.iam.gserviceaccount.com": "storage.googleapis.com",
}
#: By kind: the type of its log entries' resource, and the label that names it.
_LOGGED = {
    "services": ("cloud_run_revision", "service_name"),
    "workerpools": ("cloud_run_worker_pool", "worker_pool_name"),
}
_MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers|(user|serviceAccount|group|domain|principal|principalSet):\S+|"
    r"project(Owner|Editor|Viewer):\S+"
)


@dataclass
class State:
    """The project's state. Changed under the control plane's lock only."""

    project: str
    faults: Faults = field(default_factory=Faults)
    enabled: set[str] = field(default_factory=set)
    #: Services whose agent was asked for.
    agents: set[str] = field(default_factory=set)
    #: Resources by full name, such as `pubsub/projects/P/topics/T`.
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Policies by the same names.
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    operations: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Names of buckets that other projects have.
    foreign_buckets: set[str] = field(default_factory=set)
    #: Objects by bucket and name.
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    #: Revisions of services and pools, by the full name of each and then by their own, oldest first.
    revisions: dict[str, dict[str, Json]] = field(default_factory=dict)
    #: Entries of Cloud Logging, oldest first.
    entries: list[dict[str, Any]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _refusals: dict[str, int] = field(default_factory=dict)
    _polls: dict[str, int] = field(default_factory=dict)
    #: By resource, role and member: how often a grant is still not seen.
    _unseen: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def number(self) -> int:
        """A number that was not given before."""
        return next(self._numbers)

    def etag(self) -> str:
        """A fresh etag."""
        return base64.b64encode(self.number().to_bytes(6, "big")).decode()

    def now(self) -> str:
        """The present time, as the APIs write it."""
        return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    def create(self, name: str, body: Mapping[str, Any], *, message: str = "") -> dict[str, Any]:
        """Keep a new resource. Raises `ApiError` (409) where there is one."""
        if name in self.items:
            raise ApiError("ALREADY_EXISTS", message or f"Resource already exists: {_plain(name)}")
        self.items[name] = dict(body)
        return self.items[name]

    def get(self, name: str, *, message: str = "") -> dict[str, Any]:
        """A resource. Raises `ApiError` (404)."""
        if name not in self.items:
            raise ApiError("NOT_FOUND", message or f"Resource not found (resource={_plain(name)}).")
        return self.items[name]

    def listed(self, prefix: str) -> list[dict[str, Any]]:
        """The resources directly below a collection."""
        return [item for name, item in self.items.items() if name.startswith(prefix) and "/" not in name[len(prefix) :]]

    def delete(self, name: str) -> None:
        """Forget a resource and its policy. Raises `ApiError` (404)."""
        self.get(name)
        del self.items[name]
        # That of the proxy before a service, too, which is called after it.
        for policy in (name, f"iap/{name}"):
            self.policies.pop(policy, None)
        self.revisions.pop(name, None)

    def operation(self, name: str, response: Json, *, metadata: Json = None) -> dict[str, Any]:
        """A long-running operation; it is done at once, or after some polls where a fault says so."""
        operation: dict[str, Any] = {"name": name, "done": self.faults.operation_polls == 0}
        if metadata is not None:
            operation["metadata"] = metadata
        self.operations[name] = {**operation, "done": True, "response": response}
        self._polls[name] = self.faults.operation_polls
        return self.operations[name] if operation["done"] else operation

    def poll(self, name: str) -> dict[str, Any]:
        """How an operation is getting on. Raises `ApiError` (404)."""
        if name not in self.operations:
            raise ApiError("NOT_FOUND", f"operation {name} not found")
        if self._polls[name] > 0:
            self._polls[name] -= 1
            return {**{k: v for k, v in self.operations[name].items() if k != "response"}, "done": False}
        return self.operations[name]

    def policy(self, name: str) -> dict[str, Any]:
        """The policy of a resource, which must be there (the caller has looked)."""
        return self.policies.setdefault(name, {"version": 1, "etag": self.etag()})

    def set_policy(self, name: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Replace a policy.

        Raises:
            ApiError: 409 for an etag that is not the present one; 400 for a role or member that is none.
        """
        present = self.policy(name)
        etag = (wanted.get("etag") or present["etag"]).translate(_STANDARD_ALPHABET)
        if etag != present["etag"]:
            raise ApiError("ABORTED", _CONCURRENT)
        for binding in wanted.get("bindings", ()):
            if not _ROLE.fullmatch(binding.get("role", "")):
                raise ApiError("INVALID_ARGUMENT", f"Role {binding.get('role')} is not supported for this resource.")
            for member in binding.get("members", ()):
                self._check_member(member)
                if not self.grants(name, binding["role"], member):
                    self._unseen[name, binding["role"], member] = self.faults.grant_uses
        bindings = [binding for binding in wanted.get("bindings", ()) if binding.get("members")]
        self.policies[name] = {"version": wanted.get("version", 1) or 1, "etag": self.etag(), "bindings": bindings}
        return self.policies[name]

    def account_known(self, email: str) -> bool:
        """Whether there is such a service account; a fresh one is refused as often as the faults say."""
        for domain, service in _AGENTS.items():
            if email.endswith(domain):
                ours = email == f"service-{PROJECT_NUMBER}{domain}"
                return ours and service in self.agents and self._use(email, self.faults.agent_uses)
        there = f"iam/projects/{self.project}/serviceAccounts/{email}" in self.items
        return there and self._use(email, self.faults.account_uses)

    def log_request(self, *, service: str, region: str, request: Mapping[str, Any]) -> None:
        """Keep an entry about a call of a service, as Cloud Run writes one of its own."""
        labels = {"service_name": service, "location": region, "project_id": self.project}
        self._log(
            "requests",
            resource={"type": "cloud_run_revision", "labels": labels},
            severity="INFO" if request["status"] < 400 else "WARNING",
            httpRequest=dict(request),
        )

    def log_line(self, revision: str, payload: Mapping[str, Any]) -> None:
        """Keep a line that a revision has written: a JSON object on its standard output."""
        owner = next(name for name, revisions in self.revisions.items() if revision in revisions)
        _, _, region, kind, resource = owner.split("/")
        type_, label = _LOGGED[kind]
        labels = {label: resource, "revision_name": revision, "location": region, "project_id": self.project}
        self._log("stdout", resource={"type": type_, "labels": labels}, severity="INFO", jsonPayload=dict(payload))

    def _log(self, name: str, **entry: Any) -> None:
        entry |= {
            "insertId": f"{self.number():012d}",
            "logName": f"projects/{self.project}/logs/run.googleapis.com%2F{name}",
            "timestamp": self.now(),
        }
        self.entries.append(entry)

    def grants(self, name: str, role: str, member: str) -> bool:
        """Whether a resource's policy gives a role to a member."""
        bindings = self.policies.get(name, {}).get("bindings", ())
        return any(binding["role"] == role and member in binding["members"] for binding in bindings)

    def may(self, member: str, permission: str, *, on: str, settled: bool = False) -> bool:
        """Whether a role on a resource, or on the project, gives a member a permission by now.

        Args:
            member: as policies write it.
            permission: such as `storage.buckets.get`.
            on: full name of the resource.
            settled: whether time enough has gone by for every grant to be seen.
        """
        for name in (on, f"cloudresourcemanager/projects/{self.project}"):
            for binding in self.policies.get(name, {}).get("bindings", ()):
                role = binding["role"]
                if member not in binding["members"] or permission not in PERMISSIONS.get(role, ()):
                    continue
                left = self._unseen.get((name, role, member), 0)
                if left == 0 or settled:
                    return True
                self._unseen[name, role, member] = left - 1
        return False

    def _use(self, email: str, refusals: int) -> bool:
        left = self._refusals.setdefault(email, refusals)
        self._refusals[email] = max(0, left - 1)
        return left == 0

    def _check_member(self, member: str) -> None:
        if not _MEMBER.fullmatch(member):
            raise ApiError("INVALID_ARGUMENT", f"Invalid member: {member}")
        kind, _, email = member.partition(":")
        if kind == "serviceAccount" and not self.account_known(email):
            raise ApiError("INVALID_ARGUMENT", f"Service account {email} does not exist.")


def _plain(name: str) -> str:
    return name.partition("/")[2]
