"""google.iam.v1.IAMPolicy: policies are kept and given back; `service.gate` enforces them where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from poolhouse_pubsub import names, protos
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.service.schemas import Schemas
from poolhouse_pubsub.status import Code, StatusError, invalid, not_found

_KINDS = ("topics", "subscriptions", "snapshots", "schemas")

#: Etag of a policy that was never set: `ACAB` in base64. Google's integration tests expect it of a fresh resource,
#: with version 0 and no bindings.
_UNSET_ETAG = b"\x00\x20\x01"


class IamPolicies:
    """The RPCs on policies.

    Args:
        emulator: Where topics, subscriptions and snapshots are.
        schemas: Where schemas are.
    """

    def __init__(self, emulator: Emulator, schemas: Schemas) -> None:
        self._emulator = emulator
        self._schemas = schemas
        #: Policies with the resource they were set on: one of the same name made later starts afresh.
        self._policies: dict[str, tuple[object, Any]] = {}
        self._etags = 0
        emulator.on_reset.append(self._policies.clear)

    def _resource(self, name: str) -> object:
        parts = name.split("/")
        kind = parts[2] if len(parts) > 2 else ""
        if kind not in _KINDS:
            raise invalid(f"Invalid resource name: (name={name[:300]}). It is projects/PROJECT/KIND/ID of {_KINDS}.")
        names.check(name, kind)
        stores: dict[str, Any] = {
            "topics": self._emulator.topics,
            "subscriptions": self._emulator.subscriptions,
            "snapshots": self._emulator.snapshots,
            "schemas": self._schemas.revisions,
        }
        resource = stores[kind].get(name)
        if resource is None:
            raise not_found(name)
        return resource

    def _policy(self, name: str) -> Any:
        resource = self._resource(name)
        owner, policy = self._policies.get(name, (None, None))
        if owner is not resource:
            return protos.Policy(etag=_UNSET_ETAG)
        return policy

    def policy_of(self, name: str) -> Any:
        """Return the policy of a resource; one without bindings for a resource that is not there."""
        try:
            return self._policy(name)
        except StatusError:
            return protos.Policy()

    def get_iam_policy(self, request: Any) -> Any:
        """GetIamPolicy."""
        return self._policy(request.resource)

    def set_iam_policy(self, request: Any) -> Any:
        """SetIamPolicy."""
        current = self._policy(request.resource)
        wanted = request.policy
        if wanted.etag and wanted.etag != current.etag:
            raise StatusError(
                Code.ABORTED,
                f"The policy of {request.resource} was changed since it was read (etag mismatch): read it again.",
            )
        if wanted.version not in (0, 1, 3):
            raise invalid(f"Invalid policy version {wanted.version}: it is 0, 1 or 3.")
        if wanted.version != 3 and any(binding.HasField("condition") for binding in wanted.bindings):
            raise invalid("A policy with conditions has version 3.")
        self._etags += 1
        policy = protos.Policy()
        policy.CopyFrom(wanted)
        policy.version = wanted.version or 1
        # The random part keeps etags of two emulators, or of two runs, apart.
        policy.etag = self._etags.to_bytes(4, "big") + self._emulator.random.randbytes(4)
        self._policies[request.resource] = (self._resource(request.resource), policy)
        self._save(request.resource, policy)
        return policy

    def _save(self, name: str, policy: Any) -> None:
        if self._emulator.journal is not None:
            self._emulator.journal.put("policy", name, "", policy.SerializeToString())
        self._emulator.commit()

    def policies(self) -> Iterator[tuple[str, Any]]:
        """All policies that were set on resources that are still there."""
        for name in list(self._policies):
            policy = self._kept(name)
            if policy is not None:
                yield name, policy

    def _kept(self, name: str) -> Any:
        owner, policy = self._policies[name]
        try:
            return policy if self._resource(name) is owner else None
        except StatusError:
            return None  # the resource was deleted after the policy was set

    def restore(self, name: str, policy: Any) -> None:
        """Take a policy that was kept over a restart; ignored when its resource is gone."""
        try:
            self._policies[name] = (self._resource(name), policy)
        except StatusError:
            return  # the resource was deleted after the policy was set
        self._etags += 1

    def test_iam_permissions(self, request: Any) -> Any:
        """TestIamPermissions: everything asked for is granted; for an absent resource, nothing."""
        try:
            self._resource(request.resource)
        except StatusError as error:
            if error.code is Code.NOT_FOUND:
                return protos.TestIamPermissionsResponse()
            raise
        return protos.TestIamPermissionsResponse(permissions=request.permissions)
