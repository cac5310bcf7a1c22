"""Links of the OpenAPI document: which calls go on with what an answer names. People and stateful tests follow them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from poolhouse.api.result_schemas import REF

_JSON = "application/json"
_OF_TASK = ("get_task", "get_result", "follow_task", "cancel_task", "run_task_now", "reschedule_task")
_OF_GROUP = ("get_group", "add_members", "close_group", "cancel_group")
#: Calls that take an id, by the field of any answer that has it, also of an application's own calls.
_BY_FIELD = {"task_id": _OF_TASK, "group_id": _OF_GROUP}
#: Where the answer of a call names something else: the place, the parameter that takes it, the calls that have that.
_BY_CALL = {
    "list_tasks": ("tasks/0/task_id", "task_id", _OF_TASK),
    "create_tasks": ("tasks/0/task_id", "task_id", _OF_TASK),
    "list_groups": ("groups/0/group_id", "group_id", _OF_GROUP),
    "list_dead_letters": (
        "dead_letters/0/task_id",
        "task_id",
        ("get_dead_letter", "replay_dead_letter", "discard_dead_letter"),
    ),
    "list_queues": ("queues/0/name", "name", ("pause_queue", "resume_queue", "purge_queue")),
    "list_schedules": ("schedules/0/name", "name", ("pause_schedule", "resume_schedule", "run_schedule")),
    "list_triggers": ("triggers/0/name", "name", ("backfill_trigger",)),
    "create_file": ("name", "name", ("download_file",)),
}


def add(paths: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
    """Add the links to the answers of all calls; of a listing they lead on from its first entry."""
    for operation in (operation for operations in paths.values() for operation in operations.values()):
        given = {parameter.get("name") for parameter in operation.get("parameters", ())}
        for status, response in operation["responses"].items():
            reference = response.get("content", {}).get(_JSON, {}).get("schema", {}).get("$ref", "")
            made = set(schemas.get(reference.removeprefix(REF), {}).get("required", ())) - given
            links = dict(_links(operation["operationId"], made))
            if status.startswith("2") and links:
                response["links"] = links


def _links(operation_id: str, made: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    places = [(field, field, calls) for field, calls in _BY_FIELD.items() if field in made]
    if operation_id in _BY_CALL:
        places.append(_BY_CALL[operation_id])
    for place, parameter, calls in places:
        for call in calls:
            yield call, {"operationId": call, "parameters": {parameter: f"$response.body#/{place}"}}
