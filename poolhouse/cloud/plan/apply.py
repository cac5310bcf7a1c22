"""Carrying out a plan: what does not depend on each other at the same time, and never half of one resource."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Protocol

from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.gcloud import advice
from poolhouse.cloud.gcloud.runner import GLANCE_S, Gcloud
from poolhouse.cloud.plan.planner import Action, Plan, decide, needs
from poolhouse.cloud.resource import Json, Resource

#: Times that a conflict is read again and decided anew; each means that the same thing was changed elsewhere.
CONFLICTS = 5


class Progress(Protocol):
    """Receives the progress; called from many threads."""

    def started(self, action: Action) -> None:
        """An action begins."""

    def finished(self, action: Action, seconds: float) -> None:
        """An action is done."""

    def retrying(self, resource: Resource, reason: str, wait_s: float) -> None:
        """A command is tried again after a wait."""

    def left_out(self, resource: Resource, error: CloudError) -> None:
        """A resource that a deploy can do without could not be made."""

    def broken_off(self) -> None:
        """Ctrl-C: what ran is ended, and nothing more begins."""


@dataclass
class Values:
    """What becomes known on the way: the image that was built, the folder with its sources."""

    image: str = ""
    sources: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def known(self) -> Mapping[str, str]:
        """By the names that commands use."""
        return {name: value for name, value in (("image", self.image), ("sources", self.sources)) if value}


def apply(
    plan: Plan, gcloud: Gcloud, *, values: Values, repository: str, progress: Progress, again: str = "Deploy again"
) -> tuple[str, ...]:
    """Carry out every action of the plan.

    A failure lets the actions under way end and starts no others; what is done stays, and the next deploy goes on from
    there. Ctrl-C ends the actions under way too; the next deploy sees how far each came.

    Args:
        plan: what to do.
        gcloud: with what.
        values: the image, where it is there already, and its sources; filled as they become known.
        repository: path of the image without tag and digest.
        progress: receives the progress.
        again: what to do after a failure; then it goes on from there.

    Returns:
        What could not be made and the deploy does without: what that means, and why.

    Raises:
        CloudError: one or more actions failed.
    """
    by_id = {action.resource.id: action.resource for action in plan.actions}
    waiting = {action.resource.id: action for action in plan.work}
    missing = {
        id_: {name for name in needs(action.resource, by_id) if name in waiting} for id_, action in waiting.items()
    }
    running: dict[Future[None], str] = {}
    failures: list[CloudError] = []
    left_out: list[str] = []
    try:
        with gcloud.threads("apply") as pool:
            while (waiting and not failures) or running:
                ready = [id_ for id_ in waiting if not missing[id_]] if not failures else []
                for id_ in ready:
                    job = pool.submit(_carry_out, waiting.pop(id_), gcloud, values, repository, progress)
                    running[job] = id_
                done, _ = wait(running, timeout=GLANCE_S, return_when=FIRST_COMPLETED)
                for job in done:
                    finished = running.pop(job)
                    error, resource = job.exception(), by_id[finished]
                    if isinstance(error, CloudError):
                        if not resource.without:
                            failures.append(error)
                            continue
                        progress.left_out(resource, error)
                        left_out.append(f"{resource.id}: {resource.without}\n{error}")
                    elif error is not None:
                        raise error
                    for names in missing.values():
                        names.discard(finished)
    except KeyboardInterrupt:
        progress.broken_off()
        raise
    if failures:
        left = len(waiting) + len(failures)
        text = "\n\n".join(str(failure) for failure in failures)
        raise CloudError(
            f"{text}\n\n{len(plan.work) - left} of {len(plan.work)} actions are done and stay done. {again}: it "
            "goes on from there."
        )
    return tuple(left_out)


def _carry_out(action: Action, gcloud: Gcloud, values: Values, repository: str, progress: Progress) -> None:
    started = time.monotonic()
    progress.started(action)
    resource = action.resource

    def report_retry(_: str, reason: str, wait_s: float) -> None:
        progress.retrying(resource, reason, wait_s)

    if resource.moving and action.verb == "update":
        action = decide(resource, gcloud.read(resource.read))
    for attempt in range(CONFLICTS + 1):
        try:
            for command in action.commands:
                output = gcloud.run(
                    command,
                    values=values.known(),
                    on_retry=report_retry,
                )
                if action.resource.kind == "image":
                    values.image = built_image(output, repository)
            break
        except GcloudFailed as error:
            if advice.verdict(error.output) != "conflict" or attempt == CONFLICTS:
                raise
            # It was changed elsewhere: read it again, and do what is still to do.
            progress.retrying(resource, error.output, 0)
            action = decide(action.resource, gcloud.read(action.resource.read))
    progress.finished(action, time.monotonic() - started)


def built_image(output: str, repository: str) -> str:
    """Path and digest of the image in the output of `builds submit --format=json`. Raises `CloudError`."""
    try:
        build: Json = json.loads(output)
        images = build["results"]["images"]
        return f"{repository}@{images[0]['digest']}"
    except (ValueError, KeyError, IndexError, TypeError):
        raise CloudError(
            "the build ended without naming the digest of its image; `gcloud builds list` shows it. Deploy again."
        ) from None
