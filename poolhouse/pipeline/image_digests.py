"""Public images by their digests: a tag can be moved to another image, a digest can't."""

from __future__ import annotations

from collections.abc import Mapping

#: Digests by the names that the Dockerfile and docker-compose.yml use, each of the list for all processors. The names
#: there are without them, for machines that have a stand-in, which has a digest of its own.
DIGESTS: Mapping[str, str] = {
    "fsouza/fake-gcs-server:1.54.0": "sha256:3730da0e31f7e5186a90ec4899dc2c336104e7599df400411392ef17e684c31f",
    "python:3.11.14-slim-bookworm": "sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d",
}


def repository_digest(name: str) -> str | None:
    """Return `REPOSITORY@DIGEST` of an image; None where its digest is not known."""
    digest = DIGESTS.get(name)
    return digest and f"{name.rpartition(':')[0]}@{digest}"
