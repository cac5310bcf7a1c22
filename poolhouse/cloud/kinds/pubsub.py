"""Queues: topics, subscriptions and their dead letters."""

from __future__ import annotations

from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, command, entry, flag, pairs
from poolhouse.pipeline.config.queue import Queue, Tier

TOPICS = Read(arguments=("pubsub", "topics", "list"), api="pubsub.googleapis.com")
SUBSCRIPTIONS = Read(arguments=("pubsub", "subscriptions", "list"), api="pubsub.googleapis.com")
#: A dead letter is kept as an object within seconds; with the longest retention there is, should that stop working.
DEAD_LETTER_RETENTION_S = 2_678_400
#: The dead-letter worker only copies messages to the bucket.
DEAD_LETTER_ACK_DEADLINE_S = 60


def topic(name: str, *, options: Options) -> Resource:
    """A topic."""

    def observe(raw: Json) -> Fields | None:
        found = entry(raw, "name", name)
        if found is None:
            return None
        # Retention of a topic is billed, and no subscription of ours reads what it keeps.
        return {
            "retention": found.get("messageRetentionDuration"),
            # One that was given by hand stays: a topic can change its key and not lose it.
            **({"kms_key": found.get("kmsKeyName")} if options.kms_key else {}),
            **_labels(found, options),
        }

    key = (flag("topic-encryption-key", options.kms_key),) if options.kms_key else ()
    labels = pairs(options.labels)

    def update(raw: Json) -> tuple[Command, ...]:
        kept = (entry(raw, "name", name) or {}).get("messageRetentionDuration")
        clear = ("--clear-message-retention-duration",) if kept else ()
        return (command("pubsub", "topics", "update", name, flag("update-labels", labels), *key, *clear),)

    return Resource(
        kind="topic",
        name=name,
        wanted={
            **({"kms_key": options.kms_key} if options.kms_key else {}),
            **_labels({"labels": options.labels}, options),
        },
        read=TOPICS,
        observe=observe,
        create=(command("pubsub", "topics", "create", name, flag("labels", labels), *key),),
        update=update,
        after=(f"apis/{options.project}",),
    )


def work_subscription(queue: Queue, tier: Tier, *, options: Options) -> Resource:
    """A subscription that a queue's workers pull."""
    return _subscription(
        tier.subscription,
        options=options,
        wanted={
            "topic": tier.topic,
            "ack_deadline_s": queue.ack_deadline_s,
            "retry_min_backoff_s": float(queue.retry_min_backoff_s),
            "retry_max_backoff_s": float(queue.retry_max_backoff_s),
            "retention_s": queue.retention_s,
            "exactly_once": queue.exactly_once,
            "dead_letter_topic": queue.dead_letter_topic,
            "max_delivery_attempts": queue.max_delivery_attempts,
        },
    )


def dead_letter_subscription(queue: Queue, *, options: Options) -> Resource:
    """The subscription without which a dead-letter topic would drop what it gets."""
    return _subscription(
        queue.dead_letter_subscription,
        options=options,
        wanted={
            "topic": queue.dead_letter_topic,
            "ack_deadline_s": DEAD_LETTER_ACK_DEADLINE_S,
            "retry_min_backoff_s": 10.0,
            "retry_max_backoff_s": 600.0,
            "retention_s": DEAD_LETTER_RETENTION_S,
            "exactly_once": False,
            "dead_letter_topic": None,
            "max_delivery_attempts": None,
        },
    )


def _subscription(name: str, *, options: Options, wanted: Fields) -> Resource:
    wanted = {**wanted, "expires": False, **_labels({"labels": options.labels}, options)}
    dead_letters = wanted["dead_letter_topic"]
    exactly_once = bool(wanted["exactly_once"])
    mutable = [
        flag("ack-deadline", wanted["ack_deadline_s"]),
        flag("min-retry-delay", f"{wanted['retry_min_backoff_s']:g}s"),
        flag("max-retry-delay", f"{wanted['retry_max_backoff_s']:g}s"),
        flag("message-retention-duration", f"{wanted['retention_s']}s"),
        "--expiration-period=never",
    ]
    if dead_letters:
        mutable.append(flag("dead-letter-topic", dead_letters))
        mutable.append(flag("max-delivery-attempts", wanted["max_delivery_attempts"]))
    create = [
        *mutable,
        flag("labels", pairs(options.labels)),
        *(["--enable-exactly-once-delivery"] if exactly_once else []),
    ]
    change = [
        *mutable,
        flag("update-labels", pairs(options.labels)),
        "--enable-exactly-once-delivery" if exactly_once else "--no-enable-exactly-once-delivery",
    ]

    def observe(raw: Json) -> Fields | None:
        found = entry(raw, "name", name)
        if found is None:
            return None
        policy, retry = found.get("deadLetterPolicy", {}), found.get("retryPolicy", {})
        return {
            "topic": _last(found.get("topic")),
            "ack_deadline_s": found.get("ackDeadlineSeconds", 10),
            "retry_min_backoff_s": _seconds(retry.get("minimumBackoff")),
            "retry_max_backoff_s": _seconds(retry.get("maximumBackoff")),
            "retention_s": int(_seconds(found.get("messageRetentionDuration")) or 0),
            "exactly_once": bool(found.get("enableExactlyOnceDelivery", False)),
            "dead_letter_topic": _last(policy.get("deadLetterTopic")),
            "max_delivery_attempts": policy.get("maxDeliveryAttempts"),
            "expires": "ttl" in found.get("expirationPolicy", {"ttl": "default of 31 days"}),
            **_labels(found, options),
        }

    def update(raw: Json) -> tuple[Command, ...]:
        return (command("pubsub", "subscriptions", "update", name, *change),)

    return Resource(
        kind="subscription",
        name=name,
        wanted=wanted,
        read=SUBSCRIPTIONS,
        observe=observe,
        create=(command("pubsub", "subscriptions", "create", name, flag("topic", wanted["topic"]), *create),),
        update=update,
        after=(f"topic/{wanted['topic']}", *([f"topic/{dead_letters}"] if dead_letters else [])),
        fixed={
            "topic": "a subscription stays with its topic: once it is empty, delete it (`gcloud pubsub subscriptions "
            f"delete {name}`) and deploy again"
        },
    )


def _labels(found: Json, options: Options) -> Fields:
    return {f"label {key}": found.get("labels", {}).get(key) for key in options.labels}


def _last(path: str | None) -> str | None:
    return path.rpartition("/")[2] if path else None


def _seconds(duration: str | None) -> float | None:
    return float(duration.removesuffix("s")) if duration else None
