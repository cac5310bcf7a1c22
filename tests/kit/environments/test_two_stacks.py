"""Two checkouts on one machine, brought up in the same second."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kit.environments import checkout
from tests.kit.environments.checkout import Checkout

UP = "./invoke up --backend embedded --timeout 120"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return checkout.make(tmp_path_factory.mktemp("other") / "poolhouse")


def test_each_has_ports_and_tasks_of_its_own(plain: Checkout, other: Checkout) -> None:
    both = (plain, other)
    try:
        with ThreadPoolExecutor(2) as pool:
            for done in pool.map(lambda shell: shell.run(UP), both):
                assert done.code == 0, done.output
            first, second = (shell.state()["endpoints"] for shell in both)
            assert not set(first.values()) & set(second.values())
            for done in pool.map(lambda shell: shell.run("./invoke e2e --quick"), both):
                assert done.code == 0, done.output
            ids = [shell.run("./invoke submit sample.echo value=1 2>/dev/null").output.strip() for shell in both]
            for shell, own, foreign in zip(both, ids, reversed(ids), strict=True):
                assert shell.run(f"./invoke tasks {own}").code == 0
                assert shell.run(f"./invoke tasks {foreign}").code == 1, "it is the other stack's"
        assert plain.run("./invoke down").code == 0
        assert other.run("./invoke status").code == 0, "the other goes on"
    finally:
        for shell in both:
            shell.run("./invoke down")


def test_a_stack_has_the_same_addresses_each_time(plain: Checkout) -> None:
    # Not API and console: ports 8080 and 8081 are taken where they are free at that moment.
    wanted = f"{UP} --api-port 0\n./invoke env --format json >env.json\n./invoke down"
    found = []
    for _ in range(2):
        done = plain.run(wanted)
        assert done.code == 0, done.output
        found.append(json.loads((plain.root / "env.json").read_text(encoding="utf-8")))
    names = ("GOOGLE_CLOUD_PROJECT", "BUCKET_NAME", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
    assert [found[0][name] for name in names] == [found[1][name] for name in names]
