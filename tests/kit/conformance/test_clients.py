"""Google's own clients, unmodified, against the emulator; what they do is told in clients/README.md."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.conformance.client_programs import PROGRAMS, ClientError

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[3]
_IN_CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of an emulator that runs alone, as any project would start it."""
    port_file = tmp_path_factory.mktemp("emulator") / "port"
    command = [sys.executable, "-m", "poolhouse_pubsub", "--port", "0", "--port-file", str(port_file)]
    emulator = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not port_file.exists():
            assert emulator.poll() is None, "the emulator ended at once"
            assert time.monotonic() < deadline, "the emulator did not start within 30 s"
            time.sleep(0.01)
        yield f"127.0.0.1:{port_file.read_text().strip()}"
    finally:
        emulator.terminate()
        emulator.wait(10)


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_official_client_works_unmodified(language: str, address: str) -> None:
    program = PROGRAMS[language]
    if program.missing:
        reason = f"{', '.join(program.missing)} not installed"
        if _IN_CI and program.always_in_ci:
            pytest.fail(f"CI must run the {language} client: {reason}")
        pytest.skip(reason)
    try:
        program.built()
    except ClientError as error:
        if not _IN_CI:
            pytest.skip(f"the {language} client can't be built here (its registry is needed the first time): {error}")
        raise

    report = json.loads(program.run("r1", address=address, project="conformance"))

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
