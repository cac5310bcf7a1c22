"""Signatures, checked by the implementation of the specification's authors."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from poolhouse.worker.webhooks.signature import headers, secrets_of

ONE = "whsec_" + base64.b64encode(b"1" * 24).decode()
OTHER = "whsec_" + base64.b64encode(b"2" * 64).decode()
BODY = '{"type": "task.succeeded", "data": {"text": "Grüße"}}'.encode()


def test_the_example_of_the_reference_implementations_tests() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)
    secrets = secrets_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = headers(b'{"test": 2432232314}', event_id="msg_p5jXN8AQM9LWM0D4loKWxJek", at=at, secrets=secrets)
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert made["webhook-timestamp"] == "1614265330"


def test_a_receiver_accepts_it_with_either_secret_and_with_no_other() -> None:
    made = headers(BODY, event_id="task-1", at=datetime.now(UTC), secrets=secrets_of(f"{ONE} {OTHER}"))
    for secret in (ONE, OTHER):
        assert Webhook(secret).verify(BODY, made)["type"] == "task.succeeded"
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"3" * 24).decode()).verify(BODY, made)
    with pytest.raises(WebhookVerificationError):
        Webhook(ONE).verify(BODY.replace(b"succeeded", b"failed"), made)
    with pytest.raises(WebhookVerificationError):
        Webhook(ONE).verify(BODY, {**made, "webhook-id": "task-2"})


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "is empty"), ("whsec_!", "is no secret"), ("whsec_" + base64.b64encode(b"1" * 23).decode(), "has 23 bytes")],
)
def test_what_is_no_secret_is_refused_without_telling_it(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as raised:
        secrets_of(text)
    assert not text or text.removeprefix("whsec_") not in str(raised.value)
