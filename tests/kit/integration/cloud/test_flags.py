"""Every command and flag of every plan, against the table of commands that the installed gcloud ships."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from poolhouse.cloud.canary.parts import Part, back
from poolhouse.cloud.gcloud.release_tracks import choose, completion_table, from_table
from poolhouse.cloud.kinds import run
from poolhouse.cloud.kinds.shares import Canary
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan import desired, leftovers
from poolhouse.pipeline.config.console_options import Console
from poolhouse.pipeline.config.deploy_options import Vpc
from poolhouse.pipeline.config.topology import parse

PIPELINE = """
[queues.mail]
exactly_once = true
[queues.bulk]
[schedules.nightly]
cron = "30 3 * * *"
task_type = "send_mail"
[triggers.tables]
prefix = "uploads/in/"
task_type = "send_mail"
[bucket.lifecycle_days]
uploads = 30
[env]
SITE = "a, b"
[secrets]
TOKEN = "latest"
"""
OBSERVED: Any = None
CONSOLE = Console(deploy=True, operators=("user:ann@example.com",))
CONNECTED = {
    "vpc": Vpc(network="backend", subnet="backend-eu", tags=("worker",)),
    "cloud_sql": ("some-project:europe-west1:orders",),
    "own_labels": {"team": "shop"},
    "own_accounts": {"api": "orders@identities.iam.gserviceaccount.com"},
    "kms_key": "projects/keys/locations/europe-west1/keyRings/shop/cryptoKeys/tasks",
}


@pytest.fixture(scope="module")
def table() -> Mapping[str, Any]:
    found = completion_table("gcloud")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("gcloud, or its table of commands, is not there")
        pytest.skip("gcloud, or its table of commands, is not there")
    return found


def commands(table: Mapping[str, Any], options: Options) -> Iterator[tuple[str, ...]]:
    words = choose(from_table(table))
    divided = {id_: Canary(percent=10, stable="a-1") for id_ in ("service/poolhouse-api", "pool/poolhouse-mail")}
    for canaries in ({}, divided):
        resources = desired.resources(
            parse(PIPELINE),
            options=options,
            tracks=words,
            project_number="1",
            tag="src-1",
            image="x@sha256:1",
            bill="{}",
            canaries=canaries,
        )
        for item in resources:
            yield (*item.read.arguments, "--format=json")
            for command in (*item.create, *item.update(OBSERVED if item.kind != "grants" else {"bindings": []})):
                yield command.arguments
    yield run.revisions_read(options).arguments
    taken_back = [
        Part(kind="service", name=options.api_service, new="a-2", old="a-1", percent=10),
        Part(kind="pool", name="poolhouse-mail", new="a-2", old="a-1", percent=10),
    ]
    for item in back(taken_back, topology=parse(PIPELINE), options=options, tracks=words):
        for command in item.update(OBSERVED):
            yield command.arguments
    for sweep in leftovers.sweeps(options, words):
        yield (*sweep.read.arguments, "--format=json")


@pytest.mark.parametrize(
    "choices",
    [
        CONNECTED,
        {"workers": "job", "public": True, **CONNECTED},
        {"autoscale": True, "origins": ("https://example.com",), "console": CONSOLE},
    ],
    ids=["pool", "job", "autoscale"],
)
def test_every_flag_is_one_that_gcloud_has(table: Mapping[str, Any], choices: dict[str, Any]) -> None:
    wide = set(table["flags"])
    checked = 0
    for words in commands(table, Options(project="some-project", **choices)):
        node: Mapping[str, Any] = table
        for word in words:
            if word.startswith("-"):
                continue
            if word not in node["commands"]:
                break  # the first word that is no command is the resource's name
            node = node["commands"][word]
        assert not node["commands"], f"not a command: {' '.join(words)}"
        for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
            known = {*node["flags"], *wide}
            bare = flag.replace("--no-", "--", 1)
            assert flag in known or bare in known, f"{flag} in {' '.join(words)}"
            checked += 1
    assert checked > 100
