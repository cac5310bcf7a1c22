"""What pipelines of a test session share: servers, connections, registries and the API."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.store import GcsStore, ObjectStore
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.testing.broker import DirectBroker, Emulation, GrpcBroker
from poolhouse.testing.doubles import MemoryStore
from poolhouse.testing.local_pipeline import LocalPipeline
from poolhouse.testing.served_api import ServedApi
from poolhouse.worker import registry as handlers
from poolhouse.worker.registry import Registry

if TYPE_CHECKING:
    from poolhouse.local.storage.fake_gcs import FakeGcs

#: The project of every test; the emulator is emptied in between.
PROJECT = "poolhouse-test"
#: The bucket that settings name; on servers, each test has one of its own.
BUCKET = "poolhouse-test"


class Level:
    """The level `inline`: the emulator's state machine and a bucket in memory, in the calling thread. Close it."""

    over_http = False

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._task_ids = TaskIds(secrets.token_bytes(32))
        self._projects: dict[tuple[str, tuple[str, ...]], tuple[Settings, Registry, ServedApi]] = {}
        self.broker, self.emulation = self._connect()

    def _connect(self) -> tuple[DirectBroker | GrpcBroker, Emulation]:
        broker = DirectBroker(project=PROJECT)
        return broker, broker.emulation

    def environment(self) -> dict[str, str]:
        """The variables under which other clients, such as those of handlers, find the servers."""
        return {"GOOGLE_CLOUD_PROJECT": PROJECT, "BUCKET_NAME": BUCKET}

    def new_store(self, now: Callable[[], datetime]) -> ObjectStore:
        """Return an empty bucket."""
        # As in Cloud Storage, a number of microseconds: the tasks of triggers have their time from it.
        return MemoryStore(now=now, generation=int(now().timestamp() * 1_000_000))

    def open(self, *, pipeline_file: str, modules: tuple[str, ...]) -> LocalPipeline:
        """Begin a test. Raises `ConfigError` where `pipeline_file` or a handler is wrong."""
        key = (pipeline_file, modules)
        if key not in self._projects:
            settings = Settings(
                google_cloud_project=PROJECT, bucket_name=BUCKET, pipeline_file=pipeline_file, task_handlers=modules
            )
            registry = handlers.load(settings.handlers)
            registry.check_queues(settings.topology, declared_in=pipeline_file)
            if modules:  # schedules and triggers of the project's other handlers are not this test's
                declared = settings.topology
                own = {
                    "schedules": tuple(each for each in declared.schedules if each.task_type in registry),
                    "triggers": tuple(each for each in declared.triggers if each.task_type in registry),
                }
                vars(settings)["topology"] = declared.model_copy(update=own)
            api = ServedApi(settings, registry=registry)
            self._stack.callback(api.close)
            self._projects[key] = (settings, registry, api)
        settings, registry, api = self._projects[key]
        api.pipeline = LocalPipeline(
            settings,
            registry=registry,
            task_ids=self._task_ids,
            broker=self.broker,
            emulation=self.emulation,
            new_store=self.new_store,
            api=api,
            over_http=self.over_http,
        )
        return api.pipeline

    def close(self) -> None:
        """End everything."""
        self._stack.close()


class ServerLevel(Level):
    """The level `in-process`: the emulator and the API as servers in this process, and fake-gcs-server beside it."""

    over_http = True

    def _connect(self) -> tuple[DirectBroker | GrpcBroker, Emulation]:
        import pytest  # noqa: PLC0415 - for its patch alone

        from poolhouse.local.storage.fake_gcs import FakeGcs  # noqa: PLC0415 - the level `inline` needs no servers
        from poolhouse.testing.servers import storage_server  # noqa: PLC0415
        from poolhouse_pubsub.core.clock import Clock  # noqa: PLC0415
        from poolhouse_pubsub.server import EmulatorServer  # noqa: PLC0415

        server = self._stack.enter_context(EmulatorServer(clock=Clock(manual=True), project=PROJECT, seed=0))
        self._storage_url = self._stack.enter_context(storage_server())
        self._pubsub_host = server.address
        self._admin: FakeGcs = FakeGcs(self._storage_url)
        self._stack.callback(self._admin.close)
        self._bucket = BUCKET
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment().items():
                patch.setenv(name, value)
            broker = GrpcBroker(project=PROJECT, server=server)
        self._stack.callback(broker.close)
        return broker, broker.emulation

    def environment(self) -> dict[str, str]:
        return {
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "BUCKET_NAME": self._bucket,
            "PUBSUB_EMULATOR_HOST": self._pubsub_host,
            "STORAGE_EMULATOR_HOST": self._storage_url,
        }

    def new_store(self, now: Callable[[], datetime]) -> ObjectStore:
        import os  # noqa: PLC0415

        self._bucket = f"test-{secrets.token_hex(6)}"
        os.environ.update(self.environment())
        self._admin.create_bucket(self._bucket, project=PROJECT)
        return GcsStore(self._bucket, project=PROJECT)
