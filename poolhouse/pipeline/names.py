"""The bucket's layout, and the names that clients may choose in it.

Prefixes: `uploads/` what clients sent, `processed/` what file tasks made, `results/` large results, `tasks/` the
records and the claims of their attempts, `dead-letters/` what failed for good, `idempotency/` keys of submit calls,
`schedules/` what is remembered of schedules, `timers/` tasks that wait for a time, `unique/` which task has a key,
`groups/` tasks that belong together, `payloads/` what is too large for a message or a record, `limits/` which workers
share a limit, `quotas/` calls of the API that have been counted, `index/` what listings are made of, `config/` what the
deployment keeps for itself.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from poolhouse.pipeline.errors import InvalidName

#: Cloud Storage, Object naming: at most 1,024 bytes of UTF-8, prefix included.
MAX_OBJECT_NAME_BYTES = 1024
#: File systems behind emulators stop at 255 bytes a segment; the margin is for suffixes such as `.report.json`.
MAX_SEGMENT_BYTES = 200
#: Folders that a file may lie in, and itself: an upload looks at each of them.
MAX_SEGMENTS = 32

UPLOADS = "uploads/"
PROCESSED = "processed/"
RESULTS = "results/"
TASKS = "tasks/"
DEAD_LETTERS = "dead-letters/"
IDEMPOTENCY = "idempotency/"
SCHEDULES = "schedules/"
TIMERS = "timers/"
UNIQUE = "unique/"
GROUPS = "groups/"
INDEX = "index/"
LIMITS = "limits/"
QUOTAS = "quotas/"
PAYLOADS = "payloads/"
CONFIG = "config/"
#: What the kit keeps for itself. Objects below other prefixes are files, and the effects of handlers.
OF_THE_KIT = (
    RESULTS,
    TASKS,
    DEAD_LETTERS,
    IDEMPOTENCY,
    SCHEDULES,
    TIMERS,
    UNIQUE,
    GROUPS,
    INDEX,
    LIMITS,
    QUOTAS,
    PAYLOADS,
    CONFIG,
)
TASK_ID_KEY = f"{CONFIG}task-id-key"
#: Which queues are paused, and which waiting tasks are not to start.
QUEUE_CONTROL = f"{CONFIG}queues.json"

#: What is left of an object's name for a client's file, with a margin for suffixes.
MAX_FILE_NAME_BYTES = MAX_OBJECT_NAME_BYTES - max(len(UPLOADS), len(PROCESSED)) - 32

_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def check_file_name(name: str) -> str:
    """Return `name` if a client may use it below `uploads/`, else raise `InvalidName` with the rule it breaks.

    The rules are Cloud Storage's (1,024 bytes, no control characters) and those that keep a name harmless on file
    systems and in URLs: no empty, `.` or `..` segment, no leading or trailing slash, no backslash.
    """
    if not name:
        raise InvalidName("a file name must not be empty")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidName("a file name must be valid Unicode") from None
    if size > MAX_FILE_NAME_BYTES:
        raise InvalidName(f"a file name must not be longer than {MAX_FILE_NAME_BYTES} bytes, this one has {size}")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        raise InvalidName("a file name must not have control characters or line breaks")
    if "\\" in name:
        raise InvalidName("a file name must not have a backslash; folders are separated by /")
    segments = name.split("/")
    if len(segments) > MAX_SEGMENTS:
        raise InvalidName(f"a file name must not have more than {MAX_SEGMENTS} segments, this one has {len(segments)}")
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise InvalidName("a file name must not start or end with /, nor have an empty, . or .. segment")
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            raise InvalidName(f"a segment of a file name must not be longer than {MAX_SEGMENT_BYTES} bytes")
    return name


#: A payload field that names a file which a client sent: checked as `check_file_name` does, where data enters. The
#: format tells clients of the API's description that a file can be uploaded for it.
FileName = Annotated[
    str,
    AfterValidator(check_file_name),
    Field(examples=["data/2026/report.csv"], json_schema_extra={"format": "upload"}),
]


def check_task_id(task_id: str) -> str:
    """Return `task_id` if it can name a record, else raise `InvalidName`."""
    if not _TASK_ID.fullmatch(task_id) or ".." in task_id:
        raise InvalidName("a task id has 1 to 128 letters, digits, '_', '-' or '.', and starts with a letter or digit")
    return task_id


def check_task_type(task_type: str) -> str:
    """Return `task_type` if a task type can have that name, else raise `InvalidName`."""
    if not task_type or len(task_type) > 100 or not all(c.isalnum() or c in "_-." for c in task_type):
        raise InvalidName("a task type has 1 to 100 letters, digits, '_', '-' or '.'")
    return task_type


def upload(name: str) -> str:
    """`uploads/NAME`."""
    return UPLOADS + check_file_name(name)


def processed(name: str) -> str:
    """`processed/NAME`."""
    return PROCESSED + check_file_name(name)


def record(task_id: str) -> str:
    """`tasks/ID.json`."""
    return f"{TASKS}{check_task_id(task_id)}.json"


def claim(task_id: str) -> str:
    """`tasks/ID.json,claim`. A comma sorts before all that an id may have: no other task's object lies between."""
    return f"{record(task_id)},claim"


