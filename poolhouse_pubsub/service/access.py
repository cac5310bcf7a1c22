"""Who may do what, where IAM is enforced: callers, roles, and the permission that each RPC needs.

Source: Access control with IAM (permissions and roles, required permissions), and Handle message failures (the service
agent's grants).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from poolhouse_pubsub import names
from poolhouse_pubsub.status import Code, StatusError

#: The header that names the caller where there is no token: that of Identity-Aware Proxy.
USER_HEADER: Final = "x-goog-authenticated-user-email"

_VIEWER: Final = frozenset(
    {
        *("schemas.get", "schemas.list", "schemas.listRevisions", "schemas.validate", "snapshots.get"),
        *("snapshots.list", "subscriptions.get", "subscriptions.list", "topics.get", "topics.list"),
        "messageTransforms.validate",
    }
)
_PUBLISHER: Final = frozenset({"topics.publish"})
_SUBSCRIBER: Final = frozenset({"snapshots.seek", "subscriptions.consume", "topics.attachSubscription"})
_EDITOR: Final = (
    _VIEWER
    | _PUBLISHER
    | _SUBSCRIBER
    | {
        *("schemas.attach", "schemas.commit", "schemas.create", "schemas.delete", "schemas.rollback"),
        *("snapshots.create", "snapshots.delete", "snapshots.update", "subscriptions.create"),
        *("subscriptions.delete", "subscriptions.update", "topics.create", "topics.delete"),
        *("topics.detachSubscription", "topics.update"),
    }
)
_ADMIN: Final = _EDITOR | {
    f"{kind}.{verb}"
    for kind in ("topics", "subscriptions", "snapshots", "schemas")
    for verb in ("getIamPolicy", "setIamPolicy")
}
#: Permissions of each role, without the leading `pubsub.`. A role that is not listed grants nothing here.
ROLES: Final[Mapping[str, frozenset[str]]] = {
    "roles/pubsub.viewer": _VIEWER,
    "roles/pubsub.publisher": _PUBLISHER,
    "roles/pubsub.subscriber": _SUBSCRIBER,
    "roles/pubsub.editor": _EDITOR,
    "roles/pubsub.admin": _ADMIN,
    "roles/viewer": _VIEWER,
    "roles/editor": _EDITOR,
    "roles/owner": _ADMIN,
}

_PROJECT: Final = "project"
#: What each RPC needs: a permission, and the field of its request with the resource it is needed on; `project` for the
#: project of that resource.
_NEEDS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "CreateTopic": (("topics.create", "project:name"), ("schemas.attach", "schema_settings.schema")),
    "UpdateTopic": (("topics.update", "topic.name"), ("schemas.attach", "topic.schema_settings.schema")),
    "GetTopic": (("topics.get", "topic"),),
    "ListTopics": (("topics.list", "project"),),
    "ListTopicSubscriptions": (("topics.get", "topic"),),
    "ListTopicSnapshots": (("topics.get", "topic"),),
    "DeleteTopic": (("topics.delete", "topic"),),
    "Publish": (("topics.publish", "topic"),),
    "DetachSubscription": (("topics.detachSubscription", "topic-of:subscription"),),
    "CreateSubscription": (("subscriptions.create", "project:name"), ("topics.attachSubscription", "topic")),
    "UpdateSubscription": (("subscriptions.update", "subscription.name"),),
    "GetSubscription": (("subscriptions.get", "subscription"),),
    "ListSubscriptions": (("subscriptions.list", "project"),),
    "DeleteSubscription": (("subscriptions.delete", "subscription"),),
    "ModifyPushConfig": (("subscriptions.update", "subscription"),),
    "Pull": (("subscriptions.consume", "subscription"),),
    "StreamingPull": (("subscriptions.consume", "subscription"),),
    "Acknowledge": (("subscriptions.consume", "subscription"),),
    "ModifyAckDeadline": (("subscriptions.consume", "subscription"),),
    "Seek": (("subscriptions.consume", "subscription"), ("snapshots.seek", "snapshot")),
    "CreateSnapshot": (("snapshots.create", "project:name"), ("subscriptions.consume", "subscription")),
    "UpdateSnapshot": (("snapshots.update", "snapshot.name"),),
    "GetSnapshot": (("snapshots.get", "snapshot"),),
    "ListSnapshots": (("snapshots.list", "project"),),
    "DeleteSnapshot": (("snapshots.delete", "snapshot"),),
    "CreateSchema": (("schemas.create", "parent"),),
    "GetSchema": (("schemas.get", "name"),),
    "ListSchemas": (("schemas.list", "parent"),),
    "ListSchemaRevisions": (("schemas.listRevisions", "name"),),
    "CommitSchema": (("schemas.commit", "name"),),
    "RollbackSchema": (("schemas.rollback", "name"),),
    "DeleteSchemaRevision": (("schemas.delete", "name"),),
    "DeleteSchema": (("schemas.delete", "name"),),
    "ValidateSchema": (("schemas.validate", "parent"),),
    "ValidateMessage": (("schemas.validate", "parent"),),
    "GetIamPolicy": (("getIamPolicy", "resource"),),
    "SetIamPolicy": (("setIamPolicy", "resource"),),
    "TestIamPermissions": (),
    "ValidateMessageTransform": (("messageTransforms.validate", "project"),),
    "TestMessageTransforms": (("messageTransforms.validate", "project"),),
}

#: The account that forwards dead letters: Google's own, of whatever project.
_SERVICE_AGENT: Final = re.compile(r"serviceAccount:service-[^@]+@gcp-sa-pubsub\.iam\.gserviceaccount\.com")


def caller_of(headers: Mapping[str, str]) -> str:
    """Return the e-mail address of a caller, "" for an anonymous one.

    Args:
        headers: Lower-case names. `authorization` carries a JWT, whose claim `email` is taken at its word: tokens are
            not verified here. Else it is the value of `x-goog-authenticated-user-email`.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    parts = token.strip().split(".")
    if scheme.lower() == "bearer" and len(parts) == 3:
        try:
            claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        except (binascii.Error, ValueError):
            claims = None
        if isinstance(claims, dict) and isinstance(claims.get("email"), str):
            return str(claims["email"])
    return headers.get(USER_HEADER, "").rpartition(":")[2]


