"""Which shares a new release has."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from poolhouse.cloud.canary import planning
from poolhouse.cloud.kinds.shares import Canary
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan import desired
from poolhouse.cloud.plan.planner import Action, plan
from poolhouse.cloud.resource import Command, Json, Resource
from poolhouse.pipeline.config.console_options import Console
from poolhouse.pipeline.config.topology import Topology, parse
from tests.kit.unit.cloud.canary.scene import DIVIDED, LATEST, OPTIONS, item
from tests.kit.unit.cloud.conftest import NUMBER, OLD, PIPELINE, TAG
from tests.kit.unit.cloud.test_catalogue import by_id


def resources(topology: Topology, canaries: dict[str, Canary] | None = None) -> tuple[Resource, ...]:
    return desired.resources(
        topology, options=OPTIONS, tracks=OLD, project_number=NUMBER, tag=TAG, image="new@sha256:2", canaries=canaries
    )


def snapshot(topology: Topology, *, service: Json, pool: Json) -> dict[tuple[str, ...], Json]:
    wanted = resources(topology)
    return {
        by_id(wanted, "service/shop-api").read.arguments: [service],
        by_id(wanted, "pool/shop-mail").read.arguments: [pool],
    }


def words(action: Action) -> list[tuple[str, ...]]:
    """The verb of each command of an action, and what divides: flags, or the declaration of a pool."""
    dividing = ("--no-traffic", "--to-revisions", "--to-latest")
    return [
        tuple(
            word
            for word in command.arguments
            if word in {"deploy", "replace", *dividing} or word.startswith(("update-", *dividing))
        )
        + declared(command)
        for command in action.commands
    ]


def declared(command: Command) -> tuple[str, ...]:
    """Size and shares of a pool that a command declares."""
    if "shop-mail.json" not in command.files:
        return ()
    pool = json.loads(command.files["shop-mail.json"])
    count = pool["metadata"]["annotations"]["run.googleapis.com/manualInstanceCount"]
    splits = pool["spec"]["instanceSplits"]
    shares = (f"{split['percent']}% {split.get('revisionName', 'newest revision')}" for split in splits)
    return (f"{count} instances", *shares)


class TestPlan:
    def carried_out(self, topology: Topology, *, service: Json, pool: Json) -> dict[str, list[tuple[str, ...]]]:
        """The commands of a canary of 10 %, by their resource."""
        there = snapshot(topology, service=service, pool=pool)
        at_once = plan(resources(topology), there)
        found = planning.canaries(at_once, there, percent=10, options=OPTIONS)
        actions = plan(resources(topology, dict(found)), there).work
        return {action.resource.id: words(action) for action in actions if action.resource.id in found}

    def test_the_new_revision_is_deployed_without_a_share_and_then_gets_one(self, topology: Topology) -> None:
        found = self.carried_out(
            topology,
            service=item("shop-api", shares=LATEST, newest="shop-api-1"),
            pool=item("shop-mail", shares=LATEST, newest="shop-mail-1", kind="instanceSplits"),
        )
        assert found == {
            "service/shop-api": [
                ("deploy", "--no-traffic"),
                ("update-traffic", "--to-revisions=LATEST=10,shop-api-1=90"),
            ],
            # A pool of one instance: one more, of which the new revision has half.
            "pool/shop-mail": [("replace", "2 instances", "50% shop-mail-1", "50% newest revision")],
        }

    @pytest.mark.parametrize(
        "shares",
        [DIVIDED, [{"revisionName": "shop-api-1", "percent": 100}]],
        ids=["a canary that was interrupted", "one that was taken back"],
    )
    def test_the_next_canary_is_compared_with_the_same_release(self, topology: Topology, shares: list[Json]) -> None:
        found = self.carried_out(
            topology,
            service=item("shop-api", shares=shares, newest="shop-api-2"),
            pool=item("shop-mail", shares=LATEST, newest="shop-mail-1", kind="instanceSplits"),
        )
        assert found["service/shop-api"][-1] == ("update-traffic", "--to-revisions=LATEST=10,shop-api-1=90")

    def test_a_large_pool_keeps_the_share_and_one_that_is_scaled_its_size(self) -> None:
        canary = {"pool/shop-mail": Canary(percent=10, stable="shop-mail-1")}
        large = parse(PIPELINE.replace("min_instances = 0\nmax_instances = 3", "min_instances = 9\nmax_instances = 20"))
        pool = by_id(resources(large, canary), "pool/shop-mail")
        assert (pool.wanted["instances"], pool.wanted["split"]) == (10, "90% shop-mail-1, 10% newest revision")
        scaled = desired.resources(
            large, options=Options(project="some-project", name="shop", autoscale=True), tracks=OLD,
            project_number=NUMBER, tag=TAG, image="new@sha256:2", canaries=canary,
        )  # fmt: skip
        assert "instances" not in by_id(scaled, "pool/shop-mail").wanted

    def test_a_first_deploy_and_a_pool_that_only_changes_its_size_have_none(self, topology: Topology) -> None:
        first = plan(resources(topology), {})
        assert planning.canaries(first, {}, percent=10, options=OPTIONS) == {}

    def test_jobs_that_are_there_wait_for_the_end(self, topology: Topology) -> None:
        jobs = by_id(resources(topology), "job/shop-dead-letters").read.arguments
        task = {"template": {"spec": {"template": {"spec": {"containers": [{"image": "old@sha256:1"}]}}}}}
        there = {jobs: [{"metadata": {"name": "shop-dead-letters"}, "spec": task}]}
        whole = plan(resources(topology), there)
        first = planning.first_step(whole, options=OPTIONS)
        left_out = [action.resource.id for action in whole.actions if action not in first.actions]
        assert left_out == ["job/shop-dead-letters"]

    def test_a_console_that_is_there_waits_too_and_the_api_does_not(self, topology: Topology) -> None:
        options = replace(OPTIONS, console=Console(deploy=True, operators=("user:ann@example.com",)))
        wanted = desired.resources(
            topology, options=options, tracks=OLD, project_number=NUMBER, tag=TAG, image="new@sha256:2"
        )
        services = by_id(wanted, "service/shop-console").read.arguments
        there = {services: [item(name, shares=LATEST, newest="1") for name in ("shop-api", "shop-console")]}
        whole = plan(wanted, there)
        first = planning.first_step(whole, options=options)
        left_out = [action.resource.id for action in whole.actions if action not in first.actions]
        assert left_out == ["service/shop-console"]
