"""Releases: the images that deploys have left in the registry, and which of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.kinds import containers, registry, run
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Json

#: How the tags of images begin that a deploy has made.
_TAGS = "src-"


@dataclass(frozen=True, kw_only=True)
class Release:
    """One image."""

    tag: str
    digest: str
    #: When it was pushed.
    pushed: str
    #: Whether the API runs it now.
    live: bool = False


def read(gcloud: Gcloud, *, options: Options) -> tuple[Release, ...]:
    """The releases that can be gone back to, newest first. Raises `CloudError`."""
    images = registry.image("", options=options).read
    services = run.services_read(options)
    snapshot = gcloud.read_all((images, services))
    found = containers.named(snapshot[services.arguments], options.api_service)
    running = found["spec"]["template"]["spec"]["containers"][0].get("image", "") if found else ""
    return parse(snapshot[images.arguments], running=running)


def parse(listing: Json, *, running: str) -> tuple[Release, ...]:
    """The releases, newest first.

    Args:
        listing: what `gcloud artifacts docker images list --include-tags` printed.
        running: path and digest of the image that the API runs.
    """
    found = []
    for item in listing or ():
        tags = item.get("tags") or ()
        names = [tag.strip() for tag in (tags.split(",") if isinstance(tags, str) else tags)]
        digest = str(item["version"])
        found += [
            Release(tag=tag, digest=digest, pushed=str(item.get("updateTime", ""))[:19], live=running.endswith(digest))
            for tag in names
            if tag.startswith(_TAGS)
        ]
    return tuple(sorted(found, key=lambda release: (release.pushed, release.tag), reverse=True))


def choose(releases: Sequence[Release], wanted: str) -> Release:
    """The release to go back to.

    Args:
        releases: newest first.
        wanted: its tag; or how many releases before the one that runs, `1` being the last before it.

    Raises:
        CloudError: there is no such release.
    """
    by_tag = {release.tag: release for release in releases}
    if wanted in by_tag:
        return by_tag[wanted]
    if not wanted.isdecimal():
        raise CloudError(f"there is no release {wanted!r}: `./invoke releases` lists them.")
    live = next((index for index, release in enumerate(releases) if release.live), None)
    if live is None:
        raise CloudError(
            "what runs is none of the releases in the registry: name one by its tag (`./invoke releases`)."
        )
    before = releases[live + 1 :]
    if not 1 <= int(wanted) <= len(before):
        raise CloudError(f"there are {len(before)} releases before the one that runs: `./invoke releases` lists them.")
    return before[int(wanted) - 1]


def text(releases: Sequence[Release]) -> str:
    """The releases for a person."""
    if not releases:
        return "No release yet: the first `./invoke deploy` makes one."
    lines = [f"{'release':24}{'pushed':22}{'digest':22}"]
    lines += [
        f"{release.tag:24}{release.pushed:22}{release.digest[:19]:22}{'runs' if release.live else ''}".rstrip()
        for release in releases
    ]
    return "\n".join(lines)
