"""Triggers of pipeline.toml, and the tasks that events of the bucket become."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from poolhouse.pipeline.config.topology import Topology, parse
from poolhouse.pipeline.errors import ConfigError, MalformedMessage
from poolhouse.pipeline.messaging.object_events import is_object_event, prefixes, tasks_of
from poolhouse.pipeline.tasks.links import Links
from poolhouse.pipeline.tasks.task_ids import TaskIds

IDS = TaskIds(b"k" * 32)
BUCKET = "shop-files"
#: 12:00:00 on 1 March 2026, in microseconds.
GENERATION = 1_772_366_400_000_000
PIPELINE = """
[queues.default]
[queues.bulk]

[triggers.thumbnail]
prefix = "uploads/img/"
suffix = ".jpg"
task_type = "thumbnail"
field = "image"
payload = { width = 200 }

[triggers.archive]
task_type = "archive"
queue = "bulk"
"""


def event(name: str, **changes: str) -> dict[str, str]:
    return {
        "notificationConfig": "projects/_/buckets/shop-files/notificationConfigs/1",
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "NONE",
        "bucketId": BUCKET,
        "objectId": name,
        "objectGeneration": str(GENERATION),
        "eventTime": "2026-03-01T12:00:00.123456Z",
        **changes,
    }


def started(attributes: dict[str, str], topology: Topology | None = None) -> list[tuple[str, str, Any]]:
    tasks = tasks_of(attributes, topology or parse(PIPELINE), bucket=BUCKET, task_ids=IDS)
    return [(task.task_type, task.queue, dict(task.payload)) for task in tasks]


def test_each_trigger_that_takes_the_file_starts_its_task_on_its_queue() -> None:
    assert started(event("uploads/img/a/cat.jpg")) == [
        ("thumbnail", "default", {"width": 200, "image": "img/a/cat.jpg"}),
        ("archive", "bulk", {"filename": "img/a/cat.jpg"}),
    ]
    assert started(event("uploads/notes.txt")) == [("archive", "bulk", {"filename": "notes.txt"})]


def test_a_task_knows_the_trigger_that_submitted_it() -> None:
    tasks = tasks_of(event("uploads/img/cat.jpg"), parse(PIPELINE), bucket=BUCKET, task_ids=IDS)
    assert [task.links for task in tasks] == [Links(trigger="thumbnail"), Links(trigger="archive")]


@pytest.mark.parametrize(
    "name",
    [
        "uploads/img/cat.JPG",
        "uploads/img/cat.jpg.part",
        "uploads/image/cat.jpg",
        "processed/img/cat.jpg",
        "uploads/img/",
    ],
)
def test_other_objects_start_no_thumbnail(name: str) -> None:
    assert "thumbnail" not in {task_type for task_type, _, _ in started(event(name))}


def test_a_version_of_a_file_is_one_task_however_often_and_late_it_is_told_of() -> None:
    def id_of(**changes: str) -> str:
        return tasks_of(event("uploads/a", **changes), parse(PIPELINE), bucket=BUCKET, task_ids=IDS)[0].task_id

    assert id_of() == id_of(eventTime="2026-03-02T00:00:00Z", notificationConfig="another")
    assert id_of() != id_of(objectGeneration=str(GENERATION + 1))
    assert IDS.submitted_at(id_of()) == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_two_triggers_with_the_same_task_type_start_two_tasks() -> None:
    twice = parse(PIPELINE + '[triggers.again]\ntask_type = "archive"\n')
    tasks = tasks_of(event("uploads/a"), twice, bucket=BUCKET, task_ids=IDS)
    assert len({task.task_id for task in tasks}) == len(tasks) == 2


@pytest.mark.parametrize("kind", ["OBJECT_DELETE", "OBJECT_METADATA_UPDATE", "OBJECT_ARCHIVE", ""])
def test_only_a_complete_object_starts_a_task(kind: str) -> None:
    assert started(event("uploads/img/cat.jpg", eventType=kind)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bucketId": "another"}, "the bucket 'another', not of 'shop-files'"),
        ({"objectGeneration": "seven"}, "'seven' is no generation"),
        ({"objectGeneration": "-1"}, "'-1' is no generation"),
        ({"objectGeneration": "٣"}, "no generation"),
        ({"objectGeneration": "9" * 19}, "no generation"),
        ({"objectGeneration": "9" * 5000}, "no generation"),
        ({"objectGeneration": ""}, "'' is no generation"),
    ],
)
def test_an_event_that_is_none_says_why(changes: dict[str, str], words: str) -> None:
    with pytest.raises(MalformedMessage, match=words):
        started(event("uploads/img/cat.jpg", **changes))


def test_a_task_message_is_no_event_whatever_else_its_attributes_say() -> None:
    assert is_object_event(event("uploads/a"))
    assert is_object_event(event("uploads/a", task_id="handed-over"))
    assert not is_object_event(event("uploads/a", task_type="echo"))
    assert not is_object_event({})


def test_a_topic_is_told_once_of_folders_that_lie_in_each_other() -> None:
    declared = parse(
        """
        [queues.default]
        [queues.bulk]
        [triggers.a]
        prefix = "uploads/in/"
        task_type = "a"
        [triggers.b]
        prefix = "uploads/in/img/"
        task_type = "b"
        [triggers.c]
        prefix = "uploads/out/"
        task_type = "c"
        [triggers.d]
        prefix = "uploads/in/img/"
        task_type = "d"
        queue = "bulk"
        """
    )
    assert prefixes(declared) == {"default": ("uploads/in/", "uploads/out/"), "bulk": ("uploads/in/img/",)}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('prefix = "processed/"\ntask_type = "a"', "triggers.x.prefix: begins with uploads/"),
        ('prefix = "tasks/"\ntask_type = "a"', "begins with uploads/"),
        ('task_type = "a"\npayload = { filename = "b" }', "payload has filename, the field that gets the file's name"),
        ('task_type = "a"\nqueue = "none"', ":4: triggers.x.queue: there is no queue 'none' \\(queues: default\\)"),
        ('task_type = "a"\nevery = 3', "unknown field \\(allowed: prefix, suffix, task_type, queue, field, payload\\)"),
        ('prefix = "uploads/"', "triggers.x.task_type: Field required"),
        ('task_type = "a"\npayload = { day = 2026-01-01 }', "triggers.x.payload: holds what JSON can't"),
    ],
)
def test_a_mistake_in_a_trigger_is_told_with_its_place(lines: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(f"[queues.default]\n[triggers.x]\n{lines}\n")
