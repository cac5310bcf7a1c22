"""The event that follows the end of a task: whose webhook it is, where it goes, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from poolhouse import Payload, TaskContext, Webhook, task
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.webhook_options import Webhooks
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.webhooks.events import WEBHOOK, CompletionEvents
from poolhouse.worker.registry import Registry, load
from poolhouse.worker.webhooks.delivery import check_secret, handler
from tests.kit.push_endpoint import open_endpoint
from tests.kit.unit.worker.conftest import Engine, FakeDelivery

OPTIONS = Webhooks(secret="WEBHOOK_SECRET", queue="urgent", allow_private=True)
TYPED = "https://typed.test/"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine whose pipeline has webhooks; `once` has one of its own, for deaths."""
    monkeypatch.setenv("WEBHOOK_SECRET", "whsec_" + "A" * 32)
    built = Engine()
    registry = Registry([*load(["tests.kit.unit.worker.handlers"]).values(), handler(OPTIONS)])
    plain = built.services
    monkeypatch.setattr(built, "services", lambda: replace(plain(), registry=registry))
    by_type = {"once": Webhook(url=TYPED, on=("dead",)), "echo": Webhook(url=TYPED, on=("dead",))}
    built.after_end = (CompletionEvents(OPTIONS, by_type=by_type, task_ids=lambda: built.task_ids),)
    built.attempts = built.another("worker-1")
    yield built
    built.executor.stop()
    built.heartbeat.stop()


def following(engine: Engine) -> list[tuple[str, FakeDelivery]]:
    return [
        (
            published.topic,
            FakeDelivery(
                data=published.message.data,
                attributes=published.message.attributes,
                published_at=engine.clock.now,
                queue="urgent",
            ),
        )
        for published in engine.topics.published
        if not published.topic.endswith("dead-letters")
    ]


def submitted(engine: Engine, task_type: str, task_id: str, url: str | None = None) -> FakeDelivery:
    delivery = engine.task(task_type, task_id)
    if url is not None:
        delivery.attributes = {**delivery.attributes, "webhook_url": url}
    return delivery


def test_the_webhook_of_a_type_is_for_the_ends_that_it_names_and_that_of_a_submit_comes_before_it(
    engine: Engine,
) -> None:
    engine.attempts.process(submitted(engine, "echo", "t-1"))
    assert following(engine) == []
    engine.attempts.process(submitted(engine, "once", "t-2"))
    engine.attempts.process(submitted(engine, "once", "t-3", "https://own.test/"))
    sent = [(topic, delivery.data.decode()) for topic, delivery in following(engine)]
    assert [topic for topic, _ in sent] == ["poolhouse-urgent"] * 2
    assert TYPED in sent[0][1]
    assert "https://own.test/" in sent[1][1]
    assert TYPED not in sent[1][1]


def test_a_plain_task_costs_what_it_did_and_one_with_a_webhook_the_two_writes_of_its_delivery(engine: Engine) -> None:
    engine.attempts.process(submitted(engine, "echo", "t-1"))
    assert (len(engine.store.writes), following(engine)) == (2, [])
    with open_endpoint() as receiver:
        engine.attempts.process(submitted(engine, "echo", "t-2", receiver.url))
        assert len(engine.store.writes) == 4
        [(_, delivery)] = following(engine)
        engine.attempts.process(delivery)
        assert len(receiver.requests) == 1
    assert delivery.ended == ["ack"]
    assert len(engine.store.writes) == 6


def test_the_end_of_a_delivery_is_not_told_to_anyone(engine: Engine) -> None:
    with open_endpoint() as receiver:
        engine.attempts.process(submitted(engine, "echo", "t-1", receiver.url))
        [(_, delivery)] = following(engine)
        engine.attempts.process(delivery)
    assert engine.record(delivery.attributes["task_id"]).task_type == WEBHOOK
    assert len(following(engine)) == 1


def test_a_url_in_a_message_published_by_hand_is_checked(engine: Engine) -> None:
    engine.attempts.process(submitted(engine, "echo", "t-1", "gopher://old.test/"))
    [letter] = engine.dead_letters
    assert "webhook_url must be a URL" in str(letter)


class Empty(Payload):
    pass


@task("told", on_complete=Webhook(url="http://shop.example/hooks"))
def told(payload: Empty, ctx: TaskContext) -> None: ...


def test_a_webhook_of_a_type_that_can_not_be_sent_is_an_error_with_its_place() -> None:
    registry = Registry(told.__poolhouse_handlers__)  # type: ignore[attr-defined]
    without = topology.parse("[queues.default]\n")
    with pytest.raises(ConfigError, match=r"test_events\.py:\d+: on_complete: pipeline.toml declares no \[webhooks\]"):
        registry.check_queues(without, declared_in="pipeline.toml")
    declared = topology.parse('[queues.default]\n[secrets]\nS = "latest"\n[webhooks]\nsecret = "S"\n')
    with pytest.raises(ConfigError, match=r"test_events\.py:\d+: on_complete: the URL must begin with https://"):
        registry.check_queues(declared, declared_in="pipeline.toml")


@pytest.mark.parametrize("url", ["shop.example", "https://user@shop.example/"])
def test_a_url_that_can_not_be_is_an_error_where_it_is_written(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Webhook(url=url)


@pytest.mark.parametrize(
    ("secret", "told"),
    [("", "is empty"), ("hunter2", "is no secret"), ("whsec_aGk=", "has 2 bytes"), (None, "is empty")],
)
def test_a_worker_of_deliveries_does_not_start_without_a_secret(
    monkeypatch: pytest.MonkeyPatch, secret: str | None, told: str
) -> None:
    declared = topology.parse("""
        [secrets]
        WEBHOOK_SECRET = "latest"
        [webhooks]
        secret = "WEBHOOK_SECRET"
        queue = "urgent"
        [queues.default]
        [queues.urgent]
    """)
    monkeypatch.setenv("WEBHOOK_SECRET", "whsec_" + "A" * 32)
    check_secret(declared, queues=["urgent"])
    if secret is None:
        monkeypatch.delenv("WEBHOOK_SECRET")
    else:
        monkeypatch.setenv("WEBHOOK_SECRET", secret)
    with pytest.raises(ConfigError, match=rf"WEBHOOK_SECRET, .*{told}.*whsec_ and 24 to 64 random bytes in base64"):
        check_secret(declared, queues=["default", "urgent"])
    check_secret(declared, queues=["default"])
    check_secret(declared, queues=[])
