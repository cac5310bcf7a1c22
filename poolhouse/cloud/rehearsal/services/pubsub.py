"""Pub/Sub: topics and subscriptions."""

from __future__ import annotations

from typing import Any

from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import LABELS, boolean, check, duration, required, text, whole
from poolhouse.cloud.rehearsal.services import policies
from poolhouse.cloud.rehearsal.state import PROJECT_NUMBER, Json, State

_ID = text(r"(?!goog)[A-Za-z][A-Za-z0-9._~%+-]{2,254}")
_TOPIC = {
    "name": text(),
    "labels": LABELS,
    "messageRetentionDuration": duration(600, 2_678_400),
    "kmsKeyName": text(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+"),
}
_SUBSCRIPTION = {
    "name": text(),
    "topic": text(r"projects/[^/]+/topics/[^/]+"),
    "ackDeadlineSeconds": whole(10, 600),
    "labels": LABELS,
    "messageRetentionDuration": duration(600, 2_678_400),
    "expirationPolicy": {"ttl": duration(86_400, 31_536_000)},
    "retryPolicy": {"minimumBackoff": duration(0, 600), "maximumBackoff": duration(0, 600)},
    "deadLetterPolicy": {"deadLetterTopic": text(r"projects/[^/]+/topics/[^/]+"), "maxDeliveryAttempts": whole(5, 100)},
    "enableExactlyOnceDelivery": boolean,
    "enableMessageOrdering": boolean,
    "retainAckedMessages": boolean,
}
#: What the service fills in.
_DEFAULTS = {"ackDeadlineSeconds": 10, "messageRetentionDuration": "604800s", "expirationPolicy": {"ttl": "2678400s"}}


def _topic(state: State, topic: str) -> str:
    return f"pubsub/projects/{state.project}/topics/{topic}"


def _subscription(state: State, subscription: str) -> str:
    return f"pubsub/projects/{state.project}/subscriptions/{subscription}"


def _list_topics(state: State, request: Request) -> Json:
    return {"topics": state.listed(_topic(state, ""))}


def _create_topic(state: State, request: Request, topic: str) -> Json:
    body = request.json
    check(body, _TOPIC)
    check(topic, _ID, "name")
    return state.create(_topic(state, topic), {**body, "state": "ACTIVE"})


def _get_topic(state: State, request: Request, topic: str) -> Json:
    return state.get(_topic(state, topic))


def _patch_topic(state: State, request: Request, topic: str) -> Json:
    body = request.json
    check(body, {"topic": _TOPIC, "updateMask": text()})
    return _update(state.get(_topic(state, topic)), body["topic"], body["updateMask"])


def _delete_topic(state: State, request: Request, topic: str) -> Json:
    state.delete(_topic(state, topic))
    for item in state.listed(_subscription(state, "")):
        if item["topic"].endswith(f"/{topic}"):
            item["topic"] = "_deleted-topic_"


def _list_subscriptions(state: State, request: Request) -> Json:
    return {"subscriptions": state.listed(_subscription(state, ""))}


def _create_subscription(state: State, request: Request, subscription: str) -> Json:
    body = request.json
    check(subscription, _ID, "name")
    required(body, "topic")
    _check_subscription(state, body)
    return state.create(_subscription(state, subscription), {**_DEFAULTS, **body, "state": "ACTIVE"})


def _get_subscription(state: State, request: Request, subscription: str) -> Json:
    return state.get(_subscription(state, subscription))


def _patch_subscription(state: State, request: Request, subscription: str) -> Json:
    body = request.json
    check(body, {"subscription": anything_known, "updateMask": text()})
    found = state.get(_subscription(state, subscription))
    _check_subscription(state, body["subscription"])
    return _update(found, body["subscription"], body["updateMask"])


def _delete_subscription(state: State, request: Request, subscription: str) -> Json:
    state.delete(_subscription(state, subscription))


def anything_known(value: Any, path: str) -> None:
    """The fields of a subscription, whose topics are checked apart."""
    check(value, _SUBSCRIPTION, path)


def _check_subscription(state: State, body: dict[str, Any]) -> None:
    check(body, _SUBSCRIPTION)
    named = [body.get("topic"), body.get("deadLetterPolicy", {}).get("deadLetterTopic")]
    for path in filter(None, named):
        state.get(f"pubsub/{path}")
    retry = body.get("retryPolicy", {})
    if float(retry.get("minimumBackoff", "0s")[:-1]) > float(retry.get("maximumBackoff", "600s")[:-1]):
        raise ApiError("INVALID_ARGUMENT", "minimumBackoff is above maximumBackoff")


def _update(found: dict[str, Any], body: dict[str, Any], mask: str) -> Json:
    for field in filter(None, mask.split(",")):
        name = field.split(".")[0]
        if name in {"name", "topic"}:
            raise ApiError("INVALID_ARGUMENT", f"{name} is immutable")
        if name in body:
            found[name] = body[name]
        else:
            found.pop(name, None)
    return found


def dead_letter_gaps(state: State) -> list[str]:
    """What would keep dead letters from arriving: Pub/Sub says nothing of it, messages just stay or vanish."""
    agent = f"serviceAccount:service-{PROJECT_NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
    gaps = []
    subscriptions = state.listed(_subscription(state, ""))
    for item in subscriptions:
        target = item.get("deadLetterPolicy", {}).get("deadLetterTopic")
        if target is None:
            continue
        name = item["name"].rpartition("/")[2]
        if not state.grants(f"pubsub/{item['name']}", "roles/pubsub.subscriber", agent):
            gaps.append(f"{name}: the service agent may not take messages off it")
        if not state.grants(f"pubsub/{target}", "roles/pubsub.publisher", agent):
            gaps.append(f"{name}: the service agent may not publish to {target}")
        if not any(other["topic"] == target for other in subscriptions):
            gaps.append(f"{name}: {target} has no subscription, so what is published there is lost")
    return gaps


_TOPICS = "/v1/projects/{project}/topics"
_SUBSCRIPTIONS = "/v1/projects/{project}/subscriptions"
ROUTES: tuple[Route, ...] = (
    route("GET", _TOPICS, _list_topics, api="pubsub"),
    route("PUT", _TOPICS + "/{topic}", _create_topic, api="pubsub"),
    route("GET", _TOPICS + "/{topic}", _get_topic, api="pubsub"),
    route("PATCH", _TOPICS + "/{topic}", _patch_topic, api="pubsub"),
    route("DELETE", _TOPICS + "/{topic}", _delete_topic, api="pubsub"),
    *policies.routes(_TOPICS + "/{topic}", _topic, api="pubsub"),
    route("GET", _SUBSCRIPTIONS, _list_subscriptions, api="pubsub"),
    route("PUT", _SUBSCRIPTIONS + "/{subscription}", _create_subscription, api="pubsub"),
    route("GET", _SUBSCRIPTIONS + "/{subscription}", _get_subscription, api="pubsub"),
    route("PATCH", _SUBSCRIPTIONS + "/{subscription}", _patch_subscription, api="pubsub"),
    route("DELETE", _SUBSCRIPTIONS + "/{subscription}", _delete_subscription, api="pubsub"),
    *policies.routes(_SUBSCRIPTIONS + "/{subscription}", _subscription, api="pubsub"),
)
