"""What Docker's error messages mean, and what to do about each: one sentence.

Docker reports errors as text alone; the texts here are those of engines 20.10 to 28 and Compose 2 to 5. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

#: What always works; whichever command it was, it may have no --backend of its own.
WITHOUT_DOCKER = "or do without it: ./invoke up --backend embedded"
#: The oldest Compose that reads docker-compose.yml: an `env_file` that need not be there.
OLDEST_COMPOSE = (2, 24)
NO_COMPOSE = (
    "Docker Compose is not installed: install the package docker-compose-plugin (Debian, Ubuntu: docker-compose-v2), "
    f"{WITHOUT_DOCKER}"
)
#: Text in the message → advice. The first that fits counts: the more specific ones come first.
_RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (
        r"permission denied while trying to connect to the docker|dial unix \S+docker\S*: connect: permission denied",
        "this user may not talk to the Docker engine: add it to the group docker (sudo usermod -aG docker $USER, then "
        f"log in again), {WITHOUT_DOCKER}",
    ),
    (
        r"cannot connect to the docker daemon|is the docker daemon running|error during connect",
        f"the Docker engine is not running: start Docker Desktop or run sudo systemctl start docker, {WITHOUT_DOCKER}",
    ),
    (
        r"is not a docker command|unknown (shorthand flag: 'f'|flag: --env-file)|"
        r"unknown (docker )?command: \"?(docker )?compose",
        NO_COMPOSE,
    ),
    (
        r"buildx component is missing|requires buildx|compose build requires buildx",
        "Docker can't build without buildx: install the package docker-buildx-plugin (docker buildx version shows it)",
    ),
    (
        r"no space left on device|disk quota exceeded",
        "the disk of the Docker engine is full: docker system df shows what takes it, docker system prune frees it",
    ),
    (
        r"exec format error|no matching manifest for|does not match the (detected host|specified) platform",
        "an image is for another processor than this machine's: remove it (docker image rm NAME) and run ./invoke "
        "images, which takes or makes those that fit",
    ),
    (
        r"bind for \S*?:(\d+) failed|listen tcp\d? \S*?:(\d+): bind|"
        r"ports are not available: exposing port tcp \S*?:(\d+)|port is already allocated|"
        r"bind: address already in use",
        lambda found: (
            f"port {next((number for number in found.groups() if number), 'wanted')} is in use by another program: end "
            "that one, or choose other ports with --api-port, --pubsub-port and --storage-port"
        ),
    ),
    (
        r"non-overlapping ipv4 address pool|all predefined address pools have been fully subnetted",
        "Docker has no network addresses left: docker network prune removes the networks that nothing uses",
    ),
    (
        r"certificate_verify_failed|x509: certificate|certificate verify failed",
        "a certificate is not trusted, as behind a company's proxy: name its CA bundle in SSL_CERT_FILE for the build, "
        "and in the engine's configuration for pulls",
    ),
    (
        r"no matching distribution found|could not find a version that satisfies",
        "the build found no package index: run ./invoke images once where there is a network, it keeps the wheels",
    ),
    # Before what apt says next: without its lists it knows no package.
    (
        r"temporary failure resolving|some index files failed to download|unable to fetch some archives",
        "the build did not reach Debian's mirror for the packages of apt.txt: build once where there is a network, the "
        "engine keeps them until apt.txt changes",
    ),
    (
        r"unable to locate package (\S+)|package '?([^\s']+)'? has no installation candidate|"
        r"version '\S+' for '(\S+)' was not found",
        lambda found: (
            f"apt.txt names {next(name for name in found.groups() if name)}, which Debian does not have in the base "
            "image's release: https://packages.debian.org shows the names and versions"
        ),
    ),
    (
        r"apt-get: (command )?not found",
        "the base image has no apt-get for the packages of apt.txt: run ./invoke images, which renews a stand-in made "
        "by an earlier version, or name a Debian image in PYTHON_IMAGE",
    ),
    (
        r"no such image: (\S+)|pull access denied for ([^\s,]+)|manifest (?:for (\S+) )?(?:not found|unknown)|"
        r"failed to resolve (?:reference \"?([^\s\"]+)|source metadata for (\S+))|"
        r"no such host|temporary failure in name resolution|tls handshake timeout|i/o timeout|network is unreachable|"
        r"failed to do request|client\.timeout exceeded|registry-1\.docker\.io|connection refused|toomanyrequests",
        lambda found: (
            f"{next((name for name in found.groups() if name), 'an image').rstrip(':,')} is not on this machine and "
            "can't be pulled: run ./invoke images, which makes stand-ins where no registry can be reached, "
            f"{WITHOUT_DOCKER}"
        ),
    ),
    (
        r"range of cpus is from|nanocpus can ?not be set",
        "a container is to have more processors than the engine has, or the engine can't limit them (rootless): "
        "./invoke up --backend compose lowers the limits to what there is; for docker compose itself, set `cpus` in "
        "docker-compose.override.yml",
    ),
    (
        r"\boom\b|out of memory|cannot allocate memory",
        f"the machine has too little memory for the containers: give Docker more, {WITHOUT_DOCKER}",
    ),
    (
        # What engine 28 makes of `docker compose version --short` without the plugin: it takes the flag for its own.
        r"unknown flag: --short",
        "Docker Compose is not installed: install the package docker-compose-plugin (docker compose version shows it)",
    ),
)

#: Lines that end a message and say nothing of what is wrong.
_HELP = re.compile(r"(See|Run) '?docker\b.*--help|Usage:", re.IGNORECASE)


def advise(message: str) -> str:
    """One sentence for people about an error of `docker`; the message's own last line where none of the rules fits.

    Args:
        message: what the command wrote to standard error.
    """
    advice = _advice(message)
    if advice is not None:
        return advice
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else "docker failed and gave no reason"


def _advice(message: str) -> str | None:
    for pattern, advice in _RULES:
        found = re.search(pattern, message, re.IGNORECASE)
        if found:
            return advice if isinstance(advice, str) else advice(found)
    return None


def unfit(*, engine: str, compose: str) -> str | None:
    """Why an engine and its Compose can't run the stack; None where they can.

    Args:
        engine: what `docker version --format '{{json .}}'` prints.
        compose: what `docker compose version --short` prints.
    """
    # Podman's client writes APIVersion where Docker's writes ApiVersion; behind its socket the server reports its name.
    if "podman" in engine.lower() or '"APIVersion"' in engine:
        return (
            "the engine that answers is Podman, which can't build or run this stack: start Docker "
            f"(DOCKER_HOST and docker context show which one is asked), {WITHOUT_DOCKER}"
        )
    found = re.match(r"v?(\d+)\.(\d+)", compose.strip())
    if found and (int(found[1]), int(found[2])) < OLDEST_COMPOSE:
        oldest = ".".join(map(str, OLDEST_COMPOSE))
        return (
            f"Docker Compose {compose.strip()} is too old for docker-compose.yml, which needs {oldest}: update the "
            f"package docker-compose-plugin, {WITHOUT_DOCKER}"
        )
    return None


def build_failure(output: str) -> str:
    """Why a build failed: a known cause in one sentence, else the last lines of the step that failed.

    Args:
        output: of `docker build --progress=plain`.
    """
    _, rule, rest = output.partition("\n------\n")
    step = rest.partition("\n------")[0] if rule else ""
    errors = [line for line in output.splitlines() if line.startswith(("ERROR", "error"))]
    # The whole output includes retries that succeeded in the end.
    for known in (step, "\n".join(errors)):
        advice = _advice(known)
        if advice is not None:
            return advice
    lines = [_STEP_PREFIX.sub("", line).rstrip() for line in (step or output).splitlines()]
    last = [line for line in lines if line.strip()][-_BUILD_LINES:]
    return "the image can't be built:\n  " + "\n  ".join(last or ["docker build gave no reason"])


#: What BuildKit writes before a line of a step: its number, and the time.
_STEP_PREFIX = re.compile(r"^(?:#\d+ )?(?:\d+\.\d+ )?")
_BUILD_LINES = 15


def missing_images(wanted: Mapping[str, bool]) -> str | None:
    """Which images can't be had, in a few words; None if all can.

    Args:
        wanted: whether each image is present or can be pulled.
    """
    missing = [name for name, available in wanted.items() if not available]
    return f"can't get {', '.join(missing)} (./invoke images makes stand-ins)" if missing else None
