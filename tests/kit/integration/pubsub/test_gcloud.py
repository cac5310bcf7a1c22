"""`gcloud pubsub …` against the emulator, by its endpoint override alone."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poolhouse_pubsub.server import EmulatorServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed"),
]

Gcloud = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer() as running:
        yield running


@pytest.fixture
def gcloud(server: EmulatorServer, tmp_path: Path) -> Gcloud:
    """Runs `gcloud pubsub`, with a configuration of its own, and returns its JSON."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CLOUDSDK_CONFIG": str(tmp_path),
        "CLOUDSDK_CORE_PROJECT": "p1",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": f"http://{server.address}/",
    }

    def run(*arguments: str) -> Any:
        command = ["gcloud", "pubsub", *arguments, "--format=json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_gcloud_creates_publishes_pulls_and_acks(gcloud: Gcloud, server: EmulatorServer) -> None:
    gcloud("topics", "create", "orders", "--labels=a=b")
    gcloud("topics", "create", "dead")
    assert gcloud("topics", "update", "orders", "--update-labels=c=d")["labels"] == {"a": "b", "c": "d"}
    gcloud(
        *("subscriptions", "create", "sub", "--topic=orders", "--ack-deadline=20", "--enable-message-ordering"),
        *("--dead-letter-topic=dead", "--max-delivery-attempts=6", "--message-filter=attributes:k"),
    )
    changed = gcloud("subscriptions", "update", "sub", "--ack-deadline=30", "--expiration-period=never")
    assert changed["ackDeadlineSeconds"] == 30
    assert changed["expirationPolicy"] == {}
    assert changed["deadLetterPolicy"]["maxDeliveryAttempts"] == 6

    published = gcloud("topics", "publish", "orders", "--message=hi", "--attribute=k=v", "--ordering-key=o")
    (received,) = gcloud("subscriptions", "pull", "sub", "--limit=3")
    assert base64.b64decode(received["message"]["data"]) == b"hi"
    assert received["message"]["messageId"] == published["messageIds"][0]
    assert received["deliveryAttempt"] == 1
    gcloud("subscriptions", "ack", "sub", f"--ack-ids={received['ackId']}")
    assert server.inspect("projects/p1/subscriptions/sub").counts()["undelivered"] == 0


def test_gcloud_handles_snapshots_schemas_and_policies(gcloud: Gcloud) -> None:
    gcloud("topics", "create", "orders")
    gcloud("subscriptions", "create", "sub", "--topic=orders")
    gcloud("snapshots", "create", "snap", "--subscription=sub")
    assert [snapshot["snapshotId"] for snapshot in gcloud("snapshots", "list")] == ["snap"]
    gcloud("subscriptions", "seek", "sub", "--snapshot=snap")
    definition = '{"type":"record","name":"R","fields":[]}'
    made = gcloud("schemas", "create", "record", "--type=avro", f"--definition={definition}")
    assert gcloud("schemas", "list-revisions", "record")[0]["revisionId"] == made["revisionId"]
    gcloud("schemas", "validate-message", "--schema-name=record", "--message={}", "--message-encoding=json")
    binding = ("--member=user:a@example.com", "--role=roles/pubsub.viewer")
    gcloud("topics", "add-iam-policy-binding", "orders", *binding)
    assert gcloud("topics", "get-iam-policy", "orders")["bindings"] == [
        {"role": "roles/pubsub.viewer", "members": ["user:a@example.com"]}
    ]


def test_gcloud_validates_and_tries_message_transforms(gcloud: Gcloud, tmp_path: Path) -> None:
    code = "function upper(message, metadata) { message.data = message.data.toUpperCase(); return message; }"
    transform = {"javascriptUdf": {"functionName": "upper", "code": code}}
    one, several = tmp_path / "one.json", tmp_path / "several.json"
    one.write_text(json.dumps(transform))
    several.write_text(json.dumps([transform]))
    gcloud("message-transforms", "validate", f"--message-transform-file={one}")
    (tried,) = gcloud("message-transforms", "test", "--message=hi", f"--message-transforms-file={several}")
    assert tried["data"] == "HI"

    gcloud("topics", "create", "orders", f"--message-transforms-file={several}")
    gcloud("subscriptions", "create", "sub", "--topic=orders")
    gcloud("topics", "publish", "orders", "--message=hi")
    (received,) = gcloud("subscriptions", "pull", "sub", "--auto-ack")
    assert base64.b64decode(received["message"]["data"]) == b"HI"
    (tried,) = gcloud("message-transforms", "test", "--message=hi", "--topic=orders")
    assert tried["data"] == "HI"
