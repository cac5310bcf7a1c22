from __future__ import annotations

import dataclasses
import json

import pytest

from poolhouse.cloud.errors import Refused
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.kinds import connections, run, shares
from poolhouse.cloud.kinds.connections import Connections
from poolhouse.cloud.kinds.grants import managed, merge, observed
from poolhouse.cloud.log_filter import log_filter
from poolhouse.cloud.options import LABEL, Options
from poolhouse.cloud.plan import desired
from poolhouse.cloud.plan.planner import decide
from poolhouse.cloud.resource import Json, Resource, pairs
from poolhouse.pipeline.config.api_access import ApiAccess, ApiKey
from poolhouse.pipeline.config.console_options import Console, ConsoleAccess
from poolhouse.pipeline.config.deploy_options import Vpc
from poolhouse.pipeline.config.topology import Topology, parse
from poolhouse.pipeline.errors import ConfigError
from tests.kit.unit.cloud.conftest import NUMBER, PIPELINE, Make

OPTIONS = Options(project="some-project", name="shop")
AGENT = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"


def by_id(resources: tuple[Resource, ...], id_: str) -> Resource:
    return next(item for item in resources if item.id == id_)


def grants_of(resources: tuple[Resource, ...], member: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in resources:
        if item.kind == "grants":
            for role, members in item.wanted.items():
                if isinstance(members, tuple) and member in members:
                    found.setdefault(item.name, set()).add(role)
    return found


def test_the_service_agent_may_move_what_is_dead_from_its_queue_to_its_topic(make: Make) -> None:
    assert grants_of(make(), AGENT) == {
        "topic/shop-mail-dead-letters": {"roles/pubsub.publisher"},
        "subscription/shop-mail-workers": {"roles/pubsub.subscriber"},
    }


def test_each_account_can_do_its_work_and_no_more(make: Make) -> None:
    resources = make()
    assert grants_of(resources, OPTIONS.member("worker")) == {
        "bucket/some-project-shop": {"roles/storage.objectUser"},
        "topic/shop-mail": {"roles/pubsub.publisher"},
        "topic/shop-mail-dead-letters": {"roles/pubsub.publisher"},
        "subscription/shop-mail-workers": {"roles/pubsub.subscriber"},
    }
    assert grants_of(resources, OPTIONS.member("dead-letters")) == {
        "bucket/some-project-shop": {"roles/storage.objectUser"},
        "topic/shop-mail": {"roles/pubsub.publisher"},
        "subscription/shop-mail-dead-letters": {"roles/pubsub.subscriber"},
    }
    assert grants_of(resources, OPTIONS.member("scheduler")) == {
        "service/shop-api": {"roles/run.invoker"},
        "job/shop-dead-letters": {"roles/run.invoker"},
    }
    assert grants_of(resources, OPTIONS.member("builder")) == {
        "bucket/some-project-shop-build": {"roles/storage.objectUser", "roles/storage.legacyBucketReader"},
        "repository/shop": {"roles/artifactregistry.writer"},
    }


def test_api_and_workers_connect_to_the_network_and_to_cloud_sql_and_no_account_without_need(make: Make) -> None:
    names = ("some-project:europe-west1:orders", "other-project:europe-west1:stock")
    vpc = Vpc(
        network="projects/some-project/global/networks/backend",
        subnet="projects/some-project/regions/europe-west1/subnetworks/backend-eu",
        tags=("worker",),
    )
    fields = {
        "network": "backend",
        "subnet": "backend-eu",
        "egress": "private-ranges-only",
        "network_tags": ("worker",),
        "cloud_sql": tuple(sorted(names)),
    }
    for workers, part in (("pool", "pool/shop-mail"), ("job", "job/shop-mail")):
        resources = make(vpc=vpc, cloud_sql=names, workers=workers)
        for id_ in (part, "service/shop-api"):
            assert {**by_id(resources, id_).wanted, **fields} == by_id(resources, id_).wanted
            assert "grants/project/some-project" in by_id(resources, id_).after
        assert "sqladmin.googleapis.com" in str(by_id(resources, "apis/some-project").wanted["enabled"])
        keeper = by_id(resources, "job/shop-dead-letters").wanted  # runs no handler
        assert keeper["network"] == "backend"
        assert "cloud_sql" not in keeper
        for account, roles in (("api", {"roles/cloudsql.client", "roles/monitoring.viewer"}),
                               ("worker", {"roles/cloudsql.client"}), ("dead-letters", set())):  # fmt: skip
            assert grants_of(resources, OPTIONS.member(account)).get("project/some-project", set()) == roles
    hooked = make(parse(f'hooks = ["shop.hooks:Metrics"]\n{PIPELINE}'), cloud_sql=names)
    assert by_id(hooked, "job/shop-dead-letters").wanted["cloud_sql"] == tuple(sorted(names))
    assert "project/some-project" in grants_of(hooked, OPTIONS.member("dead-letters"))


CONSOLE = Console(
    deploy=True, viewers=("group:shop@example.com",), operators=("user:ann@example.com", "domain:ops.example.com")
)
PROXY = f"serviceAccount:service-{NUMBER}@gcp-sa-iap.iam.gserviceaccount.com"


def test_a_deployed_console_may_call_the_api_and_nothing_else_and_the_proxy_alone_may_call_it(make: Make) -> None:
    assert not [item.id for item in make() if "console" in item.id or "iap" in item.id]
    resources = make(console=CONSOLE)
    assert grants_of(resources, OPTIONS.member("console")) == {"service/shop-api": {"roles/run.invoker"}}
    assert grants_of(resources, PROXY) == {"service/shop-console": {"roles/run.invoker"}}
    assert by_id(resources, "grants/iap/shop-console").wanted == {
        "roles/iap.httpsResourceAccessor": (
            "domain:ops.example.com",
            "group:shop@example.com",
            "user:ann@example.com",
        )
    }
    wanted = by_id(resources, "service/shop-console").wanted
    assert (wanted["iap"], wanted["invoker_check"], wanted["min_instances"]) == (True, True, 0)
    assert wanted["account"] == OPTIONS.account("console")
    assert {name for name in wanted if name.startswith(("env", "secret"))} == {
        "env GOOGLE_CLOUD_PROJECT",
        "env POOLHOUSE_API_URL",
        "env CONSOLE_ACCESS",
    }
    access = ConsoleAccess.model_validate_json(str(wanted["env CONSOLE_ACCESS"]))
    assert access.audience == f"/projects/{NUMBER}/locations/europe-west1/services/shop-console"
    assert access.operators == CONSOLE.operators
    assert access.log_filter == log_filter(OPTIONS)


def test_who_was_let_into_the_console_by_hand_goes_and_other_roles_stay(make: Make) -> None:
    grants = by_id(make(console=CONSOLE), "grants/iap/shop-console")
    opens, admin = "roles/iap.httpsResourceAccessor", {"role": "roles/iap.admin", "members": ["user:eve@example.com"]}
    policy = {"etag": "BwX=", "bindings": [{"role": opens, "members": ["user:eve@example.com"]}, admin]}
    (change,) = decide(grants, policy).commands
    merged = json.loads(change.files["policy.json"])
    assert merged["bindings"] == [{"role": opens, "members": sorted(CONSOLE.members)}, admin]
    assert decide(grants, merged).verb == "unchanged"


def test_an_api_that_checks_its_callers_itself_knows_the_console(make: Make) -> None:
    for console, account in ((CONSOLE, OPTIONS.account("console")), (None, "")):
        resources = make(console=console, public=True, access=ApiAccess(anonymous="read"))
        text = str(by_id(resources, "service/shop-api").wanted["env API_ACCESS"])
        assert ApiAccess.model_validate_json(text).console == account


@pytest.mark.parametrize("clear", ["--clear-cloudsql-instances", "--set-cloudsql-instances="])
def test_what_is_connected_by_hand_is_seen_and_taken_away(clear: str) -> None:
    full = "projects/some-project/regions/europe-west1/subnetworks/backend-eu"
    interface = {"network": "backend", "subnetwork": full, "tags": ["worker"]}
    notes = {
        "run.googleapis.com/network-interfaces": json.dumps([interface]),
        "run.googleapis.com/cloudsql-instances": "some-project:europe-west1:orders",
    }
    present = connections.observed({"metadata": {"annotations": notes}}, OPTIONS)
    vpc = Vpc(network="backend", subnet="backend-eu", tags=("worker",))
    same = Connections(vpc=vpc, cloud_sql=("some-project:europe-west1:orders",))
    assert present == same.wanted()
    assert same.removals(present) == ()
    assert Connections().removals(present, cloud_sql=clear) == ("--clear-network", clear)
    assert Connections().removals(connections.observed({"metadata": {}}, OPTIONS)) == ()
    untagged = Connections(vpc=Vpc(network="backend", subnet="backend-eu"), cloud_sql=same.cloud_sql)
    assert untagged.removals(present) == ("--clear-network-tags",)


def test_instances_of_another_project_are_connected_to_and_their_project_grants_access(make: Make) -> None:
    resources = make(cloud_sql=("other-project:europe-west1:stock",))
    assert by_id(resources, "pool/shop-mail").wanted["cloud_sql"] == ("other-project:europe-west1:stock",)
    assert "project/some-project" not in grants_of(resources, OPTIONS.member("worker"))
    assert "sqladmin" not in str(by_id(make(), "apis/some-project").wanted["enabled"])


def test_the_name_of_a_cloud_sql_instance_means_the_deploys_own_project_and_region() -> None:
    declared = parse(f'{PIPELINE}\n[deploy]\nregion = "us-east1"\ncloud_sql = ["orders", "a:us-west1:b"]')
    options = Options.declared(declared, project="some-project")
    assert options.cloud_sql == ("some-project:us-east1:orders", "a:us-west1:b")


def test_every_worker_ends_itself_when_it_is_stuck_unless_the_environment_says_otherwise(make: Make) -> None:
    other = parse(PIPELINE + "[queues.mail.env]\nWORKER_WATCHDOG_S = '0'")
    for workers, part in (("pool", "pool/shop-mail"), ("job", "job/shop-mail")):
        resources = make(workers=workers)
        found = [by_id(resources, id_).wanted["env WORKER_WATCHDOG_S"] for id_ in (part, "job/shop-dead-letters")]
        assert found == ["60", "60"]
        assert by_id(make(other, workers=workers), part).wanted["env WORKER_WATCHDOG_S"] == "0"


def test_handlers_have_the_roles_that_are_declared_for_them_and_no_other_part_has(make: Make) -> None:
    roles = ("roles/bigquery.jobUser", "roles/monitoring.viewer")
    resources = make(worker_roles=roles, autoscale=True)
    assert grants_of(resources, OPTIONS.member("worker"))["project/some-project"] == set(roles)
    assert grants_of(resources, OPTIONS.member("api"))["project/some-project"] == {"roles/monitoring.viewer"}
    assert "roles/monitoring.viewer" in grants_of(resources, OPTIONS.member("autoscaler"))["project/some-project"]
    assert "grants/project/some-project" in by_id(resources, "pool/shop-mail").after
    granted = by_id(resources, "grants/project/some-project")
    policy = {"bindings": [{"role": role, "members": list(members)} for role, members in granted.wanted.items()]}  # type: ignore[arg-type]
    assert decide(granted, policy).verb == "unchanged"
    (taken,) = decide(by_id(make(autoscale=True, worker_roles=roles[1:]), granted.id), policy).commands
    assert {"remove-iam-policy-binding", "--role=roles/bigquery.jobUser"} <= set(taken.arguments)


@pytest.mark.parametrize(
    ("tables", "parts"),
    [
        ("", set()),
        ('[env]\nTRACES_EXPORTER = "otlp"', set()),
        ('[env]\nTRACES_EXPORTER = "cloud_trace"', {"api", "worker", "dead-letters"}),
        (
            '[env]\nTRACES_EXPORTER = "cloud_trace"\n[queues.mail.env]\nTRACES_EXPORTER = "none"',
            {"api", "dead-letters"},
        ),
        ('[queues.mail.env]\nTRACES_EXPORTER = "cloud_trace"', {"worker"}),
    ],
)
def test_the_parts_that_send_spans_to_cloud_trace_may_and_no_other(tables: str, parts: set[str], make: Make) -> None:
    declared = parse(f"{PIPELINE}\n{tables}")
    options = Options.declared(declared, project="some-project")
    resources = make(declared, cloud_trace=options.cloud_trace)
    role, on_project = "roles/telemetry.tracesWriter", "project/some-project"
    for account in options.accounts:
        held = grants_of(resources, OPTIONS.member(account)).get(on_project, set())
        assert (role in held) == (account in parts), account
    enabled = str(by_id(resources, "apis/some-project").wanted["enabled"])
    assert [name in enabled for name in ("'telemetry.", "'cloudtrace.")] == [bool(parts)] * 2
    assert (f"grants/{on_project}" in by_id(resources, "pool/shop-mail").after) == bool(parts)
    # Where the line goes from pipeline.toml, so do the grants.
    members = [OPTIONS.member(part) for part in sorted(parts)]
    before = {"bindings": [{"role": role, "members": members}]} if parts else {"bindings": []}
    taken = decide(by_id(make(), f"grants/{on_project}"), before).commands
    assert sum({"remove-iam-policy-binding", f"--role={role}"} <= set(one.arguments) for one in taken) == len(parts)


KEY = "projects/keys/locations/europe-west1/keyRings/shop/cryptoKeys/tasks"


def test_a_key_encrypts_buckets_and_topics_and_one_that_was_given_by_hand_stays(make: Make) -> None:
    keyed, plain = make(kms_key=KEY), make()
    assert {item.kind for item in keyed if item.wanted.get("kms_key") == KEY} == {"bucket", "topic"}
    there = [{"name": "projects/some-project/topics/shop-mail", "kmsKeyName": KEY, "labels": {LABEL: "shop"}}]
    assert decide(by_id(keyed, "topic/shop-mail"), there).verb == "unchanged"
    without = [{**there[0], "kmsKeyName": None}]
    (given,) = decide(by_id(keyed, "topic/shop-mail"), without).commands
    assert f"--topic-encryption-key={KEY}" in given.arguments
    assert decide(by_id(plain, "topic/shop-mail"), there).verb == "unchanged"
    bucket = {"name": "some-project-shop", "default_kms_key": KEY, "location": "EUROPE-WEST1"}
    (kept,) = decide(by_id(plain, "bucket/some-project-shop"), [bucket]).commands
    assert "encryption-key" not in kept.shown()


def test_labels_are_on_everything_that_can_have_some(make: Make) -> None:
    labelled = {item.id for item in make(own_labels={"team": "shop"}, autoscale=True) if "label team" in item.wanted}
    assert labelled == {item.id for item in make(autoscale=True) if f"label {LABEL}" in item.wanted}
    assert {id_.partition("/")[0] for id_ in labelled} == {
        "bucket", "repository", "topic", "subscription", "service", "pool", "job",
    }  # fmt: skip


def test_nothing_starts_before_what_it_needs_is_granted(make: Make) -> None:
    pool, jobs = by_id(make(), "pool/shop-mail"), by_id(make(workers="job"), "job/shop-mail")
    for worker in (pool, jobs):
        assert {"grants/bucket/some-project-shop", "grants/subscription/shop-mail-workers"} <= set(worker.after)
    assert {"grants/bucket/some-project-shop", "grants/topic/shop-mail"} <= set(by_id(make(), "service/shop-api").after)


def test_the_agent_is_asked_for_until_a_deploy_has_given_it_its_work(make: Make) -> None:
    agent = by_id(make(), "agent/pubsub")
    assert [one.shown() for one in decide(agent, None).commands] == [
        "gcloud beta services identity create --service=pubsub.googleapis.com"
    ]
    policy = {"bindings": [{"role": "roles/pubsub.subscriber", "members": [AGENT]}]}
    assert decide(agent, policy).verb == "unchanged"
    assert decide(agent, {"bindings": [{"role": "x", "members": [f"deleted:{AGENT}?uid=1"]}]}).verb == "create"


def test_only_a_public_api_has_no_invoker_check_and_that_needs_no_grant(make: Make) -> None:
    for public, word in ((False, "--invoker-iam-check"), (True, "--no-invoker-iam-check")):
        resources = make(public=public)
        service = by_id(resources, "service/shop-api")
        assert service.wanted["invoker_check"] is not public
        assert word in service.create[0].arguments
        assert grants_of(resources, "allUsers") == {}


def served(*, checked: bool, **env: str) -> Json:
    """The API's service as gcloud lists it, after a deploy of other variables."""
    variables = [{"name": name, "value": value} for name, value in env.items()]
    notes = {} if checked else {"run.googleapis.com/invoker-iam-disabled": "true"}
    template = {"metadata": {}, "spec": {"containers": [{"image": "x", "env": variables}]}}
    return [{"metadata": {"name": "shop-api", "annotations": notes}, "spec": {"template": template, "traffic": []}}]


def test_an_api_that_checks_its_callers_gets_the_rules_with_its_own_address_and_scheduler(make: Make) -> None:
    access = ApiAccess(anonymous="read", keys={"a": ApiKey(sha256="0" * 64, may=("submit",), per_minute=9)})
    wanted = by_id(make(public=True, access=access), "service/shop-api").wanted
    rules = ApiAccess.model_validate_json(str(wanted["env API_ACCESS"]))
    assert (rules.anonymous, rules.keys) == (access.anonymous, access.keys)
    assert rules.scheduler == "shop-scheduler@some-project.iam.gserviceaccount.com"
    assert f"--oidc-token-audience={rules.audience}" in by_id(make(), "schedule/shop-nightly").create[0].arguments
    assert "env API_ACCESS" not in by_id(make(public=True), "service/shop-api").wanted


def test_what_the_declaration_says_of_callers_reaches_the_api() -> None:
    key = f'[deploy.keys.a]\nsha256 = "{"0" * 64}"\nmay = ["submit"]\nper_minute = 9\nper_day = 99'
    deploy = f'[deploy]\npublic = "read"\nanonymous_per_minute = 5\nanonymous_per_day = 50\nshare_rates = true\n{key}'
    assert Options.declared(parse(f"[queues.a]\n{deploy}"), project="some-project").access == ApiAccess(
        anonymous="read",
        anonymous_per_minute=5,
        anonymous_per_day=50,
        share_rates=True,
        keys={"a": ApiKey(sha256="0" * 64, may=("submit",), per_minute=9, per_day=99)},
    )


def test_an_api_is_opened_once_all_requests_reach_a_revision_that_checks_them(make: Make) -> None:
    service = by_id(make(public=True, access=ApiAccess(anonymous="read")), "service/shop-api")
    first, second = decide(service, served(checked=True)).commands
    assert "--invoker-iam-check" in first.arguments
    assert "--no-invoker-iam-check" not in first.arguments
    assert second.arguments[:4] == ("run", "services", "update", "shop-api")
    assert "--no-invoker-iam-check" in second.arguments
    # One that is open already is not closed in between; neither is one that checks nothing by itself.
    for resource, there in (
        (service, served(checked=False)),
        (by_id(make(public=True), service.id), served(checked=True)),
    ):
        (only,) = decide(resource, there).commands
        assert "--no-invoker-iam-check" in only.arguments


def test_a_revision_of_the_api_that_did_not_get_ready_is_deployed_again(make: Make) -> None:
    (there,) = served(checked=True)
    status = {"latestCreatedRevisionName": "shop-api-2", "latestReadyRevisionName": "shop-api-1"}
    failed = {**there, "status": {**status, "conditions": [{"type": "Ready", "status": "False"}]}}
    changes = decide(by_id(make(), "service/shop-api"), [failed]).changes
    assert [change.before for change in changes if change.field == "failed_revision"] == ["shop-api-2"]
    assert "failed_revision" not in {
        change.field for change in decide(by_id(make(), "service/shop-api"), [there]).changes
    }


def test_a_canary_of_the_check_leaves_the_api_closed(make: Make) -> None:
    options = dataclasses.replace(OPTIONS, public=True, access=ApiAccess(anonymous="read"))
    canary = shares.Canary(percent=10, stable="shop-api-1")
    service = run.service(parse(PIPELINE), image="x", options=options, project_number="1", canary=canary)
    assert service.update is not None
    words = [word for command in service.update(served(checked=True)) for word in command.arguments]
    assert "--invoker-iam-check" in words
    assert "--no-invoker-iam-check" not in words


def test_a_public_grant_made_by_hand_is_removed(make: Make) -> None:
    policy = {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers", OPTIONS.member("scheduler")]}]}
    (command,) = decide(by_id(make(), "grants/service/shop-api"), policy).commands
    assert "allUsers" not in command.files["policy.json"]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([{"latestRevision": True, "percent": 100}], "newest revision"),
        ([{"latestRevision": True, "percent": 100}, {"revisionName": "a-1", "tag": "old"}], "newest revision"),
        ([{"revisionName": "a-1", "percent": 100}], "100% a-1"),
        (
            [{"revisionName": "a-1", "percent": 10}, {"latestRevision": True, "percent": 90}],
            "10% a-1, 90% newest revision",
        ),
    ],
)
def test_shares_that_were_set_by_hand_are_seen(parts: list[dict[str, object]], told: str) -> None:
    assert shares.of({"spec": {"traffic": parts}}).text == told
    assert shares.of({"spec": {"instanceSplits": parts}}).text == told


