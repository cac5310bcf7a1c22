"""The protobuf classes of google.pubsub.v1, from a descriptor of their own.

`api.binpb` is a serialised FileDescriptorSet. To import the client library for it would take most of the start: it
brings its transports, authentication and HTTP along. The classes have a descriptor pool of their own, so that the
client library may be used in the same process; only bytes go from one to the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, message_factory

#: Where all of the classes below are, but those of IAM.
POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(Path(__file__).with_name("api.binpb").read_bytes()).file:
    POOL.Add(_file)


def _class(name: str, package: str = "google.pubsub.v1") -> Any:
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{package}.{name}"))


# Made at run time, so a type checker knows nothing of them: they are Any, on purpose.
PubsubMessage: Any = _class("PubsubMessage")
Topic: Any = _class("Topic")
Subscription: Any = _class("Subscription")
Snapshot: Any = _class("Snapshot")
ExpirationPolicy: Any = _class("ExpirationPolicy")
MessageTransform: Any = _class("MessageTransform")
Compression: Any = _class("Compression")
PlatformLogsSettings: Any = _class("PlatformLogsSettings")
IngestionFailureEvent: Any = _class("IngestionFailureEvent")
PubsubClientTelemetry: Any = _class("PubsubClientTelemetry")

GetTopicRequest: Any = _class("GetTopicRequest")
UpdateTopicRequest: Any = _class("UpdateTopicRequest")
PublishRequest: Any = _class("PublishRequest")
PublishResponse: Any = _class("PublishResponse")
ListTopicsRequest: Any = _class("ListTopicsRequest")
ListTopicsResponse: Any = _class("ListTopicsResponse")
ListTopicSubscriptionsRequest: Any = _class("ListTopicSubscriptionsRequest")
ListTopicSubscriptionsResponse: Any = _class("ListTopicSubscriptionsResponse")
ListTopicSnapshotsRequest: Any = _class("ListTopicSnapshotsRequest")
ListTopicSnapshotsResponse: Any = _class("ListTopicSnapshotsResponse")
DeleteTopicRequest: Any = _class("DeleteTopicRequest")
DetachSubscriptionRequest: Any = _class("DetachSubscriptionRequest")
DetachSubscriptionResponse: Any = _class("DetachSubscriptionResponse")

GetSubscriptionRequest: Any = _class("GetSubscriptionRequest")
UpdateSubscriptionRequest: Any = _class("UpdateSubscriptionRequest")
ListSubscriptionsRequest: Any = _class("ListSubscriptionsRequest")
ListSubscriptionsResponse: Any = _class("ListSubscriptionsResponse")
DeleteSubscriptionRequest: Any = _class("DeleteSubscriptionRequest")
ModifyPushConfigRequest: Any = _class("ModifyPushConfigRequest")
PullRequest: Any = _class("PullRequest")
PullResponse: Any = _class("PullResponse")
ModifyAckDeadlineRequest: Any = _class("ModifyAckDeadlineRequest")
AcknowledgeRequest: Any = _class("AcknowledgeRequest")
StreamingPullRequest: Any = _class("StreamingPullRequest")
StreamingPullResponse: Any = _class("StreamingPullResponse")
CreateSnapshotRequest: Any = _class("CreateSnapshotRequest")
UpdateSnapshotRequest: Any = _class("UpdateSnapshotRequest")
GetSnapshotRequest: Any = _class("GetSnapshotRequest")
ListSnapshotsRequest: Any = _class("ListSnapshotsRequest")
ListSnapshotsResponse: Any = _class("ListSnapshotsResponse")
DeleteSnapshotRequest: Any = _class("DeleteSnapshotRequest")
SeekRequest: Any = _class("SeekRequest")
SeekResponse: Any = _class("SeekResponse")

Schema: Any = _class("Schema")
CreateSchemaRequest: Any = _class("CreateSchemaRequest")
GetSchemaRequest: Any = _class("GetSchemaRequest")
ListSchemasRequest: Any = _class("ListSchemasRequest")
ListSchemasResponse: Any = _class("ListSchemasResponse")
ListSchemaRevisionsRequest: Any = _class("ListSchemaRevisionsRequest")
ListSchemaRevisionsResponse: Any = _class("ListSchemaRevisionsResponse")
CommitSchemaRequest: Any = _class("CommitSchemaRequest")
RollbackSchemaRequest: Any = _class("RollbackSchemaRequest")
DeleteSchemaRevisionRequest: Any = _class("DeleteSchemaRevisionRequest")
DeleteSchemaRequest: Any = _class("DeleteSchemaRequest")
ValidateSchemaRequest: Any = _class("ValidateSchemaRequest")
ValidateSchemaResponse: Any = _class("ValidateSchemaResponse")
ValidateMessageRequest: Any = _class("ValidateMessageRequest")
ValidateMessageResponse: Any = _class("ValidateMessageResponse")

Policy: Any = policy_pb2.Policy
GetIamPolicyRequest: Any = iam_policy_pb2.GetIamPolicyRequest
SetIamPolicyRequest: Any = iam_policy_pb2.SetIamPolicyRequest
TestIamPermissionsRequest: Any = iam_policy_pb2.TestIamPermissionsRequest
TestIamPermissionsResponse: Any = iam_policy_pb2.TestIamPermissionsResponse

Empty: Any = empty_pb2.Empty
Duration: Any = _class("Duration", "google.protobuf")
Timestamp: Any = _class("Timestamp", "google.protobuf")
