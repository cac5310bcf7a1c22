"""The HTTP API of the pipelines under test: one server for a session, which serves the pipeline that runs now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import TYPE_CHECKING, Any

import requests

from poolhouse.client import loopback
from poolhouse.local.processes import ports
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import QueueUnavailable, StoreUnavailable
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.messaging.pubsub_transport import Message
from poolhouse.worker.registry import Registry

if TYPE_CHECKING:
    from poolhouse.testing.local_pipeline import LocalPipeline

_TIMEOUT_S = 30.0


def submit(session: requests.Session, url: str, body: dict[str, Any]) -> str:
    """Submit a task to the API at `url`; returns its id.

    Raises:
        ServiceUnavailable: 503: the queue or the bucket did not take it.
        ValueError: any other refusal.
    """
    answer = session.post(f"{url}/tasks", json=body, timeout=_TIMEOUT_S)
    if answer.status_code == 202:
        return str(answer.json()["task_id"])
    if answer.status_code == 503:
        kind = StoreUnavailable if "storage" in answer.text else QueueUnavailable
        raise kind(f"the API answered 503: {answer.text}")
    raise ValueError(f"the API answered {answer.status_code}: {answer.text}")


class ServedApi:
    """A server that starts at the first need. Its application is the project's, as pipeline.toml names it."""

    def __init__(self, settings: Settings, *, registry: Registry) -> None:
        """Starts nothing."""
        self._settings = settings
        self._registry = registry
        self._session: requests.Session | None = None
        self._stop: Callable[[], None] = lambda: None
        self._url = ""
        #: The pipeline whose bucket, queues and clock the application sees.
        self.pipeline: LocalPipeline | None = None

    @property
    def url(self) -> str:
        """Its address."""
        if self._session is None:
            self._start()
        return self._url

    def submit(self, body: dict[str, Any]) -> str:
        """Submit a task; returns its id. Raises as `submit` of this module does."""
        url = self.url
        assert self._session is not None
        return submit(self._session, url, body)

    def close(self) -> None:
        """Stop the server."""
        if self._session is not None:
            self._session.close()
            self._session = None
            self._stop()

    def _start(self) -> None:
        import uvicorn  # noqa: PLC0415 - with the application, a third of a second: tests without HTTP don't pay for it

        from poolhouse.api import application  # noqa: PLC0415 - as above
        from poolhouse.api.app import provided  # noqa: PLC0415

        here = _Here(lambda: self.pipeline)
        token = provided.set(
            {
                "settings": self._settings,
                "store": here,
                "publisher": Publisher(self._settings, topics=_HereTopics(lambda: self.pipeline)),
                "registry": self._registry,
                "clock": here.now,
            }
        )
        try:
            app = application.load(self._settings.topology.api)
        finally:
            provided.reset(token)
        listener = ports.listen(0)
        # asyncio's own loop: for the few calls of a test uvloop's is no faster, and has to be imported.
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", http="httptools", loop="asyncio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="pipeline-api", daemon=True)
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join(_TIMEOUT_S)
            listener.close()

        self._stop = stop
        self._url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._session = loopback.session()


class _Here:
    """`ObjectStore` and clock of the pipeline that runs now."""

    def __init__(self, pipeline: Callable[[], LocalPipeline | None]) -> None:
        self._pipeline = pipeline

    def now(self) -> datetime:
        return _running(self._pipeline()).clock.now()

    def __getattr__(self, name: str) -> Any:
        return getattr(_running(self._pipeline()).api_store, name)


class _HereTopics:
    """`Topics` of the pipeline that runs now."""

    def __init__(self, pipeline: Callable[[], LocalPipeline | None]) -> None:
        self._pipeline = pipeline

    def publish(self, topic: str, messages: Sequence[Message], *, timeout_s: float) -> Future[Sequence[str]]:
        return _running(self._pipeline()).api_topics.publish(topic, messages, timeout_s=timeout_s)

    def check(self, topic: str, *, timeout_s: float) -> None:
        _running(self._pipeline()).api_topics.check(topic, timeout_s=timeout_s)

    def close(self) -> None:
        return


def _running(pipeline: LocalPipeline | None) -> LocalPipeline:
    if pipeline is None:
        raise QueueUnavailable("no test with the fixture pipeline runs now")
    return pipeline