def test_latency_is_measured_without_the_streams_of_events(make: Make) -> None:
    resources = make()
    metric = by_id(resources, "metric/shop-latency")
    assert 'NOT jsonPayload.path=~"/events$"' in str(metric.wanted["filter"])
    assert metric.wanted["value"] == "EXTRACT(jsonPayload.duration_ms)"
    assert "user/shop-latency" in str(by_id(resources, "alert/shop-api-latency").wanted["filter"])


def test_a_channel_that_is_not_there_refuses_the_plan_instead_of_its_last_step(make: Make) -> None:
    name = "projects/some-project/notificationChannels/7"
    channel = by_id(make(channel=name), f"channel/{name}")
    assert decide(channel, [{"name": name}]).verb == "unchanged"
    with pytest.raises(
        Refused, match="names no notification channel of some-project: `gcloud beta monitoring channels"
    ):
        decide(channel, [{"name": "projects/some-project/notificationChannels/8"}])
    assert not [item for item in make() if item.kind == "channel"]


def test_every_incident_ends_by_itself(make: Make) -> None:
    alerts = [item for item in make() if item.kind == "alert"]
    assert len(alerts) == 9
    for item in alerts:
        assert json.loads(item.create[0].files["policy.json"])["alertStrategy"] == {"autoClose": "1800s"}


