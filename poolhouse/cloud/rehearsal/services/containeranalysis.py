"""Artifact Analysis: what is known of an image, as occurrences of notes; of these the references to bills of materials.

It looks at neither the image nor the file of a bill: both may be anywhere.
"""

from __future__ import annotations

import re

from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import anything, check, list_of, map_of, one_of, required, text
from poolhouse.cloud.rehearsal.state import Json, State

_SHA256 = {"sha256": text(r"[0-9a-f]{64}")}
_NOTE = {
    "kind": one_of("SBOM_REFERENCE"),
    "sbomReference": {"format": text(), "version": text()},
    "shortDescription": text(),
    "longDescription": text(),
}
_OCCURRENCE = {
    "noteName": text(r"projects/[^/]+/notes/[^/]+"),
    "resourceUri": text(r"https://\S+"),
    "sbomReference": {
        "payloadType": one_of("application/vnd.in-toto+json"),
        "payload": {
            "_type": text(r"https://in-toto\.io/Statement/v\S+"),
            "predicateType": text(r"https://\S+"),
            "subject": list_of({"name": text(), "digest": _SHA256}),
            "predicate": {
                "digest": _SHA256,
                "location": text(r"gs://\S+"),
                "mimeType": text(r"application/\S+"),
                "referrerId": text(),
            },
        },
        "signatures": anything,
    },
    "envelope": map_of(anything),
}
#: The conditions of a filter that gcloud sends.
_CONDITION = re.compile(
    r'(kind|resourceUrl|noteId|noteProjectId) ?= ?"([^"]*)"|has_prefix\((resourceUrl), ?"([^"]*)"\)'
)


def _note_name(state: State, note: str) -> str:
    return f"containeranalysis/projects/{state.project}/notes/{note}"


def _occurrences(state: State) -> str:
    return f"containeranalysis/projects/{state.project}/occurrences/"


def _get_note(state: State, request: Request, note: str) -> Json:
    return state.get(_note_name(state, note), message=f"note with ID {note!r} for project {state.project} not found")


def _create_note(state: State, request: Request) -> Json:
    body, note = request.json, request.query.get("noteId", "")
    check(body, _NOTE)
    required(body, "sbomReference")
    check(note, text(r"[A-Za-z0-9_-]{1,128}"), "noteId")
    name = _note_name(state, note)
    made = {**body, "name": name.partition("/")[2], "kind": "SBOM_REFERENCE", "createTime": state.now()}
    return state.create(name, made, message=f"note with ID {note!r} for project {state.project} already exists")


def _create_occurrence(state: State, request: Request) -> Json:
    body = request.json
    _check_occurrence(body)
    state.get(f"containeranalysis/{body['noteName']}", message=f"note {body['noteName']} not found")
    name = f"{_occurrences(state)}{state.number():08x}"
    made = {**body, "name": name.partition("/")[2], "kind": "SBOM_REFERENCE", "createTime": state.now()}
    return state.create(name, made)


def _patch_occurrence(state: State, request: Request, occurrence: str) -> Json:
    found = state.get(f"{_occurrences(state)}{occurrence}")
    body = request.json
    _check_occurrence(body)
    if body["noteName"] != found["noteName"] or body["resourceUri"] != found["resourceUri"]:
        raise ApiError("INVALID_ARGUMENT", "note_name and resource_uri of an occurrence can't be changed")
    found |= {"sbomReference": body["sbomReference"], "updateTime": state.now()}
    return found


def _check_occurrence(body: Json) -> None:
    check(body, _OCCURRENCE)
    required(body, "noteName", "resourceUri", "sbomReference")
    payload = body["sbomReference"]["payload"]
    required(payload, "subject", "predicate")
    digests = {subject["digest"]["sha256"] for subject in payload["subject"]}
    if body["resourceUri"].rpartition("@sha256:")[2] not in digests:
        raise ApiError("INVALID_ARGUMENT", "the subject of the reference is not the resource of the occurrence")


def _list(state: State, request: Request) -> Json:
    wanted = request.query.get("filter", "")
    by_field: dict[str, list[str]] = {}
    for field, value, prefixed, prefix in _CONDITION.findall(wanted):
        by_field.setdefault(field or f"{prefixed} prefix", []).append(value or prefix)
    if re.sub(r"[()\s]|AND|OR", "", _CONDITION.sub("", wanted)):
        raise ApiError("INVALID_ARGUMENT", f"invalid filter: {wanted}")
    found = state.listed(_occurrences(state))
    return {"occurrences": [item for item in found if _matches(item, by_field)]}


def _matches(item: Json, wanted: dict[str, list[str]]) -> bool:
    """Whether an occurrence has one of the wanted values in each field."""
    _, project, _, note = item["noteName"].split("/")
    has = {"kind": item["kind"], "resourceUrl": item["resourceUri"], "noteId": note, "noteProjectId": project}
    return all(
        item["resourceUri"].startswith(tuple(values)) if field == "resourceUrl prefix" else has[field] in values
        for field, values in wanted.items()
    )


_PROJECT = "/v1/projects/{project}"
_API = "containeranalysis"
ROUTES: tuple[Route, ...] = (
    route("GET", _PROJECT + "/notes/{note}", _get_note, api=_API),
    route("POST", _PROJECT + "/notes", _create_note, api=_API),
    route("GET", _PROJECT + "/occurrences", _list, api=_API),
    route("POST", _PROJECT + "/occurrences", _create_occurrence, api=_API),
    route("PATCH", _PROJECT + "/occurrences/{occurrence}", _patch_occurrence, api=_API),
)
