"""A Subscription resource: checked, filled with the service's defaults, and turned into delivery rules."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Any

from poolhouse_pubsub import limits, names, protos
from poolhouse_pubsub.core.filters import FilterError, parse_filter
from poolhouse_pubsub.core.rules import DEFAULT_ACK_DEADLINE_S, DEFAULT_ATTEMPTS, DEFAULT_RETENTION_S, Backoff, Rules
from poolhouse_pubsub.core.topic import Topic
from poolhouse_pubsub.service.export_config import complete_exports
from poolhouse_pubsub.service.tags import check_tags
from poolhouse_pubsub.service.transform_config import check_transforms
from poolhouse_pubsub.status import Code, StatusError, invalid, not_found
from poolhouse_pubsub.transforms import Models, compile_transforms

#: Fields that UpdateSubscription may change.
MUTABLE = frozenset(
    {
        "ack_deadline_seconds",
        "retain_acked_messages",
        "message_retention_duration",
        "labels",
        "expiration_policy",
        "dead_letter_policy",
        "retry_policy",
        "push_config",
        "bigquery_config",
        "cloud_storage_config",
        "bigtable_config",
        "enable_exactly_once_delivery",
        "message_transforms",
    }
)

#: Fields that make an export subscription.
EXPORTS = ("bigquery_config", "cloud_storage_config", "bigtable_config")

_ACTIVE = protos.Subscription.State.Value("ACTIVE")
_PUSH_VERSIONS = ("v1", "v1beta2", "v1beta1")


def complete(config: Any, *, topics: Mapping[str, Topic], models: Models, before: Any = None) -> None:
    """Check a Subscription and fill in what the service fills in.

    Args:
        config: The Subscription, changed in place.
        topics: The topics that there are.
        models: What stands in for models of AI inference.
        before: What it was, at an update: a dead-letter topic that was deleted since does not hinder other changes.

    Raises:
        StatusError: INVALID_ARGUMENT, OUT_OF_RANGE, or NOT_FOUND for a dead-letter topic that is not there.
    """
    config.ack_deadline_seconds = config.ack_deadline_seconds or DEFAULT_ACK_DEADLINE_S
    limits.within(config.ack_deadline_seconds, limits.ACK_DEADLINE_S, "ack_deadline_seconds")
    if config.HasField("message_retention_duration"):
        retention_s = limits.seconds(config.message_retention_duration, "message_retention_duration")
        limits.within(retention_s, limits.RETENTION_S, "message_retention_duration")
    else:
        config.message_retention_duration.seconds = DEFAULT_RETENTION_S
    limits.check_labels(config.labels)
    _complete_expiration(config)
    _complete_retry(config)
    _complete_dead_letter(config, topics, before)
    _check_delivery(config)
    complete_exports(config)
    check_transforms(config.message_transforms, models)
    # Output only, whatever a request says; tags are input only.
    check_tags(config.tags)
    config.state = _ACTIVE
    config.ClearField("tags")
    config.ClearField("analytics_hub_subscription_info")
    config.ClearField("topic_message_retention_duration")


def _complete_expiration(config: Any) -> None:
    if not config.HasField("expiration_policy"):
        config.expiration_policy.ttl.seconds = limits.EXPIRATION_DEFAULT_S
    elif config.expiration_policy.HasField("ttl"):
        ttl_s = limits.seconds(config.expiration_policy.ttl, "expiration_policy.ttl")
        limits.within(ttl_s, limits.EXPIRATION_S, "expiration_policy.ttl")


def _complete_retry(config: Any) -> None:
    if not config.HasField("retry_policy"):
        return
    policy, defaults = config.retry_policy, Backoff()
    if not policy.HasField("minimum_backoff"):
        policy.minimum_backoff.seconds = int(defaults.min_s)
    if not policy.HasField("maximum_backoff"):
        policy.maximum_backoff.seconds = int(defaults.max_s)
    least = limits.seconds(policy.minimum_backoff, "retry_policy.minimum_backoff")
    most = limits.seconds(policy.maximum_backoff, "retry_policy.maximum_backoff")
    limits.within(least, limits.BACKOFF_S, "retry_policy.minimum_backoff")
    limits.within(most, limits.BACKOFF_S, "retry_policy.maximum_backoff")
    if most < least:
        raise invalid(
            f"Invalid retry_policy: maximum_backoff ({most:g} s) must not be below minimum_backoff ({least:g} s)."
        )


def _complete_dead_letter(config: Any, topics: Mapping[str, Topic], before: Any) -> None:
    if not config.HasField("dead_letter_policy"):
        return
    policy = config.dead_letter_policy
    names.check(policy.dead_letter_topic, "topics")
    is_old = before is not None and before.dead_letter_policy.dead_letter_topic == policy.dead_letter_topic
    if policy.dead_letter_topic not in topics and not is_old:
        raise not_found(policy.dead_letter_topic)
    policy.max_delivery_attempts = policy.max_delivery_attempts or DEFAULT_ATTEMPTS
    least, most = limits.ATTEMPTS
    if not least <= policy.max_delivery_attempts <= most:
        raise StatusError(
            Code.OUT_OF_RANGE,
            f"Invalid dead_letter_policy: {policy.max_delivery_attempts} attempts; there are {least} to {most}.",
        )


def _check_delivery(config: Any) -> None:
    ways = _deliveries(config)
    if len(ways) > 1:
        raise invalid(f"At most one of push_config and the export configs may be set; found {' and '.join(ways)}.")
    check_push(config.push_config)


def _deliveries(config: Any) -> list[str]:
    ways = [field for field in EXPORTS if config.HasField(field)]
    return ["push_config", *ways] if config.push_config.push_endpoint else ways


def delivery_of(config: Any) -> str | None:
    """Return the field that says where the service itself delivers the messages to; None for a pull subscription."""
    return next(iter(_deliveries(config)), None)


def check_push(push: Any) -> None:
    """Check a PushConfig; an empty one means pull.

    The comment of PushConfig.attributes promises that `x-goog-version` is always returned. Google's integration tests
    expect none where none was set, so nothing is filled in.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    endpoint = push.push_endpoint
    if not endpoint:
        return
    try:
        url = urllib.parse.urlsplit(endpoint)
        fine = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        fine = False
    if not fine:
        raise invalid(f"Unsupported push_endpoint: {endpoint[:300]!r}; it is an http or https URL.")
    version = push.attributes.get("x-goog-version", _PUSH_VERSIONS[0])
    if version not in _PUSH_VERSIONS:
        raise invalid(f"Invalid push_config.attributes: x-goog-version is one of {', '.join(_PUSH_VERSIONS)}.")