def test_charts_show_this_pipeline_alone(make: Make) -> None:
    for choices in ({}, {"workers": "job"}):
        dashboard = by_id(make(**choices), "dashboard/shop-pipeline")
        for tile in json.loads(dashboard.create[0].files["dashboard.json"])["mosaicLayout"]["tiles"]:
            query = tile["widget"]["xyChart"]["dataSets"][0]["timeSeriesQuery"]
            if "prometheusQuery" in query:
                assert ":user_shop_" in query["prometheusQuery"], tile["widget"]["title"]
                continue
            query = query["timeSeriesFilter"]
            assert "shop-" in query["filter"], tile["widget"]["title"]
            assert query["aggregation"]["groupByFields"], tile["widget"]["title"]


def test_jobs_replace_pools_and_are_started_every_minute(make: Make) -> None:
    resources = make(workers="job")
    assert not [item for item in resources if item.kind == "pool"]
    assert (
        by_id(resources, "job/shop-mail").wanted["arguments"] == "-m poolhouse.worker drain --queue=mail --budget=180"
    )
    assert by_id(resources, "schedule/shop-run-mail").wanted["cron"] == "* * * * *"


def test_an_autoscaler_owns_the_number_of_instances(make: Make) -> None:
    fixed, scaled = by_id(make(), "pool/shop-mail"), by_id(make(autoscale=True), "pool/shop-mail")
    assert fixed.wanted["instances"] == 1  # none would never work, with nobody to start one
    assert "instances" not in scaled.wanted
    assert not any(word.startswith("--scaling") for word in scaled.update(None)[0].arguments)
    (version,) = (item for item in make(autoscale=True) if item.kind == "parameter-version")
    (target,) = json.loads(version.create[0].files["autoscaler.yaml"])["spec"]["scaledObjects"]
    assert (target["spec"]["minReplicaCount"], target["spec"]["maxReplicaCount"]) == (0, 3)
    assert target["spec"]["triggers"][0]["metadata"]["value"] == "10"


