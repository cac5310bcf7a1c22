"""The bill of materials of an image: what it is made of, as a CycloneDX document."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from poolhouse.cloud import image
from poolhouse.pipeline import kit, text_files
from poolhouse.pipeline.errors import ConfigError

#: The version of CycloneDX: the newest that Google documents for bills of materials of images (Artifact Analysis,
#: Upload SBOMs).
SPEC = "1.5"
#: The lock file that the image is installed from, and the list of its Debian packages.
LOCK, APT = "requirements.lock", "apt.txt"
_BASE = re.compile(r"(?P<name>[^:@]+):(?P<tag>(?P<python>[0-9.]+)-[^@]+)@sha256:(?P<digest>[0-9a-f]{64})")
#: An entry of a lock file: its requirement ends where its hashes begin.
_ENTRY = re.compile(r"^(?P<requirement>[A-Za-z0-9][^\\\n]*)", re.MULTILINE)


def text(root: Path, *, name: str) -> str:
    """Return the document as JSON; arguments and errors as of `document`."""
    return json.dumps(document(root, name=name), indent=2) + "\n"


def document(root: Path, *, name: str) -> dict[str, Any]:
    """Return the bill of materials of the image that a deploy builds from these sources.

    The same sources have the same document: it carries no time, and its serial number is made of its content.

    Args:
        root: the project.
        name: the pipeline's.

    Raises:
        CloudError: the image can't be built from these sources.
        ConfigError: the image is made from no lock file, or from one that can't be read.
    """
    if root / LOCK not in image.files(root):
        raise ConfigError(
            f"{root / 'Dockerfile'} copies no {LOCK}, which `./invoke lock` writes: what it installs is not known."
        )
    components = [_base(), *_packages(root / LOCK), *_debian(root / APT)]
    subject = {"type": "container", "bom-ref": "image", "name": name, "version": image.tag(root)}
    tool = {"type": "application", "name": "poolhouse", "version": kit.version()}
    content = {
        "metadata": {"tools": {"components": [tool]}, "component": subject},
        "components": components,
        # A lock file does not say which package needs which other: all are the image's own.
        "dependencies": [{"ref": "image", "dependsOn": [part["bom-ref"] for part in components]}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {"bomFormat": "CycloneDX", "specVersion": SPEC, "serialNumber": serial.urn, "version": 1, **content}


def _base() -> dict[str, Any]:
    """The base image. What its maker has put into it is not in our hands, and not listed."""
    found = _base_image()
    purl = f"pkg:docker/{found['name']}@sha256:{found['digest']}?tag={found['tag']}"
    return {
        **_component("container", found["name"], purl),
        "version": found["tag"],
        "hashes": [{"alg": "SHA-256", "content": found["digest"]}],
    }


def _packages(lock: Path) -> Iterator[dict[str, Any]]:
    """The Python packages that the lock file installs in the image: not those for other systems or Pythons."""
    python = _base_image()["python"]
    inside = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": "linux",
    }
    for found in _ENTRY.finditer(text_files.read(lock)):
        try:
            requirement = Requirement(found["requirement"])
        except InvalidRequirement as error:
            raise ConfigError(f"{lock}: {found['requirement']!r} is no requirement: {error}") from None
        if requirement.marker is None or requirement.marker.evaluate(inside):
            yield _package(requirement)


def _package(requirement: Requirement) -> dict[str, Any]:
    name = canonicalize_name(requirement.name)
    if requirement.url:
        return _component("library", name, f"pkg:pypi/{name}?download_url={quote(requirement.url, safe='')}")
    version = str(requirement.specifier).removeprefix("==")
    return {**_component("library", name, f"pkg:pypi/{name}@{version}"), "version": version}


def _debian(file: Path) -> Iterator[dict[str, Any]]:
    """The Debian packages that handlers need. The version of one that is not pinned is that of the day of the build."""
    lines = text_files.read(file).splitlines() if file.is_file() else ()
    for word in " ".join(line.partition("#")[0] for line in lines).split():
        name, _, pinned = word.partition("=")
        purl = f"pkg:deb/debian/{name}" + (f"@{quote(pinned, safe=':~.+-')}" if pinned else "")
        yield {**_component("library", name, purl), **({"version": pinned} if pinned else {})}


def _component(kind: str, name: str, purl: str) -> dict[str, Any]:
    return {"type": kind, "bom-ref": purl, "name": name, "purl": purl}


def _base_image() -> re.Match[str]:
    found = _BASE.fullmatch(image.BASE_IMAGE)
    assert found is not None
    return found
