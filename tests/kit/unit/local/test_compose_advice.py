from __future__ import annotations

import pytest

from poolhouse.local.compose.advice import advise, missing_images

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
    "no buildx": (
        "ERROR: BuildKit is enabled but the buildx component is missing or broken.\n",
        "install the package docker-buildx-plugin",
    ),
    "no index in a build": (
        "ERROR: No matching distribution found for annotated-doc==0.0.7",
        "run ./invoke images once where there is a network",
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


def test_an_unknown_error_is_told_in_its_own_last_line() -> None:
    assert advise("warning: something\nfatal: a thing nobody has seen\n\n") == "fatal: a thing nobody has seen"
    assert advise("") == "docker failed and gave no reason"


def test_a_word_that_merely_contains_a_known_one_is_no_match() -> None:
    assert advise("the room is too small") == "the room is too small"


def test_missing_images_are_named_and_present_ones_are_not() -> None:
    assert missing_images({"a:1": True, "b:2": False}) == "can't get b:2 (./invoke images makes stand-ins)"
    assert missing_images({"a:1": True}) is None


def test_a_missing_plugin_is_named_though_the_engine_hides_it() -> None:
    usage = "Usage:  docker [OPTIONS] COMMAND [ARG...]\n\nRun 'docker --help' for more information\n"
    message = f"unknown flag: --short\n\n{usage}"
    assert "docker-compose-plugin" in advise(message)


def test_a_hint_at_the_help_is_no_reason() -> None:
    assert advise("the engine is on fire\nRun 'docker run --help' for more information\n") == "the engine is on fire"
    assert advise("unknown command: docker x\n\nSee 'docker --help'.\n") == "unknown command: docker x"