def test_an_autoscaler_may_change_its_pools_alone_where_gcloud_can_grant_that(topology: Topology) -> None:
    options = dataclasses.replace(OPTIONS, autoscale=True)
    scaler = options.member("autoscaler")
    words = {"project_number": NUMBER, "tag": "t", "image": "i"}
    old, new = (
        grants_of(desired.resources(topology, options=options, tracks=tracks, **words), scaler)
        for tracks in (ReleaseTracks(), ReleaseTracks(pool_policies=True))
    )
    assert "roles/run.developer" in old["project/some-project"]
    assert "roles/run.developer" not in new["project/some-project"]
    assert new["pool/shop-mail"] == {"roles/run.developer"}
    assert new["account/shop-worker"] == {"roles/iam.serviceAccountUser"}


def test_an_autoscaler_that_was_changed_by_hand_is_put_back(make: Make) -> None:
    service = by_id(make(autoscale=True), "service/shop-autoscaler")
    notes = {
        "autoscaling.knative.dev/minScale": "1",
        "autoscaling.knative.dev/maxScale": "1",
        "run.googleapis.com/cpu-throttling": "false",
    }
    variables = [{"name": "CREMA_CONFIG", "value": f"versions/{service.wanted['configuration']}"}]
    container = {"image": service.wanted["image"], "env": variables}
    pod = {"containers": [container], "serviceAccountName": OPTIONS.account("autoscaler")}
    metadata = {"name": "shop-autoscaler", "labels": {LABEL: "shop"}}
    template = {"metadata": {"annotations": notes}, "spec": pod}
    there: Json = {
        "metadata": metadata,
        "spec": {"template": template, "traffic": [{"latestRevision": True, "percent": 100}]},
    }
    assert decide(service, [there]).verb == "unchanged"

    pinned = {**there, "spec": {**there["spec"], "traffic": [{"revisionName": "shop-autoscaler-1", "percent": 100}]}}
    (command,) = decide(service, [pinned]).commands
    assert command.arguments[1:4] == ("services", "update-traffic", "shop-autoscaler")
    for by_hand in (
        {"autoscaling.knative.dev/minScale": "0"},
        {"autoscaling.knative.dev/maxScale": "2"},
        {"run.googleapis.com/cpu-throttling": "true"},
    ):
        changed = {**template, "metadata": {"annotations": {**notes, **by_hand}}}
        (command,) = decide(service, [{**there, "spec": {**there["spec"], "template": changed}}]).commands
        assert command.arguments[:3] == ("run", "deploy", "shop-autoscaler")
    opened = {**metadata, "annotations": {"run.googleapis.com/invoker-iam-disabled": "true"}}
    (command,) = decide(service, [{**there, "metadata": opened}]).commands
    assert "--invoker-iam-check" in command.arguments


