"""google.pubsub.v1.Publisher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poolhouse_pubsub import limits, names, protos
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.topic import Topic
from poolhouse_pubsub.service import masks, paging, topic_config
from poolhouse_pubsub.service.quota import limit_project
from poolhouse_pubsub.service.schemas import Schemas
from poolhouse_pubsub.status import Reason, already_exists, invalid, not_found
from poolhouse_pubsub.transforms import TransformError, compile_transforms


class Publisher:
    """The RPCs on topics.

    Args:
        emulator: The state.
        schemas: The schemas that topics may name.
    """

    def __init__(self, emulator: Emulator, schemas: Schemas) -> None:
        self._emulator = emulator
        self._schemas = schemas

    def _topic(self, name: str) -> Topic:
        topic = self._emulator.topics.get(name)
        if topic is None:
            names.check(name, "topics")
            raise not_found(name)
        return topic

    def create_topic(self, request: Any) -> Any:
        """CreateTopic."""
        emulator = self._emulator
        names.check(request.name, "topics")
        if request.name in emulator.topics:
            raise already_exists(request.name)
        topic_config.complete(request, schemas=self._schemas, models=emulator.models)
        limit_project(emulator.topics, names.project_of(request.name), limits.TOPICS, "topics")
        emulator.create_topic(request)
        emulator.commit()
        return request

    def get_topic(self, request: Any) -> Any:
        """GetTopic."""
        return self._topic(request.topic).config

    def update_topic(self, request: Any) -> Any:
        """UpdateTopic."""
        topic = self._topic(request.topic.name)
        config = protos.Topic()
        config.CopyFrom(topic.config)
        masks.apply(config, request.topic, request.update_mask.paths, mutable=topic_config.MUTABLE)
        topic_config.complete(config, schemas=self._schemas, models=self._emulator.models, before=topic.config)
        topic.config = config
        topic.transforms = None
        self._emulator.save_topic(topic)
        self._emulator.commit()
        return config

    def delete_topic(self, request: Any) -> Any:
        """DeleteTopic."""
        self._emulator.delete_topic(self._topic(request.topic))
        return protos.Empty()

    def list_topics(self, request: Any) -> Any:
        """ListTopics."""
        prefix = names.check_project(request.project) + "/"
        topics = self._emulator.topics
        chosen, token = paging.page(
            (name for name in topics if name.startswith(prefix)), size=request.page_size, token=request.page_token
        )
        return protos.ListTopicsResponse(topics=[topics[name].config for name in chosen], next_page_token=token)

    def list_topic_subscriptions(self, request: Any) -> Any:
        """ListTopicSubscriptions."""
        topic = self._topic(request.topic)
        chosen, token = paging.page(topic.subscriptions, size=request.page_size, token=request.page_token)
        return protos.ListTopicSubscriptionsResponse(subscriptions=chosen, next_page_token=token)

    def list_topic_snapshots(self, request: Any) -> Any:
        """ListTopicSnapshots."""
        topic = self._topic(request.topic)
        chosen, token = paging.page(topic.snapshots, size=request.page_size, token=request.page_token)
        return protos.ListTopicSnapshotsResponse(snapshots=chosen, next_page_token=token)

    def publish(self, request: Any) -> Any:
        """Publish."""
        topic = self._topic(request.topic)
        messages = request.messages
        limits.check_messages(messages)
        if not topic.config.message_transforms:
            return protos.PublishResponse(message_ids=self._take(topic, messages))
        goes_on = self._transform(topic, messages)
        kept = [message for message, stays in zip(messages, goes_on, strict=True) if stays]
        ids = iter(self._take(topic, kept) if kept else ())
        return protos.PublishResponse(
            message_ids=[next(ids) if stays else self._emulator.new_message_id() for stays in goes_on]
        )

    def _take(self, topic: Topic, messages: Sequence[Any]) -> list[str]:
        # The schema is that of what subscribers get: of what the transforms made (SMTs overview).
        if topic.config.HasField("schema_settings"):
            self._schemas.check_messages(topic.config.schema_settings, messages)
        return self._emulator.publish(topic, messages)

    def _transform(self, topic: Topic, messages: Sequence[Any]) -> list[bool]:
        """Transform messages in place, and return for each whether it goes on.

        One that is filtered out gets an id like any other, and is delivered to no subscription. One that fails makes
        the whole Publish fail (SMTs overview).

        Raises:
            StatusError: INVALID_ARGUMENT.
        """
        if topic.transforms is None:
            topic.transforms = compile_transforms(topic.config.message_transforms, self._emulator.models)
        goes_on = []
        for number, message in enumerate(messages):
            try:
                goes_on.append(topic.transforms.apply(message, published=False))
            except TransformError as error:
                raise invalid(f"Message {number} can't be transformed: {error}.", reason=Reason.TRANSFORM) from None
        kept = [message for message, stays in zip(messages, goes_on, strict=True) if stays]
        if kept:
            limits.check_size(sum(message.ByteSize() for message in kept), limits.PUBLISH_BYTES)
            limits.check_messages(kept)
        return goes_on

    def detach_subscription(self, request: Any) -> Any:
        """DetachSubscription."""
        subscription = self._emulator.subscriptions.get(request.subscription)
        if subscription is None:
            names.check(request.subscription, "subscriptions")
            raise not_found(request.subscription)
        self._emulator.detach_subscription(subscription)
        return protos.DetachSubscriptionResponse()
