"""What docker-compose.yml and the Dockerfile promise, checked without an engine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from docker.utils.build import exclude_paths

import poolhouse_pubsub
from poolhouse.cloud.image import SECRETS, instructions
from poolhouse.local.compose import file as compose_file
from poolhouse.local.compose import workers
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

#: Services that run: the other is there to be built.
SERVICES = {name: entry for name, entry in compose_file.services({}).items() if name != "pubsub-image"}
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


def test_the_worker_services_are_as_pipeline_toml_has_them() -> None:
    text = compose_file.COMPOSE_FILE.read_text(encoding="utf-8")
    assert workers.renewed(text, TOPOLOGY) == text, f"{workers.RENEW} brings it up to date"


def test_a_new_queue_gets_its_worker_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline_file, file = tmp_path / "pipeline.toml", tmp_path / "docker-compose.yml"
    pipeline_file.write_text("[queues.fresh]\n[queues.fresh.workers]\nmemory_mib = 1536\ncpu = 2\n")
    file.write_text(compose_file.COMPOSE_FILE.read_text(encoding="utf-8"))
    assert workers.renew(path=file, pipeline_file=pipeline_file) == 0
    made = compose_file.services({}, path=file)
    assert compose_file.worker_services(made) == ("worker-fresh",)
    assert made["worker-fresh"] == {
        **SERVICES["worker-default"],
        "command": ["python", "-m", "poolhouse.worker", "run", "--queue", "fresh"],
        "mem_limit": "1536m",
        "cpus": 2,
    }
    assert made["setup"]["environment"][workers.VARIABLE] == "fresh"
    assert set(made) - {"worker-fresh"} == set(compose_file.services({})) - set(compose_file.worker_services(SERVICES))
    assert workers.renew(path=file, pipeline_file=pipeline_file) == 0
    assert "is up to date" in capsys.readouterr().out


def test_a_compose_file_without_its_marks_is_not_guessed_at() -> None:
    text = compose_file.COMPOSE_FILE.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=r"git checkout docker-compose\.yml"):
        workers.renewed(text.replace("  # }\n", ""), TOPOLOGY)


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_comes_back_and_its_log_and_processes_are_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("no" if name == "setup" else "unless-stopped")
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}
    assert service["pids_limit"] > 0


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert _mib(service["mem_limit"]) > 0
    assert service["cpus"] > 0
    # Images that are not ours run as root unless told otherwise; ours say it themselves.
    assert service.get("user") == "65532:65532" or service["image"].startswith(("poolhouse:", "poolhouse-setup:"))


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


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in {"setup", "scheduler"}])
def test_every_service_that_has_a_connection_reports_its_health_at_a_cost_that_an_idle_stack_can_bear(
    name: str,
) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert int(check["interval"].removesuffix("s")) >= 10
    # Engines from 25 on look more often by themselves in this time; older ones refuse to be told how often.
    assert "start_period" in check
    assert "start_interval" not in check


def test_nothing_waits_for_what_it_can_wait_for_itself() -> None:
    for name in compose_file.pipeline_services(SERVICES):
        conditions = {needed: entry["condition"] for needed, entry in SERVICES[name]["depends_on"].items()}
        emulators = {"pubsub": "service_started", "gcs": "service_started"}
        setup = {"setup": "service_completed_successfully"} if name == "scheduler" else {}
        image = {} if name == "api" else {"api": "service_started"}
        assert conditions == emulators | setup | image
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
    for image in (compose_file.google_pubsub_image(), compose_file.storage_image({})):
        assert any(character.isdigit() for character in image.rpartition(":")[2])
    for name, variable in (("pubsub", "PUBSUB_IMAGE"), ("gcs", "STORAGE_IMAGE")):
        assert compose_file.services({variable: "mirror/x:1"})[name]["image"] == "mirror/x:1"
    assert compose_file.base_image({}).startswith("python:3.11.")
    assert compose_file.base_image({"PYTHON_IMAGE": "mirror/python:3.11"}) == "mirror/python:3.11"


def test_api_and_workers_run_one_image_that_is_built_once_and_is_the_checkouts_own() -> None:
    everything = compose_file.services({"COMPOSE_PROJECT_NAME": "mine"})
    running = compose_file.pipeline_services(everything)
    assert {everything[name]["image"] for name in running} == {"poolhouse:mine"}
    assert set(running) == {"api", *compose_file.worker_services(everything), "dead-letters", "scheduler"}
    assert [name for name in running if "build" in everything[name]] == ["api"]
    assert all(everything[name]["pull_policy"] == "never" for name in running if name != "api")
    built = {name: entry["build"]["target"] for name, entry in everything.items() if "build" in entry}
    assert built == {"pubsub-image": "pubsub", "setup": "local", "api": "production"}
    # One default for PYTHON_IMAGE in two places.
    assert everything["api"]["build"]["args"] == {"PYTHON_IMAGE": compose_file.base_image({})}


def test_our_emulator_is_the_default_and_googles_is_never_built() -> None:
    everything = compose_file.services({"COMPOSE_PROJECT_NAME": "mine"})
    assert everything["pubsub"]["image"] == everything["pubsub-image"]["image"] == "poolhouse-pubsub:mine"
    assert everything["pubsub-image"]["deploy"] == {"replicas": 0}
    googles = compose_file.services({"PUBSUB_IMAGE": compose_file.google_pubsub_image()})
    assert googles["pubsub"]["image"] == compose_file.google_pubsub_image()
    assert googles["pubsub-image"]["image"] != compose_file.google_pubsub_image()


def test_the_production_image_is_the_last_stage_and_has_no_local_code() -> None:
    dockerfile = compose_file.DOCKERFILE.read_text()
    stages = dockerfile.split("\nFROM ")
    assert "# syntax=" not in dockerfile.splitlines()[0]
    assert stages[-1].startswith("runtime AS production")
    assert "local" not in stages[-1]
    assert 'CMD ["python", "-m", "poolhouse.api"]' in stages[-1]


def test_what_the_dockerfile_copies_reaches_the_builder_and_secrets_do_not() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    locks = {"requirements.lock", "requirements-pubsub.lock"}
    assert allowed == {
        "poolhouse",
        "poolhouse_pubsub",
        "worker",
        "api",
        "pipeline.toml",
        ".wheelhouse",
        *locks,
    }
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_a_build_here_and_a_deploy_leave_out_the_same_secrets() -> None:
    left_out = (ROOT / ".dockerignore").read_text().partition("# Secrets, ")[2].splitlines()[1:]
    assert set(left_out) == {f"**/{name}" for name in SECRETS}


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.production", "service-account.json", "my_service_account_prod.json", "server.pem", "tls.key"),
        *("application_default_credentials.json", "client_secret_1.json", "id_rsa", "store.p12", ".netrc", ".pypirc"),
        *("prod.env", ".git-credentials", "my-key.json", ".aws/credentials", ".ssh/config"),
    ],
)
@pytest.mark.parametrize("folder", ["worker", "worker/handlers", "api", "poolhouse", "poolhouse_pubsub"])
def test_no_secret_gets_into_the_build_wherever_it_lies(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / name).parent.mkdir(exist_ok=True)
    for file in (name, "code.py", "data.json"):
        (tmp_path / folder / file).touch()
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    sent = exclude_paths(str(tmp_path), patterns)
    assert {f"{folder}/code.py", f"{folder}/data.json"} <= set(sent)
    assert f"{folder}/{name}" not in sent


def test_variables_are_put_in_with_their_defaults(tmp_path: Path) -> None:
    assert compose_file.interpolate("${A:-x} ${B:-y}${C}", {"A": "1", "B": ""}) == "1 y"
    file = tmp_path / "compose.yml"
    file.write_text('services: {one: {image: "${I:-a:${T}}", command: "echo $$HOME"}}')
    read: dict[str, Any] = compose_file.services({"I": "b:2"}, path=file)
    assert read == {"one": {"image": "b:2", "command": "echo $HOME"}}
    assert compose_file.services({"T": "3: x"}, path=file)["one"]["image"] == "a:3: x"


def test_the_users_override_is_laid_over_the_compose_file_as_compose_does_it(tmp_path: Path) -> None:
    assert compose_file.files(tmp_path) == (tmp_path / "docker-compose.yml",)
    for name in ("docker-compose.override.yml", "compose.override.yml"):
        (tmp_path / name).touch()
        assert compose_file.files(tmp_path) == (tmp_path / "docker-compose.yml", tmp_path / name)


def test_the_emulators_image_has_what_the_emulator_imports() -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements-pubsub.lock").read_text(), re.MULTILINE))
    imported = {
        name.partition(".")[0]
        for path in Path(poolhouse_pubsub.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _imported(node)
    }
    # A namespace of several distributions, the emulator itself, and what its pytest plugin runs in.
    known = {"google", "poolhouse_pubsub", "pytest", *sys.stdlib_module_names}
    of = packages_distributions()
    lacking = {name for name in imported - known if not {dist.lower() for dist in of.get(name, [])} & locked}
    assert {"grpc", "h11", "jwt"} <= imported
    assert not lacking, "add what provides it to poolhouse_pubsub/pyproject.toml, then ./invoke lock"


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [entry.name for entry in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case _:
            return []


def test_builds_install_into_the_environment_whatever_a_pip_conf_says() -> None:
    """`user = true` is an error in every virtual environment, and the build has the pip.conf of the machine."""
    lines = [line for line in instructions(compose_file.DOCKERFILE.read_text(encoding="utf-8")) if " -m pip " in line]
    assert len(lines) == 2
    assert all("--no-user --target= " in line for line in lines)