def test_a_changed_queue_changes_its_own_resources_alone(make: Make) -> None:
    before = {item.id: item for item in make()}
    changed = parse(PIPELINE.replace("retention_s = 86400", "retention_s = 90000"))
    different = {item.id for item in make(changed) if item.wanted != before[item.id].wanted}
    assert different == {"subscription/shop-mail-workers"}


def test_a_schedule_asks_the_api_under_its_fixed_url_with_its_own_account(make: Make) -> None:
    schedule = by_id(make(), "schedule/shop-nightly")
    assert schedule.wanted["uri"] == f"https://shop-api-{NUMBER}.europe-west1.run.app/schedules/nightly:due"
    assert schedule.wanted["body"] == "{}"
    assert schedule.wanted["time_zone"] == "Europe/Berlin"


def test_a_run_that_the_api_missed_is_sent_again_for_a_day_where_the_schedule_says_once(make: Make) -> None:
    changed = parse(PIPELINE.replace("[schedules.nightly]", '[schedules.nightly]\nmissed_runs = "once"'))
    skip, once = (by_id(resources, "schedule/shop-nightly") for resources in (make(), make(changed)))
    assert (skip.wanted["retry_for_s"], once.wanted["retry_for_s"]) == (0, 86_400)
    (update,) = skip.update(None)
    assert {"--max-retry-attempts=3", "--max-retry-duration=0s", "--max-backoff=3600s"} <= set(update.arguments)
    listed = [{"name": "jobs/shop-nightly", "retryConfig": {"retryCount": 3, "maxRetryDuration": "86400s"}}]
    assert (once.observe(listed) or {})["retry_for_s"] == 86_400


