"""The rehearsal's strictness: what it accepts, a real deploy may rely on; what it refuses, Google refuses too."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from typing import Any

import pytest

from poolhouse.cloud.gcloud import advice
from poolhouse.cloud.kinds import secrets
from poolhouse.cloud.options import Options
from poolhouse.cloud.rehearsal import beforehand
from poolhouse.cloud.rehearsal.control_plane import ControlPlane
from poolhouse.cloud.rehearsal.faults import Fault, Faults
from poolhouse.cloud.rehearsal.http import ApiError, Request, Response
from poolhouse.cloud.rehearsal.newer import NEWER
from poolhouse.cloud.rehearsal.services import ROUTES
from poolhouse.cloud.rehearsal.services.connections import check_connections
from poolhouse.cloud.rehearsal.services.pubsub import dead_letter_gaps
from poolhouse.cloud.rehearsal.state import PROJECT_NUMBER
from poolhouse.pipeline.config.topology import parse

PROJECT = "rehearsal-project"
BASE = f"/v1/projects/{PROJECT}"
AGENT = f"serviceAccount:service-{PROJECT_NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"


class Caller:
    def __init__(self, faults: Faults | None = None, *apis: str) -> None:
        self.control_plane = ControlPlane(project=PROJECT, token="word", routes=ROUTES, faults=faults or Faults())
        self.control_plane.state.enabled.update(
            f"{api}.googleapis.com" for api in apis or ("pubsub", "iam", "logging", "monitoring")
        )

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        host: str = "pubsub",
        token: str = "Bearer word",
        **query: str,
    ) -> Response:
        headers = {"authorization": token} if token else {}
        content = b"" if body is None else json.dumps(body).encode()
        request = Request(
            host=f"{host}.googleapis.com", method=method, path=path, query=query, headers=headers, body=content
        )
        return self.control_plane(request)

    def agent(self) -> None:
        path = f"/v1beta1/projects/{PROJECT}/services/pubsub.googleapis.com:generateServiceIdentity"
        assert self("POST", path, {}, host="serviceusage").status == 200

    def topic(self, name: str) -> None:
        assert self("PUT", f"{BASE}/topics/{name}", {}).status == 200


@pytest.fixture
def call() -> Caller:
    return Caller()


def test_a_caller_without_a_token_or_with_another_is_refused(call: Caller) -> None:
    assert call("GET", f"{BASE}/topics", token="").status == 403
    assert call("GET", f"{BASE}/topics", token="Bearer other").status == 401


def test_an_api_that_is_off_says_so_as_service_usage_does() -> None:
    answer = Caller(None, "iam")("GET", f"{BASE}/topics")
    assert answer.status == 403
    assert answer.body["error"]["details"][0]["reason"] == "SERVICE_DISABLED"


def test_another_project_is_refused(call: Caller) -> None:
    assert call("GET", "/v1/projects/other-project/topics").status == 403


def test_making_a_thing_twice_is_a_conflict_and_a_missing_one_is_not_found(call: Caller) -> None:
    call.topic("mail")
    assert call("PUT", f"{BASE}/topics/mail", {}).status == 409
    assert call("GET", f"{BASE}/topics/none").status == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ackDeadlineSecond": 30}, 'Unknown name "ackDeadlineSecond"'),
        ({"ackDeadlineSeconds": 5}, "ackDeadlineSeconds"),
        ({"messageRetentionDuration": "1s"}, "messageRetentionDuration"),
        ({"labels": {"Upper": "x"}}, "labels"),
        ({"retryPolicy": {"minimumBackoff": "20s", "maximumBackoff": "10s"}}, "minimumBackoff is above"),
        ({"deadLetterPolicy": {"maxDeliveryAttempts": 4}}, "maxDeliveryAttempts"),
    ],
)
def test_unknown_fields_and_values_out_of_range_are_named(call: Caller, change: dict[str, Any], words: str) -> None:
    call.topic("mail")
    answer = call("PUT", f"{BASE}/subscriptions/mail-workers", {"topic": f"projects/{PROJECT}/topics/mail", **change})
    assert answer.status == 400
    assert words in answer.body["error"]["message"]


INTERFACE = '[{"network": "backend", "subnetwork": "backend-eu"}]'


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        ({"network-interfaces": INTERFACE, "vpc-access-egress": "all-traffic"}, ""),
        ({"cloudsql-instances": ""}, ""),
        ({"cloudsql-instances": "some-project:europe-west1:orders,example.com:other:us-east1:stock"}, ""),
        ({"cloudsql-instances": "orders"}, "is not PROJECT:REGION:INSTANCE"),
        ({"vpc-access-egress": "all-traffic"}, "needs a network interface"),
        ({"network-interfaces": INTERFACE, "vpc-access-egress": "none"}, "is no egress setting"),
        ({"network-interfaces": "backend"}, "no JSON"),
        ({"network-interfaces": "[{}]"}, "at least one of network and subnetwork"),
        ({"network-interfaces": '[{"subnet": "a"}]'}, 'Unknown name "subnet"'),
        ({"network-interfaces": '[{"network": "a"}, {"network": "b"}]'}, "at most 1"),
        ({"network-interfaces": '[{"subnetwork": "projects/p/regions/us-east1/subnetworks/s"}]'}, "not in region"),
    ],
)
def test_connections_are_checked_as_cloud_run_does(notes: dict[str, str], words: str) -> None:
    annotations = {f"run.googleapis.com/{name}": value for name, value in notes.items()}
    if not words:
        check_connections(annotations, "europe-west1")
        return
    with pytest.raises(ApiError) as refusal:
        check_connections(annotations, "europe-west1")
    assert words in refusal.value.message


def test_a_subscription_needs_its_topics(call: Caller) -> None:
    call.topic("mail")
    policy = {"deadLetterTopic": f"projects/{PROJECT}/topics/none", "maxDeliveryAttempts": 5}
    body = {"topic": f"projects/{PROJECT}/topics/mail", "deadLetterPolicy": policy}
    assert call("PUT", f"{BASE}/subscriptions/mail-workers", body).status == 404


def test_a_policy_with_an_old_etag_is_a_conflict(call: Caller) -> None:
    call.topic("mail")
    call.agent()
    etag = call("GET", f"{BASE}/topics/mail:getIamPolicy").body["etag"]
    wanted = {"policy": {"etag": etag, "bindings": [{"role": "roles/pubsub.publisher", "members": [AGENT]}]}}
    assert call("POST", f"{BASE}/topics/mail:setIamPolicy", wanted).status == 200
    assert call("POST", f"{BASE}/topics/mail:setIamPolicy", wanted).status == 409


def test_an_account_that_is_not_there_can_not_be_bound_and_a_fresh_one_not_at_once() -> None:
    call = Caller(Faults(account_uses=1))
    call.topic("mail")
    email = f"some-account@{PROJECT}.iam.gserviceaccount.com"
    body = {"policy": {"bindings": [{"role": "roles/pubsub.publisher", "members": [f"serviceAccount:{email}"]}]}}
    assert call("POST", f"{BASE}/topics/mail:setIamPolicy", body).status == 400
    made = call("POST", f"{BASE}/serviceAccounts", {"accountId": "some-account"}, host="iam")
    assert made.body["email"] == email
    assert call("POST", f"{BASE}/topics/mail:setIamPolicy", body).status == 400
    assert call("POST", f"{BASE}/topics/mail:setIamPolicy", body).status == 200


def test_the_agent_of_pubsub_is_not_there_until_it_is_asked_for(call: Caller) -> None:
    call.topic("mail")
    body = {"policy": {"bindings": [{"role": "roles/pubsub.publisher", "members": [AGENT]}]}}
    assert call("POST", f"{BASE}/topics/mail:setIamPolicy", body).status == 400
    call.agent()
    assert call("POST", f"{BASE}/topics/mail:setIamPolicy", body).status == 200


def build_of(call: Caller, roles: Sequence[str]) -> dict[str, Any]:
    """A build by an account that has some roles on the bucket of its source."""
    call("POST", f"{BASE}/serviceAccounts", {"accountId": "builder"}, host="iam")
    email = f"builder@{PROJECT}.iam.gserviceaccount.com"
    call("POST", "/storage/v1/b", {"name": "some-bucket"}, host="storage")
    bindings = [{"role": role, "members": [f"serviceAccount:{email}"]} for role in roles]
    assert call("PUT", "/storage/v1/b/some-bucket/iam", {"bindings": bindings}, host="storage").status == 200
    call.control_plane.state.objects["some-bucket", "source"] = archive("Dockerfile")
    return {
        "steps": [{"name": "builder"}],
        "source": {"storageSource": {"bucket": "some-bucket", "object": "source"}},
        "logsBucket": "gs://some-bucket/logs",
        "serviceAccount": f"projects/{PROJECT}/serviceAccounts/{email}",
    }


@pytest.mark.parametrize(
    ("roles", "uses", "statuses"),
    [
        (("roles/storage.objectUser",), 0, [400, 400]),
        (("roles/storage.objectUser", "roles/storage.legacyBucketReader"), 0, [200]),
        (("roles/storage.objectUser", "roles/storage.legacyBucketReader"), 2, [400, 400, 200]),
    ],
    ids=["objects alone", "objects and bucket", "a grant that is not seen at once"],
)
def test_a_build_wants_its_account_to_see_the_bucket(roles: tuple[str, ...], uses: int, statuses: list[int]) -> None:
    call = Caller(Faults(grant_uses=uses), "storage", "iam", "cloudbuild")
    build = build_of(call, roles)
    answers = [call("POST", f"{BASE}/locations/us-central1/builds", build, host="cloudbuild") for _ in statuses]
    assert [answer.status for answer in answers] == statuses, [answer.body for answer in answers]
    assert all("does not have access to the bucket" in answer.payload.decode() for answer in answers[:-1])


def test_a_push_is_refused_until_the_grant_on_the_repository_is_seen() -> None:
    call = Caller(Faults(grant_uses=1), "storage", "iam", "cloudbuild", "artifactregistry")
    build = build_of(call, ("roles/storage.objectUser", "roles/storage.legacyBucketReader"))
    repositories, builds = f"{BASE}/locations/europe-west1/repositories", f"{BASE}/locations/us-central1/builds"
    made = call("POST", repositories, {"format": "DOCKER"}, host="artifactregistry", repositoryId="shop")
    assert made.status == 200
    member = f"serviceAccount:builder@{PROJECT}.iam.gserviceaccount.com"
    bindings = [{"role": "roles/artifactregistry.writer", "members": [member]}]
    policy = {"policy": {"bindings": bindings}}
    assert call("POST", f"{repositories}/shop:setIamPolicy", policy, host="artifactregistry").status == 200
    build["images"] = [f"europe-west1-docker.pkg.dev/{PROJECT}/shop/shop:tag"]
    assert call("POST", builds, build, host="cloudbuild").status == 400  # the bucket's grant is not seen either
    ended = [call("POST", builds, build, host="cloudbuild").body["response"] for _ in range(2)]
    assert [each["status"] for each in ended] == ["FAILURE", "SUCCESS"]
    assert ended[0]["failureInfo"]["type"] == "PUSH_NOT_AUTHORIZED"


@pytest.mark.parametrize("apis", [(), ("containeranalysis",)], ids=["off", "on"])
def test_a_verified_build_needs_the_api_that_keeps_its_provenance(apis: tuple[str, ...]) -> None:
    call = Caller(Faults(), "storage", "iam", "cloudbuild", *apis)
    build = build_of(call, ("roles/storage.objectUser", "roles/storage.legacyBucketReader"))
    build["options"] = {"requestedVerifyOption": "VERIFIED"}
    answer = call("POST", f"{BASE}/locations/us-central1/builds", build, host="cloudbuild")
    assert answer.status == 200
    failed = "Container Analysis API is not enabled" in answer.payload.decode()
    assert failed == (not apis)


def reference(digest: str = "a" * 64, subject: str = "a" * 64) -> dict[str, Any]:
    """An image's reference to its bill of materials, as gcloud writes it."""
    predicate = {"digest": {"sha256": "b" * 64}, "location": "gs://b/bom.json", "mimeType": "application/json"}
    payload = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://example.com/reference/v0.1",
        "subject": [{"name": "image", "digest": {"sha256": subject}}],
        "predicate": predicate,
    }
    return {
        "noteName": f"projects/{PROJECT}/notes/sbom",
        "resourceUri": f"https://europe-west1-docker.pkg.dev/{PROJECT}/shop/shop@sha256:{digest}",
        "sbomReference": {"payloadType": "application/vnd.in-toto+json", "payload": payload},
    }