def rules_of(config: Any, *, models: Models) -> Rules:
    """Return the delivery rules of a complete Subscription.

    Args:
        config: The Subscription.
        models: What stands in for models of AI inference.

    Raises:
        StatusError: INVALID_ARGUMENT for a filter that is too long or can't be parsed.
    """
    chosen = None
    if config.filter:
        try:
            chosen = parse_filter(config.filter)
        except FilterError as error:
            raise invalid(f"Invalid filter: {error}") from None
    backoff = None
    if config.HasField("retry_policy"):
        policy = config.retry_policy
        backoff = Backoff(min_s=_seconds(policy.minimum_backoff), max_s=_seconds(policy.maximum_backoff))
    dead = config.dead_letter_policy if config.HasField("dead_letter_policy") else None
    ttl = config.expiration_policy
    return Rules(
        ack_deadline_s=config.ack_deadline_seconds,
        ordered=config.enable_message_ordering,
        exactly_once=config.enable_exactly_once_delivery,
        backoff=backoff,
        dead_letter_topic=dead.dead_letter_topic if dead is not None else None,
        max_attempts=dead.max_delivery_attempts if dead is not None else DEFAULT_ATTEMPTS,
        retention_s=_seconds(config.message_retention_duration),
        retain_acked=config.retain_acked_messages,
        expires_after_s=_seconds(ttl.ttl) if ttl.HasField("ttl") else None,
        filter=chosen,
        transforms=compile_transforms(config.message_transforms, models) or None if config.message_transforms else None,
    )


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def shown(config: Any, topic: Topic | None) -> Any:
    """Return the Subscription as Get and List answer it: with its topic's present retention."""
    answer = protos.Subscription()
    answer.CopyFrom(config)
    if topic is not None and topic.config.HasField("message_retention_duration"):
        answer.topic_message_retention_duration.CopyFrom(topic.config.message_retention_duration)
    return answer
