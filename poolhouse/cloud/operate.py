"""`invoke status|logs|dlq|submit --project`: the local commands, on the deployed system."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.kinds import run, shares, worker_pools
from poolhouse.cloud.log_filter import log_filter
from poolhouse.cloud.options import LABEL, Options
from poolhouse.cloud.plan.actual import read_project
from poolhouse.cloud.remote import connect
from poolhouse.cloud.resource import Json, Read, flag

#: How often new log lines are asked for, in seconds; they arrive some seconds late anyway.
FOLLOW_S = 5
#: How many at a time.
FOLLOW_LINES = 1_000


def api(gcloud: Gcloud, options: Options) -> Client:
    """The deployed API. Raises `CloudError` where the project is not there."""
    return connect(gcloud, options.api_url(read_project(gcloud, options.project).number))


def status(gcloud: Gcloud, *, options: Options, tracks: ReleaseTracks) -> Json:
    """Return the services, pools and jobs with their image and state, and the queues as the API reports them.

    `console_url` is None where no console is deployed. `queues` is None, and `problem` has the reason, where the API
    does not answer: all else is known without it.

    Raises:
        CloudError: the project does not answer.
    """
    reads = {
        "service": run.services_read(options),
        "pool": worker_pools.pools_read(options, tracks),
        "job": run.jobs_read(options),
    }
    listed = gcloud.read_all(tuple(reads.values()))
    services = [
        _runtime(kind, item)
        for kind, read in reads.items()
        for item in listed[read.arguments] or ()
        if item["metadata"].get("labels", {}).get(LABEL) == options.name
    ]
    consoles = (item for item in listed[reads["service"].arguments] or () if _name(item) == options.console_service)
    console_url = next((item.get("status", {}).get("url") for item in consoles), None)
    queues, problem = None, None
    try:
        with api(gcloud, options) as client:
            queues = client.get("/queues")["queues"]
    except (ApiError, CloudError) as error:
        problem = str(error)
    return {
        "project": options.project,
        "services": services,
        "console_url": console_url,
        "queues": queues,
        "problem": problem,
    }


def status_text(found: Json) -> str:
    """Return what `status` found as text for a person."""
    lines = [f"{'':9}{'':28}{'ready':7}{'instances':11}image"]
    for item in found["services"]:
        ready = {True: "yes", False: "no", None: "?"}[item["ready"]]
        instances = "-" if item["instances"] is None else str(item["instances"])
        divided = f"  {item['shares']}" if item["shares"] else ""
        lines.append(f"{item['kind']:9}{item['name']:28}{ready:7}{instances:11}{item['image']}{divided}")
    if found["console_url"]:
        lines += ["", f"console  {found['console_url']}"]
    if found["queues"] is None:
        return "\n".join([*lines, "", "The queues are not known, since the API does not answer:", found["problem"]])
    lines += ["", f"{'queue':16}{'backlog':>10}{'in flight':>11}{'oldest':>10}{'dead':>7}  state"]
    for queue in found["queues"]:
        cells = (queue.get("backlog"), queue.get("in_flight"), queue.get("oldest_age_s"), queue.get("dead_letters"))
        backlog, flight, age, dead = ("-" if cell is None else f"{cell:g}" for cell in cells)
        state = "  paused" if queue.get("paused_at") else "  runs"
        lines.append(
            f"{queue['name']:16}{backlog:>10}{flight:>11}{age + ' s' if age != '-' else age:>10}{dead:>7}{state}"
        )
    return "\n".join(lines)


def log_lines(
    gcloud: Gcloud,
    *,
    options: Options,
    service: str = "",
    lines: int = 50,
    follow: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Log lines of the API, the workers and the jobs, oldest first.

    Args:
        gcloud: with what.
        options: project and name of the pipeline.
        service: name of one service, pool or job; empty: all.
        lines: how many to begin with.
        follow: go on with new ones for ever.
        sleep: how to wait.
    """
    since, last, limit, order = "", set[str](), lines, "desc"
    while True:
        condition = log_filter(options, service=service, since=since)
        arguments = ("logging", "read", condition, flag("limit", limit), flag("order", order))
        items = gcloud.read(Read(arguments=arguments, api="logging.googleapis.com")) or []
        new = [item for item in (reversed(items) if order == "desc" else items) if item.get("insertId") not in last]
        for item in new:
            time_ = str(item.get("timestamp", ""))
            if time_ > since:
                since, last = time_, set()
            last.add(str(item.get("insertId")))
            yield log_line(item)
        if not follow:
            return
        since = since or datetime.now(UTC).isoformat().replace("+00:00", "Z")
        if not new or order == "desc" or len(items) < limit:
            sleep(FOLLOW_S)
        # From the last one on: the newest alone would leave out what a busy pipeline wrote in between.
        limit, order = FOLLOW_LINES, "asc"


def log_line(item: Json) -> str:
    """One entry as a line: time, severity, where, message, and the other fields."""
    labels = item.get("resource", {}).get("labels", {})
    where = labels.get("service_name") or labels.get("worker_pool_name") or labels.get("job_name") or ""
    payload: dict[str, Any] = dict(item.get("jsonPayload") or {})
    message = payload.pop("message", item.get("textPayload") or _request(item.get("httpRequest") or {}))
    rest = " ".join(f"{key}={json.dumps(value)}" for key, value in sorted(payload.items()) if key != "time")
    return f"{item.get('timestamp', '')[:19]} {item.get('severity', ''):8} {where:24} {message} {rest}".rstrip()


def _request(request: Json) -> str:
    """What Cloud Run's own entry about a call says."""
    return " ".join(str(request[key]) for key in ("requestMethod", "requestUrl", "status") if key in request)


def _name(item: Json) -> str:
    return str(item["metadata"]["name"])


def _runtime(kind: str, item: Json) -> Json:
    metadata = item["metadata"]
    conditions = {entry["type"]: entry.get("status") for entry in item.get("status", {}).get("conditions", ())}
    spec = item["spec"]["template"]["spec"]
    pod = spec.get("template", {}).get("spec", spec)
    instances = metadata.get("annotations", {}).get("run.googleapis.com/manualInstanceCount")
    return {
        "kind": kind,
        "name": metadata["name"],
        "ready": {"True": True, "False": False}.get(conditions.get("Ready", "")),
        "instances": None if instances is None else int(instances),
        "image": pod["containers"][0].get("image", "").rpartition("@")[2][:19],
        # Where not all is the newest revision's: what each revision has.
        "shares": None if kind == "job" or (text := shares.of(item).text) == shares.LATEST else text,
    }