def test_a_bill_of_materials_belongs_to_a_note_and_names_the_image_that_it_is_of() -> None:
    call = Caller(Faults(), "containeranalysis")

    def attach(body: dict[str, Any]) -> int:
        return call("POST", f"{BASE}/occurrences", body, host="containeranalysis").status

    def listed(wanted: str) -> Response:
        return call("GET", f"{BASE}/occurrences", host="containeranalysis", filter=wanted)

    assert attach(reference()) == 404  # there is no such note
    note = {"kind": "SBOM_REFERENCE", "sbomReference": {"format": "cyclonedx", "version": "1.5"}}
    made = [call("POST", f"{BASE}/notes", note, host="containeranalysis", noteId="sbom").status for _ in range(2)]
    assert made == [200, 409]
    assert attach(reference(subject="c" * 64)) == 400
    assert attach({**reference(), "resourceUri": "shop"}) == 400
    assert attach(reference()) == 200
    image = reference()["resourceUri"]
    found = [
        len(listed(wanted).body["occurrences"])
        for wanted in (
            f'(has_prefix(resourceUrl, "{image[:-70]}") OR has_prefix(resourceUrl, "x")) AND (kind = "SBOM_REFERENCE")',
            f'(noteId="sbom" AND noteProjectId="{PROJECT}") AND ((resourceUrl = "{image}"))',
            '(kind = "VULNERABILITY")',
            f'(resourceUrl = "{image}") AND (noteId="other")',
        )
    ]
    assert found == [1, 1, 0, 0]
    assert listed("kind ~ everything").status == 400


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as made:
        for name in names:
            made.addfile(tarfile.TarInfo(name))
    return file.getvalue()


