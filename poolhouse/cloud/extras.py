"""Extras of poolhouse that pipeline.toml needs, and whether the image would have them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from poolhouse.cloud import image
from poolhouse.cloud.errors import CloudError
from poolhouse.pipeline.config.topology import Topology

#: Libraries of the extra `telemetry`, by the exporter that needs them.
_EXPORTERS = {
    "cloud_trace": "opentelemetry-exporter-otlp-proto-http",
    "otlp": "opentelemetry-exporter-otlp-proto-http",
    "prometheus": "opentelemetry-exporter-prometheus",
}
#: Libraries of the extra `console`: assertions are signed with elliptic curves, pages are templates, forms carry files.
_CONSOLE = ("cryptography", "jinja2", "python-multipart")
_LOCK = "requirements.lock"
_LOCKED = re.compile(r"^([\w.-]+)\s*(?:\[[^]]*\])?\s*==", re.ASCII | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Need:
    """A setting, and what has to be installed for it."""

    #: As pipeline.toml has it.
    setting: str
    libraries: tuple[str, ...]
    #: The extra of poolhouse that brings them.
    extra: str
    #: What does not start without them.
    parts: str


def needs(topology: Topology) -> Iterator[Need]:
    """Yield what a declaration needs beyond the core: exporters of API and workers, and the deployed console."""
    settings = (
        (name, env[name])
        for env in topology.environments
        for name in ("METRICS_EXPORTER", "TRACES_EXPORTER")
        if env.get(name) in _EXPORTERS
    )
    for name, value in dict.fromkeys(settings):
        yield Need(
            setting=f'{name} = "{value}"',
            libraries=(_EXPORTERS[value],),
            extra="telemetry",
            parts="API and workers",
        )
    if topology.console.deploy:
        yield Need(setting="[console] deploy = true", libraries=_CONSOLE, extra="console", parts="the console")


def check(root: Path, topology: Topology) -> None:
    """Check that the image would have the libraries that pipeline.toml needs.

    Args:
        root: folder with the Dockerfile. Of an image that is made from no requirements.lock nothing is known.
        topology: pipeline.toml.

    Raises:
        CloudError: the lock file that the image is made from lacks one.
    """
    texts = [path.read_text(encoding="utf-8") for path in image.files(root) if path.name == _LOCK]
    if not texts:
        return
    locked = {_normalized(name) for text in texts for name in _LOCKED.findall(text)}
    for need, missing in _unmet(topology, locked):
        raise CloudError(
            f"{need.setting} needs {', '.join(missing)}, which {_LOCK} lacks: {need.parts} would not start. "
            f"Add poolhouse[{need.extra}] to the dependencies in pyproject.toml, run ./invoke lock, and deploy "
            "again."
        )


def check_release(packages: Callable[[], frozenset[str] | None], topology: Topology, *, tag: str) -> None:
    """Check that an earlier image has them.

    Args:
        packages: gets the names of what is in it; None where that is not known. Called only where something is needed.
        topology: pipeline.toml, as it is now.
        tag: of the image.

    Raises:
        CloudError: it lacks one.
    """
    if not any(needs(topology)) or (found := packages()) is None:
        return
    for need, missing in _unmet(topology, found):
        raise CloudError(
            f"{need.setting} needs {', '.join(missing)}, which the image {tag} lacks: {need.parts} would not start. "
            "Take the setting out of pipeline.toml, or choose another release: `./invoke releases` lists them."
        )


def _unmet(topology: Topology, there: Collection[str]) -> Iterator[tuple[Need, tuple[str, ...]]]:
    """The needs that are not met, with what is missing."""
    for need in needs(topology):
        if missing := tuple(library for library in need.libraries if library not in there):
            yield need, missing


def _normalized(name: str) -> str:
    """Return the name of a distribution as indexes compare it (PyPA, Names and normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()
