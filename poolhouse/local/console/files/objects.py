"""Names of objects: their addresses in the console, and which texts look like one. Pure."""

from __future__ import annotations

from urllib.parse import urlencode

from poolhouse.pipeline import names

#: Where tasks find and leave objects: a text of a payload or a result that begins so names one.
_PREFIXES = (names.UPLOADS, names.PROCESSED, names.RESULTS, names.PAYLOADS)

#: What is kept below the prefixes that Poolhouse uses.
KEPT = {
    names.UPLOADS: "files that clients sent",
    names.PROCESSED: "files that tasks made",
    names.RESULTS: "large results",
    names.TASKS: "records",
    names.DEAD_LETTERS: "tasks that failed for good",
    names.IDEMPOTENCY: "keys of submits",
    names.SCHEDULES: "runs of schedules",
    names.TIMERS: "delayed tasks",
    names.UNIQUE: "keys of unique tasks",
    names.GROUPS: "groups",
    names.INDEX: "the index of tasks",
    names.LIMITS: "limits in use",
    names.QUOTAS: "calls counted for quotas",
    names.PAYLOADS: "large payloads",
    names.CONFIG: "the deployment’s own",
}


def address(name: str) -> str:
    """The page of an object."""
    # In the query: browsers resolve `..` and `//` in a path.
    return f"/files/object?{urlencode({'name': name})}"


def looks_like_object(text: str) -> bool:
    """Whether a text is an object's full name, as far as can be told."""
    prefix = next((prefix for prefix in _PREFIXES if text.startswith(prefix)), None)
    if prefix is None or prefix == text:
        return False
    try:
        return len(text.encode()) <= names.MAX_OBJECT_NAME_BYTES
    except UnicodeEncodeError:  # half a surrogate pair: names are UTF-8
        return False


def link(path: tuple[str, ...], text: str) -> str:
    """The page of the object that a value of JSON names, for `json_tree.tree`; empty if it names none."""
    return address(text) if looks_like_object(text) else ""


def folders_of(name: str) -> list[tuple[str, str]]:
    """The folders that a name lies in, the outermost first: what each is called, and its prefix."""
    parts = name.split("/")[:-1]
    return [(part, "/".join(parts[: index + 1]) + "/") for index, part in enumerate(parts)]
