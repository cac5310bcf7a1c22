"""Cloud Storage's JSON API: buckets, their policies, and as much of objects as a build needs."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from email import message_from_bytes
from typing import Any
from urllib.parse import quote

from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request, Response
from poolhouse.cloud.rehearsal.schema import LABELS, anything, boolean, check, list_of, one_of, text, whole
from poolhouse.cloud.rehearsal.services import policies
from poolhouse.cloud.rehearsal.state import PROJECT_NUMBER, Json, State

_RULE = {
    "action": {"type": one_of("Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"), "storageClass": text()},
    "condition": {"age": whole(0, 36_500), "matchesPrefix": list_of(text(), most=50), "isLive": boolean},
}
_CORS = {
    "origin": list_of(text()),
    "method": list_of(text(r"[A-Z*]+")),
    "responseHeader": list_of(text()),
    "maxAgeSeconds": whole(0, 86_400),
}
_BUCKET = {
    "name": text(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"),
    "location": text(r"[A-Za-z0-9-]+"),
    "storageClass": one_of("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"),
    "labels": LABELS,
    "lifecycle": {"rule": list_of(_RULE, most=100)},
    "cors": list_of(_CORS),
    "iamConfiguration": {
        "publicAccessPrevention": one_of("enforced", "inherited"),
        "uniformBucketLevelAccess": {"enabled": boolean, "lockedTime": anything},
    },
    "versioning": {"enabled": boolean},
    "encryption": {"defaultKmsKeyName": text(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")},
    "softDeletePolicy": {"retentionDurationSeconds": whole(0, 7_776_000), "effectiveTime": anything},
}
#: Fields of a bucket that the service fills in, and that gcloud sends back with its changes.
_FILLED_IN = frozenset(
    [
        "kind",
        "id",
        "selfLink",
        "projectNumber",
        "metageneration",
        "etag",
        "timeCreated",
        "updated",
        "locationType",
        "acl",
        "defaultObjectAcl",
    ]
)


def _name(bucket: str) -> str:
    return f"storage/b/{bucket}"


def _list(state: State, request: Request) -> Json:
    return {"kind": "storage#buckets", "items": state.listed(_name(""))}


def _create(state: State, request: Request) -> Json:
    body = request.json
    check(body, _BUCKET)
    name = body["name"]
    if name in state.foreign_buckets:
        raise ApiError(
            "ALREADY_EXISTS",
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
            "Please select a different name and try again.",
        )
    soft_delete = body.get("softDeletePolicy", {"retentionDurationSeconds": "604800"})
    message = "Your previous request to create the named bucket succeeded and you already own it."
    bucket = {
        "iamConfiguration": {"publicAccessPrevention": "inherited", "uniformBucketLevelAccess": {"enabled": False}},
        "storageClass": "STANDARD",
        **body,
        "kind": "storage#bucket",
        "id": name,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{name}",
        "projectNumber": PROJECT_NUMBER,
        "metageneration": "1",
        "location": body.get("location", "US").upper(),
        "locationType": "region",
        "softDeletePolicy": {**soft_delete, "effectiveTime": state.now()},
        "timeCreated": state.now(),
        "updated": state.now(),
        "etag": "CAE=",
    }
    made = state.create(_name(name), bucket, message=message)
    owners = [f"projectEditor:{state.project}", f"projectOwner:{state.project}"]
    state.policies[_name(name)] = {
        "version": 1,
        "etag": state.etag(),
        "bindings": [{"role": "roles/storage.legacyBucketOwner", "members": owners}],
    }
    return made


def _get(state: State, request: Request, bucket: str) -> Json:
    return state.get(_name(bucket), message="The specified bucket does not exist.")


def _patch(state: State, request: Request, bucket: str) -> Json:
    body = {name: value for name, value in request.json.items() if name not in _FILLED_IN}
    found = state.get(_name(bucket), message="The specified bucket does not exist.")
    labels = body.pop("labels", None)
    check({name: value for name, value in body.items() if value is not None}, _BUCKET)
    for name, value in body.items():
        if name in {"name", "location"} and str(value).upper() != str(found[name]).upper():
            raise ApiError("INVALID_ARGUMENT", f"{name} can't be changed")
        if isinstance(value, dict) and isinstance(found.get(name), dict) and name != "lifecycle":
            found[name] = {**found[name], **value}
        elif value is None:
            found.pop(name, None)
        else:
            found[name] = value
    if labels is not None:
        kept = {**found.get("labels", {}), **labels}
        found["labels"] = {key: value for key, value in kept.items() if value is not None}
        check(found["labels"], LABELS, "labels")
    found["location"] = found["location"].upper()
    found["metageneration"] = str(int(found["metageneration"]) + 1)
    return found


def _delete(state: State, request: Request, bucket: str) -> Response:
    state.get(_name(bucket), message="The specified bucket does not exist.")
    if any(owner == bucket for owner, _ in state.objects):
        raise ApiError("ALREADY_EXISTS", "The bucket you tried to delete is not empty.")
    state.delete(_name(bucket))
    return Response(status=204, body=b"")


def _layout(state: State, request: Request, bucket: str) -> Json:
    found = state.get(_name(bucket))
    layout = {"kind": "storage#storageLayout", "bucket": bucket, "location": found["location"]}
    return {**layout, "locationType": "region", "hierarchicalNamespace": {"enabled": False}}


def _managed_folders(state: State, request: Request, bucket: str) -> Json:
    state.get(_name(bucket))
    return {"kind": "storage#managedFolders", "items": []}


def _get_policy(state: State, request: Request, bucket: str) -> Json:
    state.get(_name(bucket))
    return {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{bucket}", **state.policy(_name(bucket))}


def _set_policy(state: State, request: Request, bucket: str) -> Json:
    state.get(_name(bucket))
    body = {name: value for name, value in request.json.items() if name not in {"kind", "resourceId"}}
    check(body, {"bindings": policies.BINDINGS, "etag": text(), "version": anything})
    return {"kind": "storage#policy", **state.set_policy(_name(bucket), body)}


_NOTIFICATION = {
    "topic": text(r"(//pubsub\.googleapis\.com/)?projects/[^/]+/topics/[^/]+"),
    "event_types": list_of(one_of("OBJECT_FINALIZE", "OBJECT_METADATA_UPDATE", "OBJECT_DELETE", "OBJECT_ARCHIVE")),
    "object_name_prefix": text(),
    "payload_format": one_of("JSON_API_V1", "NONE"),
    "custom_attributes": anything,
}


def _agent(state: State, request: Request) -> Json:
    state.agents.add("storage.googleapis.com")
    return {"kind": "storage#serviceAccount", "email_address": _AGENT.removeprefix("serviceAccount:")}


_AGENT = f"serviceAccount:service-{PROJECT_NUMBER}@gs-project-accounts.iam.gserviceaccount.com"


def _list_notifications(state: State, request: Request, bucket: str) -> Json:
    state.get(_name(bucket), message="The specified bucket does not exist.")
    return {"kind": "storage#notifications", "items": state.listed(f"{_name(bucket)}/notificationConfigs/")}


def _create_notification(state: State, request: Request, bucket: str) -> Json:
    state.get(_name(bucket), message="The specified bucket does not exist.")
    body = request.json
    check(body, _NOTIFICATION)
    topic = body["topic"].removeprefix("//pubsub.googleapis.com/")
    state.get(f"pubsub/{topic}", message=f"Topic {topic} does not exist.")
    if not state.may(_AGENT, "pubsub.topics.publish", on=f"pubsub/{topic}"):
        agent = _AGENT.removeprefix("serviceAccount:")
        raise ApiError(
            "PERMISSION_DENIED",
            f"The service account '{agent}' does not have permission to publish messages to to the Cloud Pub/Sub topic "
            f"'{body['topic']}', or that topic does not exist.",
        )
    present = state.listed(f"{_name(bucket)}/notificationConfigs/")
    number = str(1 + max((int(item["id"]) for item in present), default=0))
    if len(present) >= _MOST_NOTIFICATIONS:
        raise ApiError("INVALID_ARGUMENT", f"A bucket has at most {_MOST_NOTIFICATIONS} notification configurations.")
    return state.create(
        f"{_name(bucket)}/notificationConfigs/{number}",
        {
            "kind": "storage#notification",
            "id": number,
            "etag": number,
            "payload_format": "JSON_API_V1",
            **body,
            "topic": f"//pubsub.googleapis.com/{topic}",
        },
    )


#: Cloud Storage, Quotas and limits: notification configurations of a bucket.
_MOST_NOTIFICATIONS = 100


def _get_notification(state: State, request: Request, bucket: str, number: str) -> Json:
    return state.get(f"{_name(bucket)}/notificationConfigs/{number}")


def _delete_notification(state: State, request: Request, bucket: str, number: str) -> Response:
    state.delete(f"{_name(bucket)}/notificationConfigs/{number}")
    return Response(status=204, body=b"")


def _upload(state: State, request: Request, bucket: str) -> Response:
    state.get(_name(bucket))
    kind = request.query.get("uploadType")
    if kind == "multipart":
        kind_line = b"Content-Type: " + request.headers.get("content-type", "").replace("'", '"').encode() + b"\r\n\r\n"
        parts = message_from_bytes(kind_line + request.body).get_payload()
        if not isinstance(parts, list) or len(parts) != 2:
            raise ApiError("INVALID_ARGUMENT", "Multipart body must have two parts.")
        metadata, content = (bytes(part.get_payload(decode=True)) for part in parts)  # type: ignore[union-attr]
        name = json.loads(metadata).get("name") or request.query.get("name", "")
        return Response(body=_keep(state, bucket, name, content))
    if kind == "resumable":
        name = (request.json or {}).get("name") or request.query.get("name", "")
        session = f"{quote(bucket)}/{quote(name, safe='')}"
        where = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o?upload_id={quote(session, safe='')}"
        return Response(body={}, headers={"Location": where})
    return Response(body=_keep(state, bucket, request.query.get("name", ""), request.body))


def _upload_chunk(state: State, request: Request, bucket: str) -> Response:
    from urllib.parse import unquote  # noqa: PLC0415 - only here

    name = unquote(request.query["upload_id"].partition("/")[2])
    present = state.objects.get((bucket, f".session/{name}"), b"") + request.body
    total = request.headers.get("content-range", "").rpartition("/")[2]
    if total in {"", "*"} or len(present) < int(total):
        state.objects[bucket, f".session/{name}"] = present
        return Response(status=308, body=b"", headers={"Range": f"bytes=0-{len(present) - 1}"})
    state.objects.pop((bucket, f".session/{name}"), None)
    return Response(body=_keep(state, bucket, name, present))


def _list_objects(state: State, request: Request, bucket: str) -> Json:
    state.get(_name(bucket), message="The specified bucket does not exist.")
    prefix = request.query.get("prefix", "")
    found = [_object(bucket, name, content) for (owner, name), content in state.objects.items() if owner == bucket]
    return {"kind": "storage#objects", "items": [item for item in found if item["name"].startswith(prefix)]}


def _get_object(state: State, request: Request, bucket: str, name: str) -> Response:
    content = state.objects.get((bucket, name))
    if content is None:
        raise ApiError("NOT_FOUND", f"No such object: {bucket}/{name}")
    if request.query.get("alt") != "media":
        return Response(body=_object(bucket, name, content))
    return _bytes(request, content)


def _get_raw(state: State, request: Request, bucket: str, name: str) -> Response:
    content = state.objects.get((bucket, name))
    if content is None:
        return Response(status=404, body=b"", content_type="text/plain")
    return _bytes(request, content)


def _bytes(request: Request, content: bytes) -> Response:
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if asked is None:
        return Response(body=content, content_type="application/octet-stream")
    start = int(asked[1])
    if start >= len(content):
        return Response(status=416, body=b"", content_type="application/octet-stream")
    part = content[start : int(asked[2]) + 1 if asked[2] else None]
    span = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
    return Response(status=206, body=part, content_type="application/octet-stream", headers={"Content-Range": span})


def _delete_object(state: State, request: Request, bucket: str, name: str) -> Response:
    if state.objects.pop((bucket, name), None) is None:
        raise ApiError("NOT_FOUND", f"No such object: {bucket}/{name}")
    return Response(status=204, body=b"")


def _keep(state: State, bucket: str, name: str, content: bytes) -> Any:
    state.objects[bucket, name] = content
    return _object(bucket, name, content)


def _object(bucket: str, name: str, content: bytes) -> dict[str, Any]:
    path = f"/download/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "size": str(len(content)),
        "generation": "1",
        "metageneration": "1",
        "md5Hash": b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
        "etag": "CAE=",
        # Where gcloud downloads from.
        "mediaLink": f"https://storage.googleapis.com{path}?alt=media",
    }


_HOST = r"(storage|www)\.googleapis\.com"


def _route(method: str, path: str, handler: Any) -> Route:
    return route(method, path, handler, api="storage", host=_HOST)


_OBJECT = r"/o/(?P<name>.+)"
ROUTES: tuple[Route, ...] = (
    _route("GET", "/storage/v1/b", _list),
    _route("POST", "/storage/v1/b", _create),
    _route("GET", "/storage/v1/b/{bucket}", _get),
    _route("PATCH", "/storage/v1/b/{bucket}", _patch),
    _route("DELETE", "/storage/v1/b/{bucket}", _delete),
    _route("GET", "/storage/v1/b/{bucket}/storageLayout", _layout),
    _route("GET", "/storage/v1/b/{bucket}/managedFolders", _managed_folders),
    _route("GET", "/storage/v1/b/{bucket}/iam", _get_policy),
    _route("PUT", "/storage/v1/b/{bucket}/iam", _set_policy),
    _route("GET", "/storage/v1/projects/{project}/serviceAccount", _agent),
    _route("GET", "/storage/v1/b/{bucket}/notificationConfigs", _list_notifications),
    _route("POST", "/storage/v1/b/{bucket}/notificationConfigs", _create_notification),
    _route("GET", "/storage/v1/b/{bucket}/notificationConfigs/{number}", _get_notification),
    _route("DELETE", "/storage/v1/b/{bucket}/notificationConfigs/{number}", _delete_notification),
    _route("GET", "/storage/v1/b/{bucket}/o", _list_objects),
    _route("POST", "(?:/resumable)?/upload/storage/v1/b/{bucket}/o", _upload),
    _route("PUT", "(?:/resumable)?/upload/storage/v1/b/{bucket}/o", _upload_chunk),
    _route("GET", "(?:/download)?/storage/v1/b/{bucket}" + _OBJECT, _get_object),
    _route("DELETE", "/storage/v1/b/{bucket}" + _OBJECT, _delete_object),
    _route("GET", "/(?!storage/v1)(?P<bucket>[^/]+)/(?P<name>.+)", _get_raw),
)
