"""Google's own clients, unmodified, against the emulator; what they do is told in clients/README.md."""

from __future__ import annotations

import json
import re

import pytest

from tests.kit.conformance.client_programs import PROGRAMS
from tests.kit.conformance.conftest import ready

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_official_client_works_unmodified(language: str, address: str) -> None:
    report = json.loads(ready(PROGRAMS[language]).run("r1", address=address, project="conformance"))

    assert report["received"] == sorted([f"message-{n}", str(n)] for n in range(20))
    assert report["ids_match"]
    assert report["ordered"] == {key: [f"{key}-{n}" for n in range(10)] for key in ("a", "b")}
    assert report["nacked"] == {"deliveries": 2, "same_id": True}
    dead = report["dead_letter"]
    assert dead["attempts"] == [1, 2, 3, 4, 5]
    assert dead["data"] == "poison"
    published = dead["attributes"].pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", published)
    assert dead["attributes"] == {
        "kind": "bad",
        "CloudPubSubDeadLetterSourceSubscription": f"{language}-poison-r1",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "conformance",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
    }
