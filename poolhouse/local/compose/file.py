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
#: Compose lays the first of these over docker-compose.yml, where there is one.
_OVERRIDES = tuple(f"{stem}.override.{end}" for stem in ("compose", "docker-compose") for end in ("yml", "yaml"))
#: The innermost variables: none has another in its default.
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^${}]*))?\}")


def files(root: Path = ROOT) -> tuple[Path, ...]:
    """The files that `docker compose` takes in a folder: docker-compose.yml, and the user's override of it."""
    overrides = (root / name for name in _OVERRIDES)
    return (root / COMPOSE_FILE.name, *[path for path in overrides if path.is_file()][:1])


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Put `${NAME:-default}` in, the only form that our file uses. Unset without a default: empty."""
    while _VARIABLE.search(text):
        text = _VARIABLE.sub(lambda found: environment.get(found["name"]) or found["default"] or "", text)
    return text


def services(environment: Mapping[str, str], *, path: Path = COMPOSE_FILE) -> dict[str, Any]:
    """The services of the Compose file, variables put in."""
    found: dict[str, Any] = _filled(yaml.safe_load(path.read_text(encoding="utf-8"))["services"], environment)
    return found


def command(service: str, *, path: Path = COMPOSE_FILE) -> list[str]:
    """The command of a service, its variables not put in."""
    return list(yaml.safe_load(path.read_text(encoding="utf-8"))["services"][service]["command"])


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    """Variables are put in after YAML was read, as Compose does it: what a variable holds is never syntax."""
    match value:
        case str():
            return interpolate(value, environment).replace("$$", "$")
        case dict():
            return {key: _filled(entry, environment) for key, entry in value.items()}
        case list():
            return [_filled(entry, environment) for entry in value]
        case _:
            return value


def extension(name: str, *, path: Path = COMPOSE_FILE) -> Any:
    """An `x-…` part of the Compose file, its variables not put in."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))[f"x-{name}"]


def google_pubsub_image() -> str:
    """The image of Google's Pub/Sub emulator."""
    return str(extension("google-pubsub-image"))


def base_image(environment: Mapping[str, str], *, path: Path = DOCKERFILE) -> str:
    """The image that the Dockerfile begins with: PYTHON_IMAGE or its default."""
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ConfigError(f"{path}: the line ARG PYTHON_IMAGE=… is missing")
    return environment.get("PYTHON_IMAGE") or found[1]


def storage_image(environment: Mapping[str, str]) -> str:
    """The image of the storage server."""
    return str(services(environment)["gcs"]["image"])


def pipeline_services(declared: Mapping[str, Any]) -> tuple[str, ...]:
    """The services that run the production image: the API and the workers."""
    image = declared["api"]["image"]
    return tuple(name for name, service in declared.items() if service.get("image") == image)


def worker_services(declared: Mapping[str, Any]) -> tuple[str, ...]:
    """The services that work on queues, one a queue; the dead letters' keeper is not one of them."""
    return tuple(name for name in declared if name.startswith("worker-"))
