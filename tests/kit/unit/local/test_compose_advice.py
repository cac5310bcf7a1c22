from __future__ import annotations

import pytest

from poolhouse.local.compose.advice import advise, build_failure, missing_images, unfit

# Messages as engines and clients of several versions write them.
MESSAGES = {
    "engine not running": (
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        "engine is not running: start Docker Desktop",
    ),
    "engine gone, its socket left": (
        'error during connect: Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.41/info": dial unix /var/run/docker.sock: '
        "connect: connection refused",
        "engine is not running",
    ),
    "not in the group": (
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "
        '"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/version": dial unix /var/run/docker.sock: connect: permission denied',
        "usermod -aG docker",
    ),
    "not in the group, engine 29": (
        "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock",
        "usermod -aG docker",
    ),
    "fewer processors": (
        "Error response from daemon: Range of CPUs is from 0.01 to 1.00, as there are only 1 CPUs available",
        "lowers the limits",
    ),
    "rootless without the CPU controller": (
        "Error response from daemon: NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the "
        "cgroup is not mounted",
        "lowers the limits",
    ),
    "port taken": (
        "Error response from daemon: driver failed programming external connectivity on endpoint poolhouse-pubsub-1 "
        "(16239ee99c78): Error starting userland proxy: listen tcp4 127.0.0.1:18085: bind: address already in use",
        "port 18085 is in use by another program",
    ),
    "port of another container": (
        "Error response from daemon: driver failed programming external connectivity on endpoint x (1): Bind for "
        "127.0.0.1:8080 failed: port is already allocated",
        "port 8080 is in use by another program",
    ),
    "port taken, Docker Desktop": (
        "Error response from daemon: Ports are not available: exposing port TCP 127.0.0.1:4443 -> 0.0.0.0:0: listen "
        "tcp 127.0.0.1:4443: bind: address already in use",
        "port 4443 is in use by another program",
    ),
    "no network": (
        'Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on '
        "192.0.2.53:53: no such host",
        "can't be pulled: run ./invoke images",
    ),
    "image unknown": (
        "Error response from daemon: pull access denied for fsouza/fake-gcs-server, repository does not exist or may "
        "require 'docker login'",
        "fsouza/fake-gcs-server is not on this machine and can't be pulled",
    ),
    "version unknown": (
        "Error response from daemon: manifest for python:3.11.99-slim not found: manifest unknown: manifest unknown",
        "python:3.11.99-slim is not on this machine and can't be pulled",
    ),
    "base image missing in a build": (
        "ERROR: failed to build: failed to solve: python:3.11.14-slim-bookworm: failed to resolve source metadata for "
        "docker.io/library/python:3.11.14-slim-bookworm: failed to do request: Head: dial tcp: no such host",
        "docker.io/library/python:3.11.14-slim-bookworm is not on this machine and can't be pulled",
    ),
    "disk full": (
        "failed to register layer: write /opt/venv/lib/_polars_runtime.abi3.so: no space left on device",
        "disk of the Docker engine is full: docker system df",
    ),
    "disk full beats the build step that it broke": (
        "ERROR: Could not find a version that satisfies the requirement x\nOSError: [Errno 28] No space left on device",
        "disk of the Docker engine is full",
    ),
    "wrong processor at a start": (
        "exec /opt/venv/bin/python: exec format error",
        "for another processor than this machine's",
    ),
    "wrong processor at a pull": (
        "no matching manifest for linux/arm64/v8 in the manifest list entries",
        "for another processor than this machine's",
    ),
    "no Compose": (
        "docker: 'compose' is not a docker command.\nSee 'docker --help'",
        "install the package docker-compose-",
    ),
    "no Compose, engine 28": (
        "docker: unknown command: docker compose\n\nRun 'docker --help' for more information",
        "install the package docker-compose-",
    ),
    "no buildx": (
        "ERROR: BuildKit is enabled but the buildx component is missing or broken.\n",
        "install the package docker-buildx-plugin",
    ),
    "no index in a build": (
        "ERROR: No matching distribution found for annotated-doc==0.0.7",
        "run ./invoke images once where there is a network",
    ),
    "no Debian mirror in a build": (
        "W: Failed to fetch http://deb.debian.org/debian/dists/bookworm/InRelease  Temporary failure resolving "
        "'deb.debian.org'\nE: Some index files failed to download.\nE: Unable to locate package qrencode",
        "did not reach Debian's mirror",
    ),
    "unknown Debian package": (
        "E: Unable to locate package no-such-package",
        "apt.txt names no-such-package, which Debian does not have",
    ),
    "unknown version of a Debian package": (
        "E: Version '9.9' for 'qrencode' was not found",
        "apt.txt names qrencode, which Debian does not have",
    ),
    "base image without apt": (
        "/bin/sh: 1: apt-get: not found",
        "run ./invoke images, which renews a stand-in",
    ),
    "proxy with its own authority": (
        "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed'))",
        "name its CA bundle in SSL_CERT_FILE",
    ),
    "networks used up": (
        "Error response from daemon: could not find an available, non-overlapping IPv4 address pool among the defaults",
        "docker network prune",
    ),
}


