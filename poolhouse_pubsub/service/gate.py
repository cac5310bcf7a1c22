"""What stands before every RPC where it was asked for: IAM that is enforced, and quotas of throughput."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from poolhouse_pubsub import names, protos
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.service.access import Access
from poolhouse_pubsub.service.iam import IamPolicies
from poolhouse_pubsub.service.throughput import Throughput
from poolhouse_pubsub.status import StatusError

#: RPCs that handle messages: the quota of administrator operations is not theirs (Quotas and limits).
_DATA_RPCS: Final = frozenset({"Publish", "Pull", "StreamingPull", "Acknowledge", "ModifyAckDeadline"})


class Gate:
    """The check of every call.

    Args:
        emulator: The state.
        iam: The policies.
        enforce_iam: Bindings (members by role) that hold in every project; None to enforce nothing.
        quotas: Amount a second by kind (`throughput.QUOTAS`).
    """

    def __init__(
        self,
        emulator: Emulator,
        iam: IamPolicies,
        *,
        enforce_iam: Mapping[str, Iterable[str]] | None,
        quotas: Mapping[str, float],
    ) -> None:
        self._emulator = emulator
        self._throughput = Throughput(quotas, now=emulator.clock.now)
        #: None where IAM is not enforced: callers need not be known then.
        self.access: Access | None = None
        if enforce_iam is not None:
            self.access = Access(iam.policy_of, self._topic_of, enforce_iam)
            emulator.may_forward = self.access.may_forward

    def _topic_of(self, subscription: str) -> str:
        found = self._emulator.subscriptions.get(subscription)
        return found.topic.name if found is not None and found.topic is not None else ""

    def before(self, rpc: str, request: Any, *, caller: str) -> None:
        """Refuse a call that may not be made, or not so soon.

        Raises:
            StatusError: PERMISSION_DENIED, or RESOURCE_EXHAUSTED with when to try again.
        """
        if self.access is not None:
            self.access.check(rpc, request, caller=caller)
        quotas = self._throughput
        if rpc == "Publish":
            project, size_bytes = _project(request.topic), request.ByteSize()
            keys = {message.ordering_key for message in request.messages if message.ordering_key}
            owners = [("publish", project), *(("ordering_key", f"{request.topic} {key}") for key in keys)]
            for kind, owner in owners:
                quotas.check(kind, owner)
            for kind, owner in owners:
                quotas.charge(kind, owner, size_bytes)
        elif rpc in ("Pull", "StreamingPull"):
            self.check_delivery(request.subscription)
        elif rpc not in _DATA_RPCS:
            project = _project(_first_name(request))
            quotas.check("admin", project)
            quotas.charge("admin", project, 1)

    def after(self, rpc: str, request: Any, answer: Any, *, caller: str) -> Any:
        """Count what a call delivered; returns what the caller gets to see."""
        if rpc == "Pull":
            self.delivered(request.subscription, len(answer))
        elif rpc == "TestIamPermissions" and self.access is not None:
            granted = self.access.granted(request.resource, caller=caller)
            held = [each for each in answer.permissions if each.removeprefix("pubsub.") in granted]
            return protos.TestIamPermissionsResponse(permissions=held)
        return answer

    def check_delivery(self, subscription: str) -> None:
        """Refuse to deliver from a subscription that has used up its quota or its project's.

        Raises:
            StatusError: RESOURCE_EXHAUSTED.
        """
        self._throughput.check("subscribe", _project(subscription))
        self._throughput.check("subscription", subscription)

    def delivered(self, subscription: str, size_bytes: int) -> None:
        """Count bytes that a subscription delivered."""
        self._throughput.charge("subscribe", _project(subscription), size_bytes)
        self._throughput.charge("subscription", subscription, size_bytes)

    def refusal(self, subscription: str) -> StatusError | None:
        """Return what a stream ends with where `check_delivery` refuses."""
        try:
            self.check_delivery(subscription)
        except StatusError as error:
            return error
        return None


def _project(name: str) -> str:
    return f"projects/{names.project_of(name)}" if name.startswith("projects/") else ""


def _first_name(request: Any) -> str:
    """Return the resource that a call is about: the first that a field names, of the request or of what it carries."""
    for field, value in request.ListFields():
        if isinstance(value, str) and value.startswith("projects/"):
            return value
        if field.message_type is not None and not field.is_repeated and (found := _first_name(value)):
            return found
    return ""