def test_gaps_on_the_way_of_a_dead_letter_are_found(call: Caller) -> None:
    for name in ("mail", "dead"):
        call.topic(name)
    policy = {"deadLetterTopic": f"projects/{PROJECT}/topics/dead", "maxDeliveryAttempts": 5}
    body = {"name": f"projects/{PROJECT}/subscriptions/mail-workers", "topic": f"projects/{PROJECT}/topics/mail"}
    call("PUT", f"{BASE}/subscriptions/mail-workers", {**body, "deadLetterPolicy": policy})
    for item in call.control_plane.state.items.values():
        item.setdefault("name", "")
    assert len(dead_letter_gaps(call.control_plane.state)) == 3


def test_a_lost_answer_leaves_its_work_behind() -> None:
    call = Caller(Faults(faults=[Fault(match="PUT .*/topics/mail", lost=True)]))
    assert call("PUT", f"{BASE}/topics/mail", {}).status == 503
    assert call("PUT", f"{BASE}/topics/mail", {}).status == 409


def test_every_request_is_in_the_log_and_no_token_is(call: Caller) -> None:
    call("GET", f"{BASE}/topics")
    call("GET", f"{BASE}/topics", token="Bearer secret-word")
    assert [(entry.method, entry.path, entry.status) for entry in call.control_plane.log] == [
        ("GET", f"{BASE}/topics", 200),
        ("GET", f"{BASE}/topics", 401),
    ]
    assert "secret-word" not in repr(call.control_plane.log)