def submitted(task_id: str) -> str:
    """`tasks/ID.json,submitted`."""
    return f"{record(task_id)},submitted"


def recorded_task(name: str) -> str:
    """The id of the task that a record, a claim or what its submit call wrote belongs to."""
    return name.removeprefix(TASKS).partition(",")[0].removesuffix(".json")


def result(kind: str, task_id: str, *, suffix: str = ".json") -> str:
    """`results/KIND_ID.json`, for a result too large for the record or asked for as a file."""
    return f"{RESULTS}{kind}_{check_task_id(task_id)}{suffix}"


def payload(task_id: str, sha256: str) -> str:
    """`payloads/ID/SHA256.json`, for a payload too large for a message, or a step's result too large for a record."""
    return f"{PAYLOADS}{check_task_id(task_id)}/{sha256}.json"


def dead_letter(queue: str, task_id: str) -> str:
    """`dead-letters/QUEUE/ID.json`."""
    return f"{DEAD_LETTERS}{queue}/{check_task_id(task_id)}.json"


def schedule(name: str) -> str:
    """`schedules/NAME.json`; `name` is one of pipeline.toml's."""
    return f"{SCHEDULES}{name}.json"


def group(group_id: str) -> str:
    """`groups/ID/group.json`: what a group is; the prefix `groups/ID/` has all that is kept of it."""
    return f"{GROUPS}{check_task_id(group_id)}/group.json"


def limit(task_type: str, kind: str, digest: str) -> str:
    """`limits/TYPE/KIND-DIGEST.json`; the digest stands for the key's values."""
    return f"{LIMITS}{check_task_type(task_type)}/{kind}-{digest}.json"


def quota(window: str, caller: str = "", instance: str = "") -> str:
    """`quotas/WINDOW/CALLER/INSTANCE`, or the prefix of a caller's objects, or of all in a window.

    Args:
        caller: as the API's log names it: `key NAME` or `anonymous`.
    """
    return f"{QUOTAS}{window}/" + (f"{caller.replace(' ', '-')}/{instance}" if caller else "")


def published_run(name: str) -> str:
    """`schedules/NAME.json,published`: the run of a schedule that Pub/Sub has last taken."""
    return f"{schedule(name)},published"


def timer(due_at: datetime, task_id: str) -> str:
    """`timers/DAY/TIME-ID.json`, so that a listing shows what is due first; the time is UTC, to the millisecond."""
    at = due_at.astimezone(UTC)
    return f"{TIMERS}{at:%Y%m%d}/{at:%H%M%S}{at.microsecond // 1000:03d}-{check_task_id(task_id)}.json"


def timer_due_at(name: str) -> datetime | None:
    """The time in a timer's name; None if it is no name of a timer."""
    try:
        at = datetime.strptime(name[len(TIMERS) : len(TIMERS) + 18] + "000", "%Y%m%d/%H%M%S%f")
    except ValueError:
        return None
    return at.replace(tzinfo=UTC)