class Access:
    """The check before each RPC.

    Args:
        policy_of: The policy that was set on a resource, or one without bindings.
        topic_of: Name of a subscription's topic, "" where it has none.
        project_policy: Bindings that hold in every project: a role, and its members.
    """

    def __init__(self, policy_of: Any, topic_of: Any, project_policy: Mapping[str, Iterable[str]]) -> None:
        self._policy_of = policy_of
        self._topic_of = topic_of
        self._project_policy = {role: tuple(members) for role, members in project_policy.items()}

    def check(self, rpc: str, request: Any, *, caller: str) -> None:
        """Refuse an RPC that its caller may not make.

        Raises:
            StatusError: PERMISSION_DENIED, with the permission and the resource.
        """
        for permission, where in _NEEDS[rpc]:
            resource = self._resource(request, where)
            if not resource or resource.startswith("_"):
                continue  # not given, or deleted: the RPC itself says what it thinks of that
            kind = resource.split("/")[2] if resource.count("/") > 1 else ""
            full = f"{kind}.{permission}" if "." not in permission else permission
            if full not in self.granted(resource, caller=caller):
                raise StatusError(
                    Code.PERMISSION_DENIED,
                    f"User not authorized to perform this action: {caller or 'an anonymous caller'} needs "
                    f"pubsub.{full} on {resource}.",
                )

    def granted(self, resource: str, *, caller: str) -> frozenset[str]:
        """Return the permissions (without `pubsub.`) of a caller on a resource, those of its project included."""
        members = {"allUsers"}
        if caller:
            domain = caller.rpartition("@")[2]
            members |= {f"user:{caller}", f"serviceAccount:{caller}", f"domain:{domain}", "allAuthenticatedUsers"}
        return self._permissions(resource, lambda member: member in members)

    def may_forward(self, subscription: str, topic: str) -> bool:
        """Whether the service agent may consume from a subscription and publish to its dead-letter topic."""

        def is_agent(member: str) -> bool:
            return _SERVICE_AGENT.fullmatch(member) is not None

        return "subscriptions.consume" in self._permissions(
            subscription, is_agent
        ) and "topics.publish" in self._permissions(topic, is_agent)

    def _permissions(self, resource: str, is_member: Any) -> frozenset[str]:
        bindings = list(self._project_policy.items())
        if resource.count("/") > 1:
            bindings += [(each.role, each.members) for each in self._policy_of(resource).bindings]
        return frozenset().union(
            *(ROLES.get(role, frozenset()) for role, members in bindings if any(map(is_member, members)))
        )

    def _resource(self, request: Any, where: str) -> str:
        how, _, path = where.rpartition(":")
        value = request
        for part in path.split("."):
            value = getattr(value, part)
        name = str(value).partition("@")[0]
        if how == _PROJECT:
            return f"projects/{names.project_of(name)}" if name.count("/") > 1 else ""
        if how == "topic-of":
            return str(self._topic_of(name))
        return name
