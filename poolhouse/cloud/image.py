"""The image: which files go into it, and a tag that is the same as long as they are."""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolhouse.cloud.errors import CloudError
from poolhouse.pipeline.config.topology import load_all
from poolhouse.pipeline.image_digests import DIGESTS

_IGNORED = {"__pycache__", ".git", ".venv", ".poolhouse", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
#: Names of files that hold secrets: never sent, never in an image. The same as in .dockerignore.
SECRETS = (
    ".env", ".env.*", "*.env", ".envrc", ".secrets*", ".netrc", ".pypirc", ".npmrc", ".git-credentials", ".git",
    "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
    "*service-account*.json", "*service_account*.json", "*credentials*.json", "client_secret*.json",
    "*-key.json", "*_key.json", ".ssh", ".gnupg", ".aws", ".docker",
)  # fmt: skip
#: What a key looks like in a file of any name: PEM, or the key file of a Google service account.
_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|\"type\"\s*:\s*\"service_account\"")
#: Fields of pipeline.toml that only a deploy reads: a change of one does not make a new image.
_DEPLOY_ONLY_QUEUE = {"exactly_once", "env", "secrets"}
_DEPLOY_ONLY_WORKERS = {"cpu", "memory_mib", "gpu", "min_instances", "max_instances", "target_backlog"}


@dataclass(frozen=True)
class Inputs:
    """What a Dockerfile takes from its context: files and folders it copies, folders it only mounts while it builds."""

    copied: tuple[str, ...]
    mounted: tuple[str, ...]


def inputs(dockerfile: str) -> Inputs:
    """What the last stage of a Dockerfile, and the stages that it stands on, take from the context.

    Other stages (a target for local use, say) are not built by a plain build, so what they copy makes no difference.
    """
    stages: list[tuple[set[str], dict[str, None], dict[str, None]]] = []  # needed stages, copied, mounted
    names: dict[str, int] = {}
    for line in instructions(dockerfile):
        words = line.split()
        match words[0].upper():
            case "FROM":
                stages.append(({words[1]}, {}, {}))
                if len(words) > 3 and words[2].upper() == "AS":
                    names[words[3]] = len(stages) - 1
            case "COPY" | "ADD":
                needed, copied, _ = stages[-1]
                origin = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
                needed.update(origin)
                arguments = [word for word in words[1:] if not word.startswith("--")]
                if arguments[0].startswith("["):
                    arguments = json.loads(" ".join(arguments))
                if not origin:
                    copied.update(dict.fromkeys(_plain(source) for source in arguments[:-1]))
            case "RUN":
                for mount in (word.removeprefix("--mount=") for word in words if word.startswith("--mount=type=bind")):
                    parts = dict(part.partition("=")[::2] for part in mount.split(","))
                    if "from" not in parts:
                        stages[-1][2][_plain(parts.get("source", parts.get("src", ".")))] = None
    used, waiting = set(), [len(stages) - 1] if stages else []
    while waiting:
        stage = waiting.pop()
        used.add(stage)
        waiting.extend(names[name] for name in stages[stage][0] if name in names and names[name] not in used)
    chosen = [stage for index, stage in enumerate(stages) if index in used]
    return Inputs(
        tuple(dict.fromkeys(source for _, copied, _ in chosen for source in copied)),
        tuple(dict.fromkeys(source for _, _, mounted in chosen for source in mounted)),
    )


def tag(root: Path) -> str:
    """A tag made of the content of all that the image is built from.

    Raises:
        CloudError: there is no Dockerfile, it copies a file that is not there, a link leads out of the folder, or a
            file holds a key.
    """
    digest = hashlib.sha256()
    for path in files(root):
        name = path.relative_to(root).as_posix()
        content = path.read_bytes()
        if _KEY.search(content):
            raise CloudError(
                f"{name} holds a private key, and {root / 'Dockerfile'} copies it into the image, where everybody who "
                "can pull it reads it. Move it out of what the Dockerfile copies, and hand it over as a secret: "
                "docs/deploy.md, Environment and secrets."
            )
        content = _runtime_part(path) if name == "pipeline.toml" else content
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return f"src-{digest.hexdigest()[:16]}"


def files(root: Path) -> tuple[Path, ...]:
    """Every file that the image is built from, the Dockerfile first. Raises `CloudError` as `tag` does."""
    return tuple(path for path in _all_files(root) if not _secret(path, root))


def left_out(root: Path) -> tuple[str, ...]:
    """Names of the files that the Dockerfile copies, but that look like secrets and are not sent."""
    return tuple(path.relative_to(root).as_posix() for path in _all_files(root) if _secret(path, root))


