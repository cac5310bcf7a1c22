"""What docker-compose.yml and the Dockerfile say: the only declaration of the images and their versions. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

COMPOSE_FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Put `${NAME:-default}` in, the only form that our file uses. Unset without a default: empty."""
    return _VARIABLE.sub(lambda found: environment.get(found["name"]) or found["default"] or "", text)


def services(environment: Mapping[str, str], *, path: Path = COMPOSE_FILE) -> dict[str, Any]:
    """The services of the Compose file, variables put in."""
    document = yaml.safe_load(interpolate(path.read_text(encoding="utf-8"), environment).replace("$$", "$"))
    found: dict[str, Any] = document["services"]
    return found


def base_image(environment: Mapping[str, str], *, path: Path = DOCKERFILE) -> str:
    """The image that the Dockerfile begins with: PYTHON_IMAGE or its default."""
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ConfigError(f"{path}: the line ARG PYTHON_IMAGE=… is missing")
    return environment.get("PYTHON_IMAGE") or found[1]


def pipeline_services(declared: Mapping[str, Any]) -> tuple[str, ...]:
    """The services that run the production image: the API and the workers."""
    image = declared["api"]["image"]
    return tuple(name for name, service in declared.items() if service["image"] == image)


def worker_services(declared: Mapping[str, Any]) -> tuple[str, ...]:
    """The services that work on queues, one a queue; the dead letters' keeper is not one of them."""
    return tuple(name for name in pipeline_services(declared) if name.startswith("worker-"))


def public_images(declared: Mapping[str, Any]) -> dict[str, str]:
    """The images that are not built here, by service."""
    return {name: str(service["image"]) for name, service in declared.items() if name in ("pubsub", "gcs")}