def test_the_same_alert_can_be_made_twice_which_is_why_they_carry_labels(call: Caller) -> None:
    threshold = {"filter": 'metric.type="a" AND resource.type="b"', "comparison": "COMPARISON_GT", "duration": "60s"}
    body = {"combiner": "OR", "conditions": [{"displayName": "x", "conditionThreshold": threshold}]}
    path = f"/v3/projects/{PROJECT}/alertPolicies"
    names = {call("POST", path, body, host="monitoring").body["name"] for _ in range(2)}
    assert len(names) == 2


def test_a_mistake_of_the_rehearsal_itself_is_kept_and_answered_with_a_500(call: Caller) -> None:
    call.topic("mail")
    assert call("PATCH", f"{BASE}/topics/mail", {}).status == 500
    assert len(call.control_plane.bugs) == 1


def test_a_promql_condition_is_held_to_what_google_says_of_it(call: Caller) -> None:
    path = f"/v3/projects/{PROJECT}/alertPolicies"

    def create(**fields: object) -> Response:
        condition = {"query": "vector(1) > 2", "duration": "60s", **fields}
        body = {"combiner": "OR", "conditions": [{"conditionPrometheusQueryLanguage": condition}]}
        return call("POST", path, body, host="monitoring")

    assert create(evaluationInterval="60s", disableMetricValidation=True).status == 200
    for wrong in ({"query": ""}, {"evaluationInterval": "45s"}, {"expr": "vector(1)"}, {"duration": "1m"}):
        assert create(**wrong).status == 400, wrong


