"""The fixtures that users get."""

from __future__ import annotations

import pytest
from google.cloud import pubsub_v1

from poolhouse.local.provision import realise
from poolhouse.local.storage.fake_gcs import FakeGcs
from poolhouse.local.storage.proxy import FaultProxy
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import PreconditionFailed
from poolhouse.pipeline.store import ABSENT, open_store
from poolhouse_pubsub.server import EmulatorServer


def test_each_test_has_a_project_and_a_bucket_of_its_own(
    poolhouse_settings: Settings, poolhouse_emulator: EmulatorServer, fake_gcs: FakeGcs
) -> None:
    open_store(poolhouse_settings).put("config/probe", b"here", content_type="text/plain")
    assert fake_gcs.list(poolhouse_settings.bucket_name) == ["config/probe"]
    with pubsub_v1.SubscriberClient() as subscriber:
        found = subscriber.list_subscriptions(project=f"projects/{poolhouse_settings.google_cloud_project}")
        names = {subscription.name.rpartition("/")[2] for subscription in found}
    queues = poolhouse_settings.topology.queues
    assert names == {name for queue in queues for name in (queue.subscription, queue.dead_letter_subscription)}
    assert poolhouse_emulator.address


def test_the_topology_is_what_pipeline_toml_says_and_making_it_again_changes_nothing(
    poolhouse_settings: Settings,
) -> None:
    changes = realise(poolhouse_settings)
    assert (changes.created, changes.updated) == ((), ())
    with pubsub_v1.SubscriberClient() as subscriber:
        for queue in poolhouse_settings.topology.queues:
            path = f"projects/{poolhouse_settings.google_cloud_project}/subscriptions/{queue.subscription}"
            found = subscriber.get_subscription(subscription=path)
            assert found.ack_deadline_seconds == queue.ack_deadline_s
            assert found.retry_policy.minimum_backoff.total_seconds() == queue.retry_min_backoff_s
            assert found.retry_policy.maximum_backoff.total_seconds() == queue.retry_max_backoff_s
            assert found.message_retention_duration.total_seconds() == queue.retention_s
            assert found.dead_letter_policy.max_delivery_attempts == queue.max_delivery_attempts
            assert found.dead_letter_policy.dead_letter_topic.endswith(f"/{queue.dead_letter_topic}")
            assert "expiration_policy" in found
            assert not found.expiration_policy.ttl


def test_what_differs_from_pipeline_toml_is_brought_up_to_date(poolhouse_settings: Settings) -> None:
    queue = poolhouse_settings.topology.default_queue
    path = f"projects/{poolhouse_settings.google_cloud_project}/subscriptions/{queue.subscription}"
    with pubsub_v1.SubscriberClient() as subscriber:
        changed = pubsub_v1.types.Subscription(name=path, ack_deadline_seconds=599)
        subscriber.update_subscription(
            request={"subscription": changed, "update_mask": {"paths": ["ack_deadline_seconds"]}}
        )
        assert realise(poolhouse_settings).updated == (queue.subscription,)
        assert subscriber.get_subscription(subscription=path).ack_deadline_seconds == queue.ack_deadline_s


def test_storage_fails_as_a_test_says(storage_proxy: FaultProxy, poolhouse_settings: Settings) -> None:
    fault = storage_proxy.faults.add("lose_answer", methods=("POST",), count=1)
    with pytest.raises(PreconditionFailed):
        open_store(poolhouse_settings).put("config/probe", b"here", if_generation=ABSENT)
    assert fault.happened == 1
