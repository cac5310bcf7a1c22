from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from poolhouse.cloud import secret_store
from poolhouse.cloud.errors import GcloudFailed, Refused
from poolhouse.cloud.kinds import secrets
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan.planner import decide, plan
from poolhouse.cloud.resource import Command, Read, Resource
from poolhouse.pipeline.config.topology import parse
from tests.kit.unit.cloud.conftest import Make

TEXT = """
name = "shop"
[env]
SITE = "example.com, really"
[secrets]
WEBHOOK_TOKEN = "latest"
[queues.mail]
[queues.mail.secrets]
SMTP_PASSWORD = 2
[queues.bulk]
"""
API, WORKER, LETTERS = (
    f"serviceAccount:shop-{name}@some-project.iam.gserviceaccount.com" for name in ("api", "worker", "dead-letters")
)


def by_id(make: Make, **choices: Any) -> dict[str, Resource]:
    return {item.id: item for item in make(parse(TEXT), secrets=True, **choices)}


@pytest.mark.parametrize("workers", ["pool", "job"])
def test_each_part_gets_its_own_variables_and_secrets(make: Make, workers: str) -> None:
    found = by_id(make, workers=workers)
    mail, bulk = found[f"{workers}/shop-mail"].wanted, found[f"{workers}/shop-bulk"].wanted
    api, keeper = found["service/shop-api"].wanted, found["job/shop-dead-letters"].wanted
    token = "secret WEBHOOK_TOKEN"
    assert mail[token] == bulk[token] == api[token] == "shop-WEBHOOK_TOKEN:latest"
    assert mail["secret SMTP_PASSWORD"] == "shop-SMTP_PASSWORD:2"
    assert not any("SMTP_PASSWORD" in field for item in (bulk, api, keeper) for field in item)
    assert token not in keeper  # it runs no handler, and there are no hooks
    assert {item["env SITE"] for item in (mail, bulk, api, keeper)} == {"example.com, really"}


def test_a_secret_can_be_read_by_its_readers_alone(make: Make) -> None:
    found = by_id(make)
    accessor = "roles/secretmanager.secretAccessor"
    assert found["grants/secret/shop-WEBHOOK_TOKEN"].wanted == {accessor: tuple(sorted((API, WORKER)))}
    assert found["grants/secret/shop-SMTP_PASSWORD"].wanted == {accessor: (WORKER,)}
    assert "grants/secret/shop-SMTP_PASSWORD" in found["pool/shop-mail"].after


def test_the_dead_letter_job_gets_secrets_where_it_runs_hooks(make: Make) -> None:
    topology = parse(TEXT.replace('name = "shop"', 'name = "shop"\nhooks = ["shop.hooks:Sentry"]'))
    found = {item.id: item for item in make(topology, secrets=True)}
    keeper = found["job/shop-dead-letters"]
    assert keeper.wanted["secret WEBHOOK_TOKEN"] == "shop-WEBHOOK_TOKEN:latest"
    assert "secret SMTP_PASSWORD" not in keeper.wanted  # a queue's own, which its workers alone get
    assert "grants/secret/shop-WEBHOOK_TOKEN" in keeper.after
    readers = tuple(sorted((API, WORKER, LETTERS)))
    accessor = "roles/secretmanager.secretAccessor"
    assert found["grants/secret/shop-WEBHOOK_TOKEN"].wanted == {accessor: readers}
    assert found["grants/secret/shop-SMTP_PASSWORD"].wanted == {accessor: (WORKER,)}


def test_a_plan_is_refused_with_all_secrets_that_are_not_set(make: Make) -> None:
    with pytest.raises(Refused) as refusal:
        plan(make(parse(TEXT), secrets=True), {})
    lines = str(refusal.value).splitlines()
    assert len(lines) == 2
    assert "`./invoke secret set WEBHOOK_TOKEN --project some-project`" in lines[0]
    assert "no version 2 in Secret Manager" in lines[1]


def version(number: int, state: str = "ENABLED") -> dict[str, str]:
    return {"name": f"projects/1/secrets/x/versions/{number}", "state": state}


@pytest.mark.parametrize(
    ("name", "versions", "is_set"),
    [
        ("WEBHOOK_TOKEN", [version(1)], True),
        ("WEBHOOK_TOKEN", [version(2, "DESTROYED"), version(1, "DISABLED")], False),
        ("SMTP_PASSWORD", [version(1)], False),
        ("SMTP_PASSWORD", [version(2, "DISABLED"), version(3)], False),
        ("SMTP_PASSWORD", [version(2)], True),
    ],
)
def test_a_version_counts_while_it_can_be_read(
    make: Make, name: str, versions: list[dict[str, str]], is_set: bool
) -> None:
    secret = by_id(make)[f"secret/shop-{name}"]
    if is_set:
        assert decide(secret, versions).verb == "unchanged"
    else:
        with pytest.raises(Refused, match="secret set"):
            decide(secret, versions)


def test_secrets_that_are_not_declared_any_more_are_taken_away(make: Make) -> None:
    service = {item.id: item for item in make()}["service/shop-api"]
    assert "--clear-secrets" in service.update(None)[0].arguments
    reference = {"name": "OLD", "valueFrom": {"secretKeyRef": {"name": "shop-OLD", "key": "1"}}}
    template = {"spec": {"containers": [{"env": [reference]}]}}
    seen = service.observe([{"metadata": {"name": "shop-api"}, "spec": {"template": template}}])
    assert seen is not None
    assert seen["secret OLD"] == "shop-OLD:1"


class SomePlacesOnly:
    """gcloud in an organisation whose policy allows resources in some places; it has no such secret yet."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Any]:
        answers = {"projects": {"projectNumber": "1"}, "services": [{"config": {"name": secrets.API}}]}
        return {read.arguments: answers[read.arguments[0]] for read in reads}

    def read(self, read: Read) -> None:
        """There is nothing."""

    def run(self, command: Command, *, secret: str | None = None) -> str:
        self.ran.append(" ".join(command.arguments))
        if "--replication-policy=automatic" in command.arguments:
            raise GcloudFailed("x", "FAILED_PRECONDITION: Constraint constraints/gcp.resourceLocations violated")
        return ""


def test_a_secret_is_kept_in_the_deploys_region_where_it_must_not_be_everywhere() -> None:
    gcloud, said = SomePlacesOnly(), list[str]()
    options = Options(project="some-project", name="shop", region="europe-west3", secrets=True)
    secret_store.set_value(
        gcloud,  # type: ignore[arg-type]
        parse(TEXT),
        "WEBHOOK_TOKEN",
        options=options,
        ask=lambda: "value",
        say=said.append,
    )
    refused, made, added = gcloud.ran
    assert made == refused.replace("=automatic", "=user-managed --locations=europe-west3")
    assert added.startswith("secrets versions add shop-WEBHOOK_TOKEN ")
    assert "Set: a new version" in said[0]
