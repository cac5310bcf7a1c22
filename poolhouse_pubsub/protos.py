"""The raw protobuf classes behind `google.pubsub_v1`: much faster than its wrappers, and no generated stubs."""

from typing import Any

from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf import duration_pb2, empty_pb2, field_mask_pb2, timestamp_pb2
from google.pubsub_v1.types import pubsub, schema

# The wrappers make their classes at run time, so a type checker knows nothing of them: they are Any here, on purpose.
PubsubMessage: Any = pubsub.PubsubMessage.pb()
Topic: Any = pubsub.Topic.pb()
Subscription: Any = pubsub.Subscription.pb()
Snapshot: Any = pubsub.Snapshot.pb()
ExpirationPolicy: Any = pubsub.ExpirationPolicy.pb()
MessageTransform: Any = pubsub.MessageTransform.pb()
Compression: Any = pubsub.Compression.pb()

GetTopicRequest: Any = pubsub.GetTopicRequest.pb()
UpdateTopicRequest: Any = pubsub.UpdateTopicRequest.pb()
PublishRequest: Any = pubsub.PublishRequest.pb()
PublishResponse: Any = pubsub.PublishResponse.pb()
ListTopicsRequest: Any = pubsub.ListTopicsRequest.pb()
ListTopicsResponse: Any = pubsub.ListTopicsResponse.pb()
ListTopicSubscriptionsRequest: Any = pubsub.ListTopicSubscriptionsRequest.pb()
ListTopicSubscriptionsResponse: Any = pubsub.ListTopicSubscriptionsResponse.pb()
ListTopicSnapshotsRequest: Any = pubsub.ListTopicSnapshotsRequest.pb()
ListTopicSnapshotsResponse: Any = pubsub.ListTopicSnapshotsResponse.pb()
DeleteTopicRequest: Any = pubsub.DeleteTopicRequest.pb()
DetachSubscriptionRequest: Any = pubsub.DetachSubscriptionRequest.pb()
DetachSubscriptionResponse: Any = pubsub.DetachSubscriptionResponse.pb()

GetSubscriptionRequest: Any = pubsub.GetSubscriptionRequest.pb()
UpdateSubscriptionRequest: Any = pubsub.UpdateSubscriptionRequest.pb()
ListSubscriptionsRequest: Any = pubsub.ListSubscriptionsRequest.pb()
ListSubscriptionsResponse: Any = pubsub.ListSubscriptionsResponse.pb()
DeleteSubscriptionRequest: Any = pubsub.DeleteSubscriptionRequest.pb()
ModifyPushConfigRequest: Any = pubsub.ModifyPushConfigRequest.pb()
PullRequest: Any = pubsub.PullRequest.pb()
PullResponse: Any = pubsub.PullResponse.pb()
ModifyAckDeadlineRequest: Any = pubsub.ModifyAckDeadlineRequest.pb()
AcknowledgeRequest: Any = pubsub.AcknowledgeRequest.pb()
StreamingPullRequest: Any = pubsub.StreamingPullRequest.pb()
StreamingPullResponse: Any = pubsub.StreamingPullResponse.pb()
CreateSnapshotRequest: Any = pubsub.CreateSnapshotRequest.pb()
UpdateSnapshotRequest: Any = pubsub.UpdateSnapshotRequest.pb()
GetSnapshotRequest: Any = pubsub.GetSnapshotRequest.pb()
ListSnapshotsRequest: Any = pubsub.ListSnapshotsRequest.pb()
ListSnapshotsResponse: Any = pubsub.ListSnapshotsResponse.pb()
DeleteSnapshotRequest: Any = pubsub.DeleteSnapshotRequest.pb()
SeekRequest: Any = pubsub.SeekRequest.pb()
SeekResponse: Any = pubsub.SeekResponse.pb()

Schema: Any = schema.Schema.pb()
CreateSchemaRequest: Any = schema.CreateSchemaRequest.pb()
GetSchemaRequest: Any = schema.GetSchemaRequest.pb()
ListSchemasRequest: Any = schema.ListSchemasRequest.pb()
ListSchemasResponse: Any = schema.ListSchemasResponse.pb()
ListSchemaRevisionsRequest: Any = schema.ListSchemaRevisionsRequest.pb()
ListSchemaRevisionsResponse: Any = schema.ListSchemaRevisionsResponse.pb()
CommitSchemaRequest: Any = schema.CommitSchemaRequest.pb()
RollbackSchemaRequest: Any = schema.RollbackSchemaRequest.pb()
DeleteSchemaRevisionRequest: Any = schema.DeleteSchemaRevisionRequest.pb()
DeleteSchemaRequest: Any = schema.DeleteSchemaRequest.pb()
ValidateSchemaRequest: Any = schema.ValidateSchemaRequest.pb()
ValidateSchemaResponse: Any = schema.ValidateSchemaResponse.pb()
ValidateMessageRequest: Any = schema.ValidateMessageRequest.pb()
ValidateMessageResponse: Any = schema.ValidateMessageResponse.pb()

Policy: Any = policy_pb2.Policy
GetIamPolicyRequest: Any = iam_policy_pb2.GetIamPolicyRequest
SetIamPolicyRequest: Any = iam_policy_pb2.SetIamPolicyRequest
TestIamPermissionsRequest: Any = iam_policy_pb2.TestIamPermissionsRequest
TestIamPermissionsResponse: Any = iam_policy_pb2.TestIamPermissionsResponse

Empty: Any = empty_pb2.Empty
Duration: Any = duration_pb2.Duration
Timestamp: Any = timestamp_pb2.Timestamp
FieldMask: Any = field_mask_pb2.FieldMask