def test_others_bindings_conditions_and_the_etag_survive_a_merge() -> None:
    ours = managed(OPTIONS)
    stranger, worker, old = "user:ann@example.com", OPTIONS.member("worker"), OPTIONS.member("api")
    conditional = {"role": "roles/viewer", "members": [worker], "condition": {"title": "t", "expression": "true"}}
    policy = {
        "etag": "BwX=",
        "version": 3,
        "bindings": [
            {"role": "roles/pubsub.publisher", "members": [stranger, old]},
            {"role": "roles/editor", "members": [stranger]},
            {"role": "roles/pubsub.editor", "members": [old]},
            conditional,
        ],
    }
    merged = merge(policy, {"roles/pubsub.publisher": (worker,)}, ours=ours)
    assert merged["etag"] == "BwX="
    assert merged["version"] == 3
    assert merged["bindings"] == [
        {"role": "roles/pubsub.publisher", "members": sorted([stranger, worker])},
        {"role": "roles/editor", "members": [stranger]},
        conditional,
    ]
    assert observed(merged, wanted={"roles/pubsub.publisher": (worker,)}, ours=ours) == {
        "roles/pubsub.publisher": (worker,)
    }


def test_an_etag_is_sent_in_the_alphabet_that_gcloud_can_read_back(make: Make) -> None:
    bucket = by_id(make(), "grants/bucket/some-project-shop")
    text = bucket.update({"etag": "AAAA_-AA", "bindings": []})[0].files["policy.json"]
    assert json.loads(text)["etag"] == "AAAA/+AA"


