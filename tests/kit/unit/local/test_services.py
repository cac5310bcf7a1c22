from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from poolhouse.local.backend import Endpoints, UpOptions
from poolhouse.local.embedded import instance
from poolhouse.local.embedded import specs as services
from poolhouse.local.embedded.supervisor import Config
from poolhouse.pipeline.config.topology import parse
from poolhouse.pipeline.errors import ConfigError

ENDPOINTS = Endpoints(
    api_url="http://127.0.0.1:8080",
    pubsub_host="127.0.0.1:20001",
    storage_url="http://127.0.0.1:20002",
    project="poolhouse-x",
    bucket="poolhouse-local-x",
)


def test_the_stack_decides_addresses_and_names_and_the_user_the_rest() -> None:
    own = {"GOOGLE_CLOUD_PROJECT": "production", "BUCKET_NAME": "production", "LOG_LEVEL": "DEBUG", "MINE": "kept"}
    made = services.variables(ENDPOINTS, own)
    assert (made["GOOGLE_CLOUD_PROJECT"], made["BUCKET_NAME"]) == ("poolhouse-x", "poolhouse-local-x")
    assert (made["PUBSUB_EMULATOR_HOST"], made["STORAGE_EMULATOR_HOST"]) == (
        "127.0.0.1:20001",
        "http://127.0.0.1:20002",
    )
    assert made["LOG_LEVEL"] == "DEBUG"
    assert made["MINE"] == "kept"


@pytest.mark.parametrize(
    ("own", "handlers"),
    [
        ({}, "worker.handlers,poolhouse.worker.samples"),
        ({"TASK_HANDLERS": "mine, yours"}, "mine,yours,poolhouse.worker.samples"),
        ({"TASK_HANDLERS": "poolhouse.worker.samples"}, "poolhouse.worker.samples"),
    ],
)
def test_the_sample_handlers_are_loaded_beside_the_projects_own(own: dict[str, str], handlers: str) -> None:
    assert services.variables(ENDPOINTS, own)["TASK_HANDLERS"] == handlers


def test_a_worker_gets_its_grace_period_and_some_more_to_stop(tmp_path: Path) -> None:
    declared = parse("[queues.default]")
    specs = services.specs(ENDPOINTS, declared=declared, data=tmp_path, listener=7, own={"WORKER_GRACE_S": "30"})
    assert specs["worker"].stop_timeout_s == 30 + services.STOP_MARGIN_S


def test_pauses_before_a_new_start_double_up_to_the_longest() -> None:
    assert [instance.pause_s(deaths) for deaths in (1, 2, 3, 6)] == [0.2, 0.4, 0.8, 6.4]
    assert instance.pause_s(7) == instance.pause_s(10_000) == instance.LONGEST_PAUSE_S


def test_the_supervisors_configuration_survives_its_command_line(tmp_path: Path) -> None:
    config = Config(state_dir=tmp_path, options=UpOptions(api_port=1, workers=3, environment={"A": "ä b"}))
    assert Config.read(config.write()) == config


@pytest.mark.parametrize(
    ("own", "given"),
    [
        ({}, "INFO"),
        ({"LOG_LEVEL": "ERROR"}, "INFO"),
        ({"LOG_LEVEL": "DEBUG"}, "DEBUG"),
        ({"LOG_LEVEL": "debug"}, "DEBUG"),
    ],
)
def test_the_lines_that_report_readiness_are_always_logged(own: dict[str, str], given: str) -> None:
    assert services.variables(ENDPOINTS, own)["LOG_LEVEL"] == given


def test_another_program_at_the_port_is_not_taken_for_the_service(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        await writer.drain()
        await reader.read()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        ready = services.HttpReady(server.sockets[0].getsockname()[1], "/", binds=True)
        async with server, asyncio.timeout(20):
            await ready.wait(tmp_path / "log", 0, pid=os.getpid())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ready.wait(tmp_path / "log", 0, pid=os.getppid()), 0.5)

    asyncio.run(run())


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e9"])
def test_a_grace_period_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="WORKER_GRACE_S"):
        services.grace_s({"WORKER_GRACE_S": text})