def test_each_label_of_a_log_metric_has_an_extractor(call: Caller) -> None:
    body = {
        "name": "shop-wait",
        "filter": "severity>=ERROR",
        "valueExtractor": "EXTRACT(jsonPayload.waited_s)",
        "metricDescriptor": {"valueType": "DISTRIBUTION", "labels": [{"key": "queue", "valueType": "STRING"}]},
        "bucketOptions": {"explicitBuckets": {"bounds": [1, 2]}},
    }
    path = f"/v2/projects/{PROJECT}/metrics"
    assert call("POST", path, body, host="logging").status == 400
    extracted = {**body, "labelExtractors": {"queue": "EXTRACT(jsonPayload.queue)"}}
    assert call("POST", path, extracted, host="logging").status == 200


SERVICES = f"/apis/serving.knative.dev/v1/namespaces/{PROJECT}/services"


def service(*shares: dict[str, Any], image: str = "image") -> dict[str, Any]:
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "a", "namespace": PROJECT},
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}, "traffic": list(shares)},
    }


def test_another_template_is_another_revision_and_shares_go_to_revisions_that_are_there() -> None:
    call, host = Caller(None, "run"), "europe-west1-run"
    made = call("POST", SERVICES, service({"latestRevision": True, "percent": 100}), host=host)
    assert made.body["status"]["latestReadyRevisionName"] == "a-00001-reh"
    half = ({"revisionName": "a-00001-reh", "percent": 50}, {"latestRevision": True, "percent": 50})
    put = call("PUT", f"{SERVICES}/a", service(*half), host=host)
    assert put.body["status"]["latestReadyRevisionName"] == "a-00001-reh"
    put = call("PUT", f"{SERVICES}/a", service(*half, image="other"), host=host)
    assert [share["revisionName"] for share in put.body["status"]["traffic"]] == ["a-00001-reh", "a-00002-reh"]
    for wrong, words in ((half[:1], "add up to 100"), (({"revisionName": "a-9", "percent": 100},), "'a-9'")):
        refused = call("PUT", f"{SERVICES}/a", service(*wrong), host=host)
        assert refused.status == 400
        assert words in refused.body["error"]["message"]
    path = SERVICES.removesuffix("services") + "revisions"
    found = call("GET", path, host=host, labelSelector="serving.knative.dev/service = a").body["items"]
    images = {item["metadata"]["name"]: item["spec"]["containers"][0]["image"] for item in found}
    assert images == {"a-00001-reh": "image", "a-00002-reh": "other"}
    assert call("GET", path, host=host, labelSelector="serving.knative.dev/service = b").body["items"] == []
    assert call("DELETE", f"{SERVICES}/a", host=host).status == 200
    assert call("GET", path, host=host).body["items"] == []