def test_a_subscription_in_another_topic_is_refused(make: Make) -> None:
    subscription = by_id(make(), "subscription/shop-mail-workers")
    raw = [{"name": "projects/p/subscriptions/shop-mail-workers", "topic": "projects/p/topics/other"}]
    with pytest.raises(Exception, match="a subscription stays with its topic"):
        decide(subscription, raw)


def test_values_with_commas_are_escaped() -> None:
    assert pairs({"a": "1", "b": "2"}) == "a=1,b=2"
    assert pairs({"a": "1,2", "b": "x@y"}) == "^|^a=1,2|b=x@y"


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"project": "My Project"}, "a project id has 6 to 30"),
        ({"project": "some-project", "region": "Belgium"}, "regions read like"),
        ({"project": "some-project", "name": "a-very-long-name-indeed"}, "at most 17"),
        ({"project": "some-project", "autoscale": True, "workers": "job"}, 'autoscale is for workers = "pool"'),
        ({"project": "some-project", "name": "a" * 26, "family": "a"}, "at most 17"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_read(choices: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Options(**choices)  # type: ignore[arg-type]


def test_names_stay_within_what_google_allows(topology: Topology, make: Make) -> None:
    longest = dataclasses.replace(OPTIONS, name="a" * 17, autoscale=True)
    for purpose in longest.accounts:
        assert 6 <= len(longest.account(purpose).partition("@")[0]) <= 30
    assert len(longest.bucket) <= 63
