"""What containers get of this machine: variables, files, workers."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from poolhouse.local import dotenv
from poolhouse.local.compose import file as compose_file
from poolhouse.local.compose import overlay, workers
from poolhouse.local.compose import variables as compose_variables
from poolhouse.pipeline.config.topology import load

OWN = {
    "GREETING": "hello",
    "MAIL_TOKEN": "a$b${c}",
    "LOG_LEVEL": "debug",
    "WORKER_GRACE_S": "2",
    # Decided by the stack.
    "GOOGLE_CLOUD_PROJECT": "production",
    "BUCKET_NAME": "production",
    "API_PORT": "1",
    "HOST": "::1",
    # Of this machine.
    "PATH": "/bin",
    "HOME": "/root",
    "PYTHONPATH": "/src",
    "VIRTUAL_ENV": "/venv",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "GOOGLE_APPLICATION_CREDENTIALS": "/root/key.json",
    "TZ": "Asia/Kathmandu",
    "GRPC_DNS_RESOLVER": "native",
    "GOOGLE_API_USE_MTLS_ENDPOINT": "always",
    "https_proxy": "http://127.0.0.1:3128",
    "DOCKER_HOST": "unix:///x",
    "COMPOSE_FILE": "/elsewhere.yml",
    "BASH_FUNC_x%%": "() { :; }",
    "OF_LATIN_1": os.fsdecode(b"caf\xe9"),
}


def _pipeline(tmp_path: Path, *queues: str) -> Path:
    file = tmp_path / "pipeline.toml"
    file.write_text("".join(f"[queues.{name}]\n[queues.{name}.workers]\nmemory_mib = 600\n" for name in queues))
    return file


def _overlay(tmp_path: Path, *queues: str, variables: dict[str, str] | None = None) -> dict[str, Any]:
    declared = load(_pipeline(tmp_path, *queues))
    services: dict[str, Any] = overlay.overlay(declared=declared, variables=variables or {}, pipeline=None)["services"]
    return services


def test_handlers_find_in_containers_the_variables_that_they_find_embedded() -> None:
    assert compose_variables.for_containers(OWN) == {
        "GREETING": "hello",
        "MAIL_TOKEN": "a$b${c}",
        "LOG_LEVEL": "debug",
        "WORKER_GRACE_S": "2",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("SSH_PRIVATE_KEY", "PROMPT_TEMPLATE", "APPLE_API_KEY", "GITHUB_TOKEN", "LESSON", "HISTORY_DAYS", "CIPHER"),
        *(
            "USER_AGENT",
            "HOME_PAGE",
            "TERMS_URL",
            "PYTHON_KEYRING_BACKEND",
            "GOOGLE_MAPS_KEY",
            "path_prefix",
            "TASK_TZ",
        ),
    ],
)
def test_a_name_that_only_begins_like_one_of_the_machines_is_a_handlers_own(name: str) -> None:
    assert compose_variables.for_containers({name: "x"}) == {name: "x"}


def test_a_dollar_in_a_value_stays_one(tmp_path: Path) -> None:
    services = _overlay(tmp_path, "default", variables={"MAIL_TOKEN": "a$b${c}"})
    written = services["worker-default"]["environment"]["MAIL_TOKEN"]
    assert written.replace("$$", "$") == "a$b${c}"
    assert written == "a$$b$${c}"


def test_every_part_of_the_pipeline_has_the_variables_and_the_sample_handlers(tmp_path: Path) -> None:
    services = _overlay(tmp_path, "urgent", "default", "bulk", variables={"GREETING": "hello"})
    for name in compose_file.pipeline_services(compose_file.services({})):
        assert services[name]["environment"] == {
            "GREETING": "hello",
            "TASK_HANDLERS": "worker.handlers,poolhouse.worker.samples",
        }
        assert services[name]["volumes"] == []


def test_a_queue_that_docker_compose_yml_does_not_know_has_all_of_its_worker(tmp_path: Path) -> None:
    services = _overlay(tmp_path, "default", "fresh")
    fresh = services["worker-fresh"]
    assert fresh["command"][-2:] == ["--queue", "fresh"]
    assert (fresh["mem_limit"], fresh["read_only"], fresh["restart"]) == ("600m", True, "unless-stopped")
    assert fresh["environment"]["PUBSUB_EMULATOR_HOST"] == "pubsub:8085"
    assert "image" not in services["worker-default"]
    assert services["setup"]["environment"] == {"QUEUES_WITH_WORKERS": "default,fresh", "OBJECT_EVENTS": ""}
    assert "command" not in services.get("gcs", {})


def test_storage_tells_of_the_objects_that_triggers_take(tmp_path: Path) -> None:
    path = Path(_pipeline(tmp_path, "default", "fresh"))
    path.write_text(path.read_text() + '\n[triggers.t]\nprefix = "uploads/in/"\ntask_type = "t"\nqueue = "fresh"\n')
    services = overlay.overlay(declared=load(path), variables={}, pipeline=None)["services"]
    command = services["gcs"]["command"]
    assert command[: len(compose_file.command("gcs"))] == compose_file.command("gcs")
    assert "-event.object-prefix=uploads/in/" in command
    assert any(argument.startswith("-event.pubsub-topic=") and argument.endswith("-fresh") for argument in command)
    assert services["setup"]["environment"]["OBJECT_EVENTS"] == workers.events(load(path))


def test_a_reboot_does_not_bring_back_what_ends_with_a_process(tmp_path: Path) -> None:
    declared = load(_pipeline(tmp_path, "default", "fresh"))
    services = overlay.overlay(declared=declared, variables={}, pipeline=None, attached=True)["services"]
    restarting = {name for name, entry in compose_file.services({}).items() if entry.get("restart") == "unless-stopped"}
    assert {services[name]["restart"] for name in {*restarting, "worker-fresh"}} == {"on-failure"}
    assert "restart" not in services["setup"]


@pytest.mark.parametrize("most", [0.0, 0.75, 1.0])
def test_no_container_gets_more_processors_than_the_engine_has_or_can_limit(most: float, tmp_path: Path) -> None:
    path = _pipeline(tmp_path, "default", "fresh")
    path.write_text(path.read_text().replace("memory_mib = 600", "memory_mib = 2048\ncpu = 4"))
    made = overlay.overlay(declared=load(path), variables={}, pipeline=None, most_cpus=most)["services"]
    declared = {name: entry["cpus"] for name, entry in compose_file.services({}).items() if "cpus" in entry}
    limits = {**declared, **{name: entry["cpus"] for name, entry in made.items() if "cpus" in entry}}
    assert {"setup", "scheduler", "pubsub", "worker-fresh"} <= limits.keys()
    assert max(limits.values()) == most
    assert most == 0 or "cpus" not in made.get("scheduler", {}), "what fits stays as it is"


def test_checks_are_rare_where_up_looks_for_itself(tmp_path: Path) -> None:
    services = _overlay(tmp_path, "urgent", "default", "bulk")
    checked = {name for name, entry in compose_file.services({}).items() if "healthcheck" in entry}
    assert {name for name, entry in services.items() if "healthcheck" in entry} == checked
    assert {services[name]["healthcheck"]["interval"] for name in checked} == {"30s"}


def test_a_container_can_read_what_a_strict_umask_made(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        pipeline = overlay.copy(tmp_path / "state", str(_pipeline(tmp_path, "default")))
        overlay.write(tmp_path, {"secret": "x"})
    finally:
        os.umask(before)
    assert stat.S_IMODE(pipeline.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(pipeline.stat().st_mode) == 0o644
    # It has the shell's variables in it.
    assert stat.S_IMODE((tmp_path / "compose.override.json").stat().st_mode) == 0o600


def test_the_file_fills_in_what_the_shell_leaves_unset(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("API_PORT=8090\nGREETING='hello $x'\nLOG_LEVEL=debug\nCOMPOSE_PROJECT_NAME=mine\nEMPTY\n")
    environment = {"LOG_LEVEL": "ERROR"}
    dotenv.load(environment, path=file)
    assert environment == {"API_PORT": "8090", "GREETING": "hello $x", "LOG_LEVEL": "ERROR"}
    assert dotenv.read(file)["COMPOSE_PROJECT_NAME"] == "mine"


def test_no_file_means_no_settings(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    dotenv.load(environment, path=tmp_path / ".env")
    assert environment == {}


@pytest.mark.parametrize("listed", ["worker.handlers,mine", "mine , poolhouse.worker.samples"])
def test_the_sample_handlers_are_added_once(tmp_path: Path, listed: str) -> None:
    services = _overlay(tmp_path, "default", variables={"TASK_HANDLERS": listed})
    named = services["api"]["environment"]["TASK_HANDLERS"].split(",")
    assert named.count("poolhouse.worker.samples") == 1
    assert "mine" in named


def test_spans_go_to_a_folder_that_the_console_reads_where_traces_are_on(tmp_path: Path) -> None:
    folder = overlay.make_traces_dir(tmp_path / "state")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777  # the containers' user is another one
    declared = load(_pipeline(tmp_path, "default"))
    services = overlay.overlay(declared=declared, variables={}, pipeline=None, traces=folder)["services"]
    mount = {"type": "bind", "source": str(folder), "target": "/traces", "read_only": False}
    for name in ("api", "worker-default", "dead-letters", "scheduler"):
        assert services[name]["environment"]["TRACES_DIR"] == "/traces"
        assert services[name]["volumes"] == [mount]
    assert "TRACES_DIR" not in _overlay(tmp_path, "default")["api"]["environment"]