def _all_files(root: Path) -> tuple[Path, ...]:
    dockerfile = root / "Dockerfile"
    if not dockerfile.is_file():
        raise CloudError(f"{dockerfile}: no such file; `deploy` builds the image from it.")
    found = [dockerfile]
    for source in inputs(dockerfile.read_text(encoding="utf-8")).copied:
        matches = sorted(root.glob(source)) if source != "." else [root]
        if not matches:
            raise CloudError(f"{dockerfile} copies {source}, which is not there.")
        for match in matches:
            found.extend(_walk(match, root=root.resolve(), above=()))
    return tuple(dict.fromkeys(found))


def check_handlers(root: Path, modules: Iterable[str]) -> None:
    """Check that the image would have the modules that register handlers.

    Args:
        root: folder with the Dockerfile.
        modules: their dotted names. One that is installed comes with the requirements.

    Raises:
        CloudError: a module is not there at all, or lies below `root` where the Dockerfile copies nothing.
    """
    copied = {path.resolve() for path in files(root)}
    for name in modules:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None or found.origin is None:
            raise CloudError(f"TASK_HANDLERS names {name}, and there is no such module: the workers would not start.")
        origin = Path(found.origin).resolve()
        installed = origin.is_relative_to(Path(sys.prefix).resolve())  # the environment may be below `root`
        if not installed and origin.is_relative_to(root.resolve()) and origin not in copied:
            path = origin.relative_to(root.resolve())
            raise CloudError(
                f"TASK_HANDLERS names {name}, and {root / 'Dockerfile'} does not copy {path}: "
                "the workers would not start. Add a COPY line for it (and a line in .dockerignore)."
            )


def stage(root: Path, target: Path) -> None:
    """Copy the image's files, and nothing else, into `target`: what is sent to the builder.

    Folders that the Dockerfile only mounts (a cache of packages, say) are sent empty: the builder has a network.
    """
    for path in files(root):
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    for folder in inputs((root / "Dockerfile").read_text(encoding="utf-8")).mounted:
        (target / folder).mkdir(parents=True, exist_ok=True)
        (target / folder / ".keep").touch()  # an archive of files alone would lose an empty folder


_BASE = "python:3.11.14-slim-bookworm"
#: The base image that the Dockerfile names, by its digest.
BASE_IMAGE = f"{_BASE}@{DIGESTS[_BASE]}"


def build_config(image: str) -> str:
    """The Cloud Build configuration that builds and pushes `image`, as JSON.

    BuildKit is asked for by name: the builder's default engine does not know `RUN --mount`. Logs go to the build
    bucket alone, so that the builder's account needs no role on the project. The build is verified: Cloud Build signs
    its provenance, with the digests of the image, the sources and the builder, or the build fails (Cloud Build,
    Generate and validate build provenance; only for what `images` pushes).
    """
    arguments = ["build", "-t", image, "--build-arg", f"PYTHON_IMAGE={BASE_IMAGE}", "."]
    step = {"name": "gcr.io/cloud-builders/docker", "args": arguments, "env": ["DOCKER_BUILDKIT=1"]}
    options = {"logging": "GCS_ONLY", "requestedVerifyOption": "VERIFIED"}
    return json.dumps({"steps": [step], "images": [image], "options": options, "timeout": "1200s"})


def instructions(dockerfile: str) -> Iterator[str]:
    """One instruction a line: comments gone, continued lines joined."""
    lines = "\n".join(line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if line.split():
            yield line


def _plain(source: str) -> str:
    return source.removeprefix("./").rstrip("/") or "."


def _walk(path: Path, *, root: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The files below a path. Links are followed within `root` alone; `above` are the folders on the way."""
    real = path.resolve()
    if not real.is_relative_to(root):
        raise CloudError(
            f"{path} is a link to {real}, outside of {root}: what is there would end in the image. Copy what is needed "
            "into the folder, or remove the link."
        )
    if path.is_file():
        yield path
    elif path.is_dir():
        if real in above:
            raise CloudError(f"{path} is a link to a folder that it is in itself: remove the link.")
        for child in sorted(path.iterdir()):
            if child.name not in _IGNORED and child.suffix != ".pyc":
                yield from _walk(child, root=root, above=(*above, real))


def _secret(path: Path, root: Path) -> bool:
    """Whether a file, a folder between it and the root, or what it links to is called like a secret."""
    ways = (path.relative_to(root), Path(os.path.relpath(path.resolve(), root.resolve())))
    names = {part.lower() for way in ways for part in way.parts}
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in SECRETS)


def _runtime_part(path: Path) -> bytes:
    """What the processes of any stage read: the same image runs in all of them."""
    exclude: Any = {
        "bucket": True,
        "deploy": True,
        "env": True,
        "secrets": True,
        "queues": {"__all__": {**dict.fromkeys(_DEPLOY_ONLY_QUEUE, True), "workers": _DEPLOY_ONLY_WORKERS}},
    }
    parts = [each.model_dump(mode="json", exclude=exclude) for each in load_all(path)]
    return json.dumps(parts, sort_keys=True).encode()