@pytest.mark.parametrize(("message", "expected"), MESSAGES.values(), ids=MESSAGES)
def test_each_error_of_docker_becomes_one_sentence_with_its_remedy(message: str, expected: str) -> None:
    advice = advise(message)
    assert expected in advice
    assert "\n" not in advice


def test_an_unknown_error_is_reported_by_its_last_line() -> None:
    assert advise("warning: something\nfatal: a thing nobody has seen\n\n") == "fatal: a thing nobody has seen"
    assert advise("") == "docker failed and gave no reason"


def test_a_word_that_merely_contains_a_known_one_is_no_match() -> None:
    assert advise("the room is too small") == "the room is too small"


def test_missing_images_are_named_and_present_ones_are_not() -> None:
    assert missing_images({"a:1": True, "b:2": False}) == "can't get b:2 (./invoke images makes stand-ins)"
    assert missing_images({"a:1": True}) is None


BROKEN_HANDLER = """\
#10 [source 5/7] RUN python3 -m compileall -q --invalidation-mode unchecked-hash .
#10 0.412 *** Error compiling './worker/handlers/mine.py'...
#10 0.412   File "./worker/handlers/mine.py", line 3
#10 0.412     def (
#10 0.412         ^
#10 0.412 SyntaxError: invalid syntax
#10 ERROR: process "/bin/sh -c python3 -m compileall -q ." did not complete successfully: exit code: 1
------
 > [source 5/7] RUN python3 -m compileall -q --invalidation-mode unchecked-hash .:
0.412 *** Error compiling './worker/handlers/mine.py'...
0.412   File "./worker/handlers/mine.py", line 3
0.412     def (
0.412         ^
0.412 SyntaxError: invalid syntax
------
Dockerfile:52
ERROR: failed to solve: process "/bin/sh -c python3 -m compileall -q ." did not complete successfully: exit code: 1
"""
NO_INDEX = """\
#8 2.1 WARNING: Retrying after connection broken: NewConnectionError(connection refused)
#8 9.0 ERROR: No matching distribution found for x==1
#8 ERROR: process "/bin/sh -c pip install" did not complete successfully: exit code: 1
------
 > [dependencies 3/3] RUN pip install:
9.0 ERROR: No matching distribution found for x==1
------
ERROR: failed to solve: exit code: 1
"""


def test_a_failed_build_shows_file_and_line() -> None:
    told = build_failure(BROKEN_HANDLER)
    assert told.startswith("the image can't be built:\n")
    assert 'File "./worker/handlers/mine.py", line 3\n' in told
    assert told.endswith("SyntaxError: invalid syntax")
    assert "#10" not in told
    assert "0.412" not in told


def test_a_known_cause_of_a_failed_build_is_reported_with_its_remedy() -> None:
    assert "run ./invoke images once where there is a network" in build_failure(NO_INDEX)
    full = "ERROR: failed to solve: failed to copy: write /x: no space left on device"
    assert "disk of the Docker engine is full" in build_failure(full)


def test_what_went_wrong_in_a_step_that_passed_is_no_cause() -> None:
    assert "can't be pulled" not in build_failure("#8 1.0 WARNING: connection refused\n" + BROKEN_HANDLER)


def test_a_build_that_failed_without_a_step_gives_what_it_wrote() -> None:
    assert build_failure("ERROR: something new\n") == "the image can't be built:\n  ERROR: something new"
    assert build_failure("") == "the image can't be built:\n  docker build gave no reason"


DOCKER = '{"Client":{"Version":"28.5.1","ApiVersion":"1.51"},"Server":{"Components":[{"Name":"Engine"}]}}'


@pytest.mark.parametrize("version", ["2.24.0", "v2.24.6", "2.24.6+ds1-0ubuntu1", "5.0.2", "dev"])
def test_a_compose_that_reads_our_file_is_fit(version: str) -> None:
    assert unfit(engine=DOCKER, compose=version) is None


@pytest.mark.parametrize("version", ["1.29.2", "v2.10.2", "2.23.3"])
def test_an_older_compose_is_reported_with_the_version_that_is_needed(version: str) -> None:
    told = unfit(engine=DOCKER, compose=version)
    assert told is not None
    assert told.startswith(f"Docker Compose {version} is too old for docker-compose.yml, which needs 2.24: ")


@pytest.mark.parametrize(
    "engine",
    [
        '{"Client":{"ApiVersion":"1.41"},"Server":{"Components":[{"Name":"Podman Engine","Version":"4.9.3"}]}}',
        '{"Client":{"APIVersion":"4.9.3","Version":"4.9.3","OsArch":"linux/amd64"}}',
    ],
)
def test_podman_is_named_before_a_build_fails(engine: str) -> None:
    told = unfit(engine=engine, compose="2.24.6")
    assert told is not None
    assert told.startswith("the engine that answers is Podman")
    assert "./invoke up --backend embedded" in told
