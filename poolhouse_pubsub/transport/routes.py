"""The REST routes of Pub/Sub: which HTTP call is which RPC, and where its path goes in the request.

Source: the `google.api.http` annotations of google/pubsub/v1/pubsub.proto, schema.proto and of pubsub_v1.yaml.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

_PUBLISHER = "google.pubsub.v1.Publisher"
_SUBSCRIBER = "google.pubsub.v1.Subscriber"
_SCHEMAS = "google.pubsub.v1.SchemaService"
_IAM = "google.iam.v1.IAMPolicy"
_TRANSFORMS = "message-transforms"

#: The body is the whole request; there are no query parameters then.
WHOLE = "*"


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP call."""

    #: `SERVICE/METHOD`, a key of `Service.methods`.
    rpc: str
    #: Field of the request that takes the resource name in the path; dotted for one inside another.
    path_field: str
    #: `WHOLE`, the field that the body is, or "" when there is none: the rest are query parameters.
    body: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """A route that a call takes."""

    #: The route.
    route: Route
    #: The resource name in the call's path, decoded.
    name: str


#: By `METHOD SHAPE`: the path below `/v1/projects/PROJECT` with `*` for an id, and the verb after a colon.
ROUTES: dict[str, Route] = {
    "PUT topics/*": Route(f"{_PUBLISHER}/CreateTopic", "name", WHOLE),
    "PATCH topics/*": Route(f"{_PUBLISHER}/UpdateTopic", "topic.name", WHOLE),
    "GET topics/*": Route(f"{_PUBLISHER}/GetTopic", "topic"),
    "DELETE topics/*": Route(f"{_PUBLISHER}/DeleteTopic", "topic"),
    "GET topics": Route(f"{_PUBLISHER}/ListTopics", "project"),
    "GET topics/*/subscriptions": Route(f"{_PUBLISHER}/ListTopicSubscriptions", "topic"),
    "GET topics/*/snapshots": Route(f"{_PUBLISHER}/ListTopicSnapshots", "topic"),
    "POST topics/*:publish": Route(f"{_PUBLISHER}/Publish", "topic", WHOLE),
    "POST subscriptions/*:detach": Route(f"{_PUBLISHER}/DetachSubscription", "subscription"),
    "PUT subscriptions/*": Route(f"{_SUBSCRIBER}/CreateSubscription", "name", WHOLE),
    "PATCH subscriptions/*": Route(f"{_SUBSCRIBER}/UpdateSubscription", "subscription.name", WHOLE),
    "GET subscriptions/*": Route(f"{_SUBSCRIBER}/GetSubscription", "subscription"),
    "DELETE subscriptions/*": Route(f"{_SUBSCRIBER}/DeleteSubscription", "subscription"),
    "GET subscriptions": Route(f"{_SUBSCRIBER}/ListSubscriptions", "project"),
    "POST subscriptions/*:pull": Route(f"{_SUBSCRIBER}/Pull", "subscription", WHOLE),
    "POST subscriptions/*:acknowledge": Route(f"{_SUBSCRIBER}/Acknowledge", "subscription", WHOLE),
    "POST subscriptions/*:modifyAckDeadline": Route(f"{_SUBSCRIBER}/ModifyAckDeadline", "subscription", WHOLE),
    "POST subscriptions/*:modifyPushConfig": Route(f"{_SUBSCRIBER}/ModifyPushConfig", "subscription", WHOLE),
    "POST subscriptions/*:seek": Route(f"{_SUBSCRIBER}/Seek", "subscription", WHOLE),
    "PUT snapshots/*": Route(f"{_SUBSCRIBER}/CreateSnapshot", "name", WHOLE),
    "PATCH snapshots/*": Route(f"{_SUBSCRIBER}/UpdateSnapshot", "snapshot.name", WHOLE),
    "GET snapshots/*": Route(f"{_SUBSCRIBER}/GetSnapshot", "snapshot"),
    "DELETE snapshots/*": Route(f"{_SUBSCRIBER}/DeleteSnapshot", "snapshot"),
    "GET snapshots": Route(f"{_SUBSCRIBER}/ListSnapshots", "project"),
    "POST schemas": Route(f"{_SCHEMAS}/CreateSchema", "parent", "schema"),
    "GET schemas": Route(f"{_SCHEMAS}/ListSchemas", "parent"),
    "GET schemas/*": Route(f"{_SCHEMAS}/GetSchema", "name"),
    "DELETE schemas/*": Route(f"{_SCHEMAS}/DeleteSchema", "name"),
    "GET schemas/*:listRevisions": Route(f"{_SCHEMAS}/ListSchemaRevisions", "name"),
    "POST schemas/*:commit": Route(f"{_SCHEMAS}/CommitSchema", "name", WHOLE),
    "POST schemas/*:rollback": Route(f"{_SCHEMAS}/RollbackSchema", "name", WHOLE),
    "DELETE schemas/*:deleteRevision": Route(f"{_SCHEMAS}/DeleteSchemaRevision", "name"),
    "POST schemas:validate": Route(f"{_SCHEMAS}/ValidateSchema", "parent", WHOLE),
    "POST schemas:validateMessage": Route(f"{_SCHEMAS}/ValidateMessage", "parent", WHOLE),
    "POST :validateMessageTransform": Route(f"{_TRANSFORMS}/ValidateMessageTransform", "project", WHOLE),
    "POST :testMessageTransforms": Route(f"{_TRANSFORMS}/TestMessageTransforms", "project", WHOLE),
}
for _kind in ("topics", "subscriptions", "snapshots", "schemas"):
    ROUTES[f"GET {_kind}/*:getIamPolicy"] = Route(f"{_IAM}/GetIamPolicy", "resource")
    ROUTES[f"POST {_kind}/*:setIamPolicy"] = Route(f"{_IAM}/SetIamPolicy", "resource", WHOLE)
    ROUTES[f"POST {_kind}/*:testIamPermissions"] = Route(f"{_IAM}/TestIamPermissions", "resource", WHOLE)


def match(method: str, path: str) -> Match | None:
    """Find the route of a call.

    Args:
        method: The HTTP method, upper case.
        path: The percent-encoded path, without the query.

    Returns:
        The route, or None when there is none.
    """
    # Split before decoding: an encoded slash or colon belongs to an id (and is refused by its rules).
    *leading, last = path.strip("/").split("/")
    if len(leading) == 2:  # a call on a project, whose id may have a domain: example.com:project
        last, _, verb = last.rpartition(":")
    else:
        last, _, verb = last.partition(":")
    version, *parts = [urllib.parse.unquote(part) for part in (*leading, last)]
    if version != "v1" or not 2 <= len(parts) <= 5 or parts[0] != "projects":
        return None
    shape = [part if place % 2 == 0 else "*" for place, part in enumerate(parts[2:])]
    route = ROUTES.get(f"{method} {'/'.join(shape)}" + (f":{verb}" if verb else ""))
    if route is None:
        return None
    # A list is asked of the project, or of the topic, that stands before its own part of the path.
    return Match(route, "/".join(parts[:-1] if len(parts) % 2 else parts))
