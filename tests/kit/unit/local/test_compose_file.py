"""What docker-compose.yml and the Dockerfile promise, checked without an engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poolhouse.local.compose import file as compose_file
from poolhouse.pipeline import topology
from poolhouse.project import ROOT

SERVICES = compose_file.services({})
TOPOLOGY = topology.load(ROOT / "pipeline.toml")
MIB = {"m": 1, "g": 1024}


def _mib(limit: str) -> int:
    return int(limit[:-1]) * MIB[limit[-1]]


def test_every_queue_has_workers_of_the_size_that_the_pipeline_declares() -> None:
    assert set(compose_file.worker_services(SERVICES)) == {f"worker-{queue.name}" for queue in TOPOLOGY.queues}
    for queue in TOPOLOGY.queues:
        service = SERVICES[f"worker-{queue.name}"]
        assert service["cpus"] == queue.workers.cpu
        assert _mib(service["mem_limit"]) == queue.workers.memory_mib
        assert service["command"][-2:] == ["--queue", queue.name]


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert _mib(service["mem_limit"]) > 0
    assert service["cpus"] > 0
    # Images that are not ours run as root unless told otherwise; ours say it themselves.
    assert service.get("user") == "65532:65532" or "build" in service


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_what_web_pages_can_reach_is_guarded() -> None:
    """The emulators have no guard of their own: they publish nothing, and the gateway does for them."""
    publishing = {name for name, service in SERVICES.items() if service.get("ports")}
    assert publishing == {"gateway", "api"}
    assert SERVICES["gateway"]["command"][2:] == [
        "poolhouse.local.storage.proxy.gateway",
        "8085=pubsub:8085",
        "4443=gcs:4443",
    ]
    for name in publishing:
        assert SERVICES[name]["environment"]["ALLOWED_HOSTS"] == "local"


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "setup"])
def test_every_service_that_stays_tells_its_health(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_nothing_waits_for_what_it_can_wait_for_itself() -> None:
    for name in compose_file.pipeline_services(SERVICES):
        conditions = {needed: entry["condition"] for needed, entry in SERVICES[name]["depends_on"].items()}
        emulators = {"pubsub": "service_started", "gcs": "service_started"}
        setup = {"setup": "service_completed_successfully"} if name == "scheduler" else {}
        assert conditions == emulators | setup
        assert ("WAIT_FOR_TOPOLOGY_S" in SERVICES[name]["environment"]) == (name not in ("api", "scheduler"))


@pytest.mark.parametrize("module", ["poolhouse.local.setup", "poolhouse.local.storage.proxy.gateway"])
def test_what_runs_in_containers_needs_no_package_of_development(module: str) -> None:
    """The image has requirements.lock alone."""
    shipped, all_packages = (
        set(re.findall(r"^([\w.-]+)==", (ROOT / file).read_text(), re.MULTILINE))
        for file in ("requirements.lock", "requirements-dev.lock")
    )
    absent = [name.replace("-", "_") for name in all_packages - shipped]
    program = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import {module}"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_setup_that_fails_is_not_tried_for_ever() -> None:
    assert SERVICES["setup"]["restart"] == "no"


def test_public_images_have_a_version_and_a_variable() -> None:
    for name, image in compose_file.public_images(SERVICES).items():
        assert any(character.isdigit() for character in image.rpartition(":")[2])
        variable = {"pubsub": "PUBSUB_IMAGE", "gcs": "STORAGE_IMAGE"}[name]
        assert compose_file.services({variable: "mirror/x:1"})[name]["image"] == "mirror/x:1"
    assert compose_file.base_image({}).startswith("python:3.11.")
    assert compose_file.base_image({"PYTHON_IMAGE": "mirror/python:3.11"}) == "mirror/python:3.11"


def test_api_and_workers_run_the_same_image() -> None:
    assert {SERVICES[name]["image"] for name in compose_file.pipeline_services(SERVICES)} == {"poolhouse:local"}


def test_the_production_image_is_the_last_stage_and_has_no_local_code() -> None:
    dockerfile = compose_file.DOCKERFILE.read_text()
    stages = dockerfile.split("\nFROM ")
    assert "# syntax=" not in dockerfile.splitlines()[0]
    assert stages[-1].startswith("runtime AS production")
    assert "local" not in stages[-1]
    assert 'CMD ["python", "-m", "poolhouse.api"]' in stages[-1]


def test_what_the_dockerfile_copies_reaches_the_builder_and_secrets_do_not() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == {"poolhouse", "worker", "api", "local", "pipeline.toml", "requirements.lock", ".wheelhouse"}
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_variables_are_put_in_with_their_defaults(tmp_path: Path) -> None:
    assert compose_file.interpolate("${A:-x} ${B:-y}${C}", {"A": "1", "B": ""}) == "1 y"
    file = tmp_path / "compose.yml"
    file.write_text('services: {one: {image: "${I:-a:1}", command: "echo $$HOME"}}')
    read: dict[str, Any] = compose_file.services({"I": "b:2"}, path=file)
    assert read == {"one": {"image": "b:2", "command": "echo $HOME"}}
