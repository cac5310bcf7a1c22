"""Releases: the images that deploys have left in the registry, and which of them runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.kinds import containers, registry, run, shares
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Json, command
from poolhouse.pipeline import numbers

#: How the tags of images begin that a deploy has made.
_TAGS = "src-"


@dataclass(frozen=True, kw_only=True)
class Release:
    """One image."""

    tag: str
    digest: str
    #: When it was pushed.
    pushed: str
    #: Percent of the API's requests that it answers now.
    share: int = 0


def read(gcloud: Gcloud, *, options: Options) -> tuple[Release, ...]:
    """The releases that can be gone back to, newest first. Raises `CloudError`."""
    images = registry.image("", options=options).read
    services = run.services_read(options)
    snapshot = gcloud.read_all((images, services))
    found = containers.named(snapshot[services.arguments], options.api_service)
    if found is None:
        return parse(snapshot[images.arguments], running={})
    divided = shares.of(found)
    # All is the newest revision's: then the service itself says which image that is.
    if divided.text == shares.LATEST:
        running = {str(found["spec"]["template"]["spec"]["containers"][0].get("image", "")): 100}
    else:
        revisions = gcloud.read(run.revisions_read(options))
        image = {item["metadata"]["name"]: item["spec"]["containers"][0]["image"] for item in revisions or ()}
        running = {image.get(name, ""): percent for name, percent in divided.by_revision.items()}
    return parse(snapshot[images.arguments], running=running)


def packages(gcloud: Gcloud, image: str, *, options: Options) -> frozenset[str] | None:
    """The names of what is in an image, by its bill of materials; None where there is none that can be read.

    Args:
        gcloud: with what.
        image: path and digest.
        options: the choices of the deploy.
    """
    for item in gcloud.read(registry.bills_read(options)) or ():
        if item["occ"].get("resourceUri") == f"https://{image}":
            where = item["occ"]["sbomReference"]["payload"]["predicate"]["location"]
            try:
                document = json.loads(gcloud.run(command("storage", "cat", where)))
            except GcloudFailed:
                return None
            return frozenset(part["name"] for part in document["components"])
    return None


def parse(listing: Json, *, running: Mapping[str, int]) -> tuple[Release, ...]:
    """The releases, newest first.

    Args:
        listing: what `gcloud artifacts docker images list --include-tags` printed.
        running: percent of the API's requests, by path and digest of the image that answers them.
    """
    shared = {image.rpartition("@")[2]: percent for image, percent in running.items()}
    found = []
    for item in listing or ():
        tags = item.get("tags") or ()
        names = [tag.strip() for tag in (tags.split(",") if isinstance(tags, str) else tags)]
        digest = str(item["version"])
        found += [
            Release(tag=tag, digest=digest, pushed=str(item.get("updateTime", ""))[:19], share=shared.get(digest, 0))
            for tag in names
            if tag.startswith(_TAGS)
        ]
    return tuple(sorted(found, key=lambda release: (release.pushed, release.tag), reverse=True))


def choose(releases: Sequence[Release], wanted: str) -> Release:
    """The release to go back to.

    Args:
        releases: newest first.
        wanted: its tag; or how many releases before the one that runs (most), `1` being the last before it.

    Raises:
        CloudError: there is no such release.
    """
    by_tag = {release.tag: release for release in releases}
    if wanted in by_tag:
        return by_tag[wanted]
    try:
        back = numbers.whole(wanted)
    except ValueError:
        raise CloudError(f"there is no release {wanted!r}: `./invoke releases` lists them.") from None
    live = max(range(len(releases)), key=lambda index: releases[index].share, default=None)
    if live is None or not releases[live].share:
        raise CloudError(
            "what runs is none of the releases in the registry: name one by its tag (`./invoke releases`)."
        )
    before = releases[live + 1 :]
    if not 1 <= back <= len(before):
        raise CloudError(f"there are {len(before)} releases before the one that runs: `./invoke releases` lists them.")
    return before[back - 1]


def text(releases: Sequence[Release]) -> str:
    """The releases for a person."""
    if not releases:
        return "No release yet: the first `./invoke deploy` makes one."
    lines = [f"{'release':24}{'pushed':22}{'digest':22}"]
    lines += [
        f"{release.tag:24}{release.pushed:22}{release.digest[:19]:22}{_state(release)}".rstrip() for release in releases
    ]
    return "\n".join(lines)


def _state(release: Release) -> str:
    if not release.share:
        return ""
    return "runs" if release.share == 100 else f"runs {release.share}%"