@pytest.mark.parametrize(
    ("constraint", "where", "breaks", "keeps"),
    [
        ("gcp.resourceLocations", ("storage", "/storage/v1/b"), {"location": "EUROPE-WEST1"}, {"location": "US"}),
        (
            "storage.uniformBucketLevelAccess", ("storage", "/storage/v1/b"), {},
            {"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}},
        ),
        (
            "storage.publicAccessPrevention", ("storage", "/storage/v1/b"), {},
            {"iamConfiguration": {"publicAccessPrevention": "enforced"}},
        ),
        ("iam.disableServiceAccountCreation", ("iam", f"{BASE}/serviceAccounts"), {}, None),
        (
            "iam.allowedPolicyMemberDomains", ("pubsub", f"{BASE}/topics/t:setIamPolicy"),
            {"policy": {"bindings": [{"role": "roles/pubsub.viewer", "members": ["allUsers"]}]}},
            {"policy": {"bindings": [{"role": "roles/pubsub.viewer", "members": ["user:a@b.c"]}]}},
        ),
        (
            "run.managed.requireInvokerIam", ("europe-west1-run", SERVICES),
            {"metadata": {"annotations": {"run.googleapis.com/invoker-iam-disabled": "true"}}}, {"metadata": {}},
        ),
        (
            "run.allowedIngress", ("europe-west1-run", SERVICES), {"metadata": {}},
            {"metadata": {"annotations": {"run.googleapis.com/ingress": "internal"}}},
        ),
    ],
)  # fmt: skip
def test_a_policy_of_the_organisation_refuses_what_breaks_it_and_nothing_else(
    constraint: str, where: tuple[str, str], breaks: Any, keeps: Any
) -> None:
    host, path = where
    call = Caller(Faults(constraints=(constraint,)))
    answer = call("POST", path, breaks, host=host)
    assert answer.status == (412 if host == "storage" else 400)
    assert f"constraints/{constraint}" in answer.body["error"]["message"]
    assert advice.verdict(f"FAILED_PRECONDITION: {answer.body['error']['message']}") == "final"
    assert "organisation" in advice.advise(answer.body["error"]["message"])
    if keeps is not None:
        assert f"constraints/{constraint}" not in json.dumps(call("POST", path, keeps, host=host).body)
    assert f"constraints/{constraint}" not in json.dumps(Caller()("POST", path, breaks, host=host).body)


def test_a_field_of_a_later_version_comes_in_answers_and_may_be_sent_back() -> None:
    call = Caller(Faults(newer_fields=True))
    call.topic("some")
    found = call("GET", f"{BASE}/topics/some").body
    assert found[NEWER]
    (listed,) = call("GET", f"{BASE}/topics").body["topics"]
    assert listed == found
    assert (
        call(
            "PATCH",
            f"{BASE}/topics/some",
            {"topic": {NEWER: found[NEWER], "labels": {"a": "b"}}, "updateMask": "labels"},
        ).status
        == 200
    )
    assert NEWER not in repr(call.control_plane.state.items)


def test_what_people_make_before_a_deploy_is_there_and_is_found() -> None:
    email = "orders@identities.iam.gserviceaccount.com"
    text = (
        f"[secrets]\nTOKEN = 3\nKEY = 'latest'\n[queues.mail]\n[deploy.accounts]\napi = '{email}'\nworker = '{email}'"
    )
    declared = parse(text)
    caller = Caller(None, "pubsub")
    made = beforehand.make(caller.control_plane.state, declared, options=Options.declared(declared, project=PROJECT))
    assert made == set(caller.control_plane.state.items)
    assert caller("GET", f"/v1/projects/-/serviceAccounts/{email}", host="iam").body["email"] == email
    numbers = {}
    for name in ("TOKEN", "KEY"):
        found = caller("GET", f"{BASE}/secrets/poolhouse-{name}/versions", host="secretmanager").body
        numbers[name] = secrets.enabled(found["versions"])
    assert numbers == {"TOKEN": (3, 2, 1), "KEY": (1,)}
