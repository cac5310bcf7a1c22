"""Every RPC by its gRPC name: what both transports call."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from poolhouse_pubsub import limits, protos
from poolhouse_pubsub.control.clients import Clients
from poolhouse_pubsub.control.faults import Faults
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.service.access import caller_of
from poolhouse_pubsub.service.gate import Gate
from poolhouse_pubsub.service.iam import IamPolicies
from poolhouse_pubsub.service.publisher import Publisher
from poolhouse_pubsub.service.schemas import Schemas
from poolhouse_pubsub.service.snapshots import Snapshots
from poolhouse_pubsub.service.subscriber import Subscriber
from poolhouse_pubsub.service.transforms import Transforms
from poolhouse_pubsub.status import invalid
from poolhouse_pubsub.transforms import requests

PUBLISHER = "google.pubsub.v1.Publisher"
SUBSCRIBER = "google.pubsub.v1.Subscriber"
SCHEMAS = "google.pubsub.v1.SchemaService"
IAM = "google.iam.v1.IAMPolicy"
#: Calls of the REST API alone: no gRPC service has them.
TRANSFORMS = "message-transforms"


@dataclass(frozen=True, slots=True)
class Method:
    """One unary RPC."""

    #: Full name of its gRPC service.
    service: str
    #: Its name there, such as `CreateTopic`.
    name: str
    #: Class of its request.
    request: Any
    #: Class of its response.
    response: Any
    #: Takes a request (which it may change and keep) and answers a response message or a serialised one, at once or
    #: awaitable. Raises StatusError.
    run: Callable[[Any], Any]
    #: Largest request; None for no limit of its own.
    most_bytes: int | None = None


class Service:
    """All RPCs on one emulator.

    Args:
        emulator: The state.
        faults: Faults that a test asked for.
    """

    def __init__(self, emulator: Emulator, faults: Faults) -> None:
        self.emulator = emulator
        self.faults = faults
        self.schemas = Schemas(emulator)
        self.publisher = Publisher(emulator, self.schemas)
        self.subscriber = Subscriber(emulator, faults)
        self.snapshots = Snapshots(emulator, self.subscriber)
        self.iam = IamPolicies(emulator, self.schemas)
        self.transforms = Transforms(emulator)
        #: Enforced IAM and quotas; None where neither was asked for.
        self.gate: Gate | None = None
        #: Who called; None where nobody looks at it.
        self.clients: Clients | None = None
        #: By `SERVICE/METHOD`, as in a gRPC path without its leading slash.
        self.methods = {f"{method.service}/{method.name}": method for method in self._table()}

    def _table(self) -> list[Method]:
        p, topics, subs, snaps = protos, self.publisher, self.subscriber, self.snapshots
        schemas, iam, transforms = self.schemas, self.iam, self.transforms
        return [
            Method(PUBLISHER, "CreateTopic", p.Topic, p.Topic, topics.create_topic),
            Method(PUBLISHER, "UpdateTopic", p.UpdateTopicRequest, p.Topic, topics.update_topic),
            Method(PUBLISHER, "GetTopic", p.GetTopicRequest, p.Topic, topics.get_topic),
            Method(PUBLISHER, "DeleteTopic", p.DeleteTopicRequest, p.Empty, topics.delete_topic),
            Method(PUBLISHER, "ListTopics", p.ListTopicsRequest, p.ListTopicsResponse, topics.list_topics),
            Method(
                PUBLISHER,
                "ListTopicSubscriptions",
                p.ListTopicSubscriptionsRequest,
                p.ListTopicSubscriptionsResponse,
                topics.list_topic_subscriptions,
            ),
            Method(
                PUBLISHER,
                "ListTopicSnapshots",
                p.ListTopicSnapshotsRequest,
                p.ListTopicSnapshotsResponse,
                topics.list_topic_snapshots,
            ),
            Method(PUBLISHER, "Publish", p.PublishRequest, p.PublishResponse, topics.publish, limits.PUBLISH_BYTES),
            Method(
                PUBLISHER,
                "DetachSubscription",
                p.DetachSubscriptionRequest,
                p.DetachSubscriptionResponse,
                topics.detach_subscription,
            ),
            Method(SUBSCRIBER, "CreateSubscription", p.Subscription, p.Subscription, subs.create_subscription),
            Method(SUBSCRIBER, "GetSubscription", p.GetSubscriptionRequest, p.Subscription, subs.get_subscription),
            Method(
                SUBSCRIBER, "UpdateSubscription", p.UpdateSubscriptionRequest, p.Subscription, subs.update_subscription
            ),
            Method(
                SUBSCRIBER,
                "ListSubscriptions",
                p.ListSubscriptionsRequest,
                p.ListSubscriptionsResponse,
                subs.list_subscriptions,
            ),
            Method(SUBSCRIBER, "DeleteSubscription", p.DeleteSubscriptionRequest, p.Empty, subs.delete_subscription),
            Method(SUBSCRIBER, "ModifyPushConfig", p.ModifyPushConfigRequest, p.Empty, subs.modify_push_config),
            Method(SUBSCRIBER, "Pull", p.PullRequest, p.PullResponse, subs.pull),
            Method(
                SUBSCRIBER, "Acknowledge", p.AcknowledgeRequest, p.Empty, subs.acknowledge, limits.ACK_REQUEST_BYTES
            ),
            Method(
                SUBSCRIBER,
                "ModifyAckDeadline",
                p.ModifyAckDeadlineRequest,
                p.Empty,
                subs.modify_ack_deadline,
                limits.ACK_REQUEST_BYTES,
            ),
            Method(SUBSCRIBER, "CreateSnapshot", p.CreateSnapshotRequest, p.Snapshot, snaps.create_snapshot),
            Method(SUBSCRIBER, "UpdateSnapshot", p.UpdateSnapshotRequest, p.Snapshot, snaps.update_snapshot),
            Method(SUBSCRIBER, "GetSnapshot", p.GetSnapshotRequest, p.Snapshot, snaps.get_snapshot),
            Method(SUBSCRIBER, "ListSnapshots", p.ListSnapshotsRequest, p.ListSnapshotsResponse, snaps.list_snapshots),
            Method(SUBSCRIBER, "DeleteSnapshot", p.DeleteSnapshotRequest, p.Empty, snaps.delete_snapshot),
            Method(SUBSCRIBER, "Seek", p.SeekRequest, p.SeekResponse, snaps.seek),
            Method(SCHEMAS, "CreateSchema", p.CreateSchemaRequest, p.Schema, schemas.create_schema),
            Method(SCHEMAS, "GetSchema", p.GetSchemaRequest, p.Schema, schemas.get_schema),
            Method(SCHEMAS, "ListSchemas", p.ListSchemasRequest, p.ListSchemasResponse, schemas.list_schemas),
            Method(
                SCHEMAS,
                "ListSchemaRevisions",
                p.ListSchemaRevisionsRequest,
                p.ListSchemaRevisionsResponse,
                schemas.list_schema_revisions,
            ),
            Method(SCHEMAS, "CommitSchema", p.CommitSchemaRequest, p.Schema, schemas.commit_schema),
            Method(SCHEMAS, "RollbackSchema", p.RollbackSchemaRequest, p.Schema, schemas.rollback_schema),
            Method(
                SCHEMAS, "DeleteSchemaRevision", p.DeleteSchemaRevisionRequest, p.Schema, schemas.delete_schema_revision
            ),
            Method(SCHEMAS, "DeleteSchema", p.DeleteSchemaRequest, p.Empty, schemas.delete_schema),
            Method(
                SCHEMAS, "ValidateSchema", p.ValidateSchemaRequest, p.ValidateSchemaResponse, schemas.validate_schema
            ),
            Method(
                SCHEMAS,
                "ValidateMessage",
                p.ValidateMessageRequest,
                p.ValidateMessageResponse,
                schemas.validate_message,
            ),
            Method(IAM, "GetIamPolicy", p.GetIamPolicyRequest, p.Policy, iam.get_iam_policy),
            Method(IAM, "SetIamPolicy", p.SetIamPolicyRequest, p.Policy, iam.set_iam_policy),
            Method(
                IAM,
                "TestIamPermissions",
                p.TestIamPermissionsRequest,
                p.TestIamPermissionsResponse,
                iam.test_iam_permissions,
            ),
            Method(
                TRANSFORMS,
                "ValidateMessageTransform",
                requests.ValidateMessageTransformRequest,
                requests.ValidateMessageTransformResponse,
                transforms.validate_message_transform,
            ),
            Method(
                TRANSFORMS,
                "TestMessageTransforms",
                requests.TestMessageTransformsRequest,
                requests.TestMessageTransformsResponse,
                transforms.test_message_transforms,
            ),
        ]

    @property
    def reads_headers(self) -> bool:
        """Whether anything needs the headers of calls: to get at them costs time."""
        return self.gate is not None or self.clients is not None

    def caller(self, method: str, headers: Iterable[tuple[str, Any]]) -> str:
        """Note who calls an RPC, and return the caller's e-mail address; "" where IAM is not enforced."""
        if self.clients is not None:
            headers = list(headers)
            self.clients.note(method, headers)
        if self.gate is None or self.gate.access is None:
            return ""
        return caller_of({name: value for name, value in headers if isinstance(value, str)})

    @property
    def grpc_methods(self) -> list[Method]:
        """The RPCs that have a gRPC form."""
        return [method for method in self.methods.values() if method.service != TRANSFORMS]

    async def call(self, method: Method, request: Any, *, caller: str = "", size_bytes: int | None = None) -> Any:
        """Run one RPC with the faults that are set for it.

        Args:
            method: One of `methods`.
            request: Its request message; the call may keep it.
            caller: E-mail address of who calls, "" for an anonymous one; used where IAM is enforced.
            size_bytes: Size of the serialised request where that is known; else it is measured, which costs as much as
                to serialise it.

        Returns:
            The response message, or the bytes of one.

        Raises:
            StatusError: The RPC's refusal, or an injected fault.
        """
        if method.most_bytes is not None:
            limits.check_size(request.ByteSize() if size_bytes is None else size_bytes, method.most_bytes)
        faults, gate = self.faults, self.gate
        if gate is not None:
            gate.before(method.name, request, caller=caller)
        if faults.active:
            await faults.before(method.name, subscription=_subscription_of(request))
        answer = method.run(request)
        if inspect.isawaitable(answer):
            answer = await _finish(answer)
        if gate is not None:
            answer = gate.after(method.name, request, answer, caller=caller)
        if faults.active:
            faults.after(method.name)
        return answer

    async def call_bytes(self, method: Method, raw: bytes, *, caller: str = "") -> bytes:
        """As `call`, from a serialised request to a serialised response."""
        try:
            request = method.request.FromString(raw)
        except DecodeError:
            raise invalid(f"The request is not a valid {method.request.DESCRIPTOR.full_name}.") from None
        answer = await self.call(method, request, caller=caller, size_bytes=len(raw))
        return answer if isinstance(answer, bytes) else answer.SerializeToString()


def _subscription_of(request: Any) -> str:
    """Full name of the subscription that a request is about, "" for none."""
    if isinstance(request, protos.Subscription):
        return str(request.name)
    found = getattr(request, "subscription", "")
    return found if isinstance(found, str) else str(found.name)


async def _finish(answer: Awaitable[Any]) -> Any:
    return await answer
