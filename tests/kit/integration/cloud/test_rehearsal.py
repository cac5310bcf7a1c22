"""The whole way with the real gcloud: deploy, deploy again, change, break off, go on, destroy.

A command of gcloud takes a second of CPU, most of it to start. Those of a rehearsal are forks of one that has started
(poolhouse/cloud/rehearsal/forkserver); the deploy that is broken off runs gcloud's own program, as a real deploy does.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import hcl2
import pytest
import requests

from poolhouse.cloud import releases
from poolhouse.cloud.gcloud import release_tracks
from poolhouse.cloud.options import Options
from poolhouse.cloud.rehearsal.faults import Fault, Faults
from poolhouse.cloud.rehearsal.front import Running
from poolhouse.cloud.rehearsal.services.pubsub import dead_letter_gaps
from poolhouse.cloud.rehearsal.services.run import open_to_all
from poolhouse.cloud.rehearsal.simulation import PROJECT, simulate
from poolhouse.cloud.resource import command
from poolhouse.local.backend import UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.processes import ports
from tests.kit.integration.cloud.rehearsal import PIPELINE, TIMEOUT_S, Rehearsal, make_root, work

#: Pages of the console.
CONSOLE = (
    "/",
    "/tasks?status=succeeded",
    "/delayed",
    "/groups",
    "/limits",
    "/submit",
    "/files",
    "/dead-letters",
    "/schedules",
    "/triggers",
    "/emulator",
)
POOL = f"run/{PROJECT}/europe-west1/workerpools/shop-mail"
#: A service account that no deploy has made.
OWN_ACCOUNT = f"orders@{PROJECT}.iam.gserviceaccount.com"
pytestmark = [pytest.mark.xdist_group("rehearsal"), pytest.mark.usefixtures("gcloud_program")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def running(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A local stack of the same pipeline, which stands in for what was deployed."""
    backend = Embedded(tmp_path_factory.mktemp("stack"))
    environment = {"PIPELINE_FILE": str(root / "pipeline.toml")}
    options = UpOptions(attached=True, api_port=ports.choose(), timeout_s=120, environment=environment)
    endpoints = backend.up(options, lambda line: None)
    yield Running(
        api_url=endpoints.api_url,
        storage_url=endpoints.storage_url,
        buckets={Options(project=PROJECT, name="shop").bucket: endpoints.bucket},
    )
    backend.down()


@pytest.fixture(scope="module")
def deployed(root: Path, running: Running) -> Iterator[Rehearsal]:
    """A deploy that a person breaks off, one that is killed, and the next, which finishes it.

    All meet what real ones meet: slow operations, accounts and agents that are not known at once, a lost answer, a
    policy that somebody else changes at the same time.
    """
    faults = Faults(
        faults=[
            Fault(match=r"PUT pubsub\.googleapis\.com/.*/topics/shop-mail$", lost=True),
            Fault(
                match=r"POST pubsub\.googleapis\.com/.*:setIamPolicy",
                status="ABORTED",
                message="There were concurrent policy changes.",
            ),
        ],
        operation_polls=1,
        account_uses=1,
        agent_uses=1,
        grant_uses=2,
    )
    with simulate(faults=faults, running=running) as simulation:
        rehearsal = Rehearsal(simulation, root)
        code, output = rehearsal.break_off(signal.SIGTERM, at=lambda entry: "/topics/shop" in entry.path)
        assert code == 128 + signal.SIGTERM, output
        assert re.search(r"Broken off: \d+ of \d+ actions are done and stay done\. Run it again", output), output
        assert "Traceback" not in output
        code, output = rehearsal.break_off(signal.SIGKILL, at=lambda entry: entry.host == "cloudbuild.googleapis.com")
        assert code == -signal.SIGKILL, output
        last = rehearsal.deploy()
        assert "create service/shop-api" in work(last)
        assert "create apis/rehearsal-project" not in work(last)
        assert "create topic/shop-mail" not in work(last)
        yield rehearsal
        assert simulation.control_plane.bugs == []


def test_a_second_deploy_changes_nothing(deployed: Rehearsal) -> None:
    seen = len(deployed.simulation.control_plane.log)
    assert work(deployed.deploy()) == []
    # Reading a policy is a POST in the two oldest APIs.
    changed = [
        entry
        for entry in deployed.simulation.control_plane.log[seen:]
        if entry.method != "GET" and not entry.path.endswith(":getIamPolicy")
    ]
    assert changed == []


def test_a_build_whose_push_is_refused_is_built_again_until_the_grant_is_seen(deployed: Rehearsal) -> None:
    builds = deployed.simulation.control_plane.state.listed(
        f"cloudbuild/projects/{PROJECT}/locations/europe-west1/builds/"
    )
    assert [build["status"] for build in builds] == ["FAILURE", "FAILURE", "SUCCESS"]
    assert {build["failureInfo"]["type"] for build in builds[:-1]} == {"PUSH_NOT_AUTHORIZED"}


def test_the_image_has_its_bill_of_materials(deployed: Rehearsal) -> None:
    state = deployed.simulation.control_plane.state
    (reference,) = state.listed(f"containeranalysis/projects/{PROJECT}/occurrences/")
    (service,) = (item for name, item in state.items.items() if name.endswith("/services/shop-api"))
    image = service["spec"]["template"]["spec"]["containers"][0]["image"]
    assert reference["resourceUri"] == f"https://{image}"
    ((bucket, content),) = (
        (bucket, content) for (bucket, name), content in state.objects.items() if name.startswith("sbom/")
    )
    assert bucket == f"{PROJECT}-shop-build"
    predicate = reference["sbomReference"]["payload"]["predicate"]
    assert predicate["digest"] == {"sha256": hashlib.sha256(content).hexdigest()}
    assert "pkg:pypi/jinja2@1.2" in content.decode()
    options = Options(project=PROJECT, name="shop")
    known = releases.packages(deployed.gcloud(), image, options=options)
    assert known is not None
    assert {"jinja2", "python-multipart"} <= known


def test_terraform_imports_all_that_a_deploy_has_made(deployed: Rehearsal, tmp_path: Path) -> None:
    folder = tmp_path / "terraform"
    code, output = deployed.run("export", "terraform", "--with-imports", "--folder", str(folder))
    assert code == 0, output
    made = set()
    for path in folder.glob("*.tf"):
        for block in hcl2.loads(path.read_text()).get("resource", ()):
            for type_, named in block.items():
                for name, body in named.items():
                    each = body.get("for_each", {"": None})
                    keys = re.findall(r'"(.*?)"', each) if isinstance(each, str) else each
                    address = f"{type_}.{name}".replace('"', "")
                    made |= {f'{address}["{key.strip(chr(34))}"]' if key else address for key in keys}
    made.remove("google_project_service_identity.pubsub")  # can't be imported; asking for it again changes nothing
    imports = hcl2.loads((folder / "imports.tf").read_text())["import"]
    assert {block["to"].removeprefix("${").removesuffix("}") for block in imports} == made
    assert f"{len(made)} import blocks" in output
    assert re.search(
        r'default += "europe-west1-docker.pkg.dev/\S+@sha256:[0-9a-f]{64}"', (folder / "variables.tf").read_text()
    )


def test_dead_letters_find_their_way(deployed: Rehearsal) -> None:
    assert dead_letter_gaps(deployed.simulation.control_plane.state) == []


def test_the_commands_of_every_day_work_on_what_is_deployed(deployed: Rehearsal, running: Running) -> None:
    code, output = deployed.run("status")
    assert code == 0, output
    assert re.search(r"service +shop-api +yes", output), output
    assert re.search(r"pool +shop-mail +yes +1 ", output), output
    assert re.search(r"mail +0 +0 ", output), output

    code, output = deployed.run("submit", "sample.failing", "message=alas", "--wait")
    assert code == 1, output
    assert "RuntimeError: alas" in output
    code, output = deployed.run("dlq", "list", "--json")
    assert code == 0, output
    (letter,) = (json.loads(line) for line in output.splitlines() if line.startswith("{"))
    assert letter["reason"].endswith("RuntimeError: alas")
    code, output = deployed.run("dlq", "discard", letter["task_id"], "--yes")
    assert code == 0, output
    code, output = deployed.run("dlq", "show", letter["task_id"])
    assert code == 1, output
    assert letter["task_id"] in output
    assert "Traceback" not in output

    code, output = deployed.run("schedule", "pause", "nightly")
    assert code == 0, output
    code, output = deployed.run("schedule", "list")
    assert re.search(r"nightly.*paused", output), output
    code, output = deployed.run("schedule", "run", "nightly")
    assert code == 0, output
    code, output = deployed.run("schedule", "resume", "nightly")
    assert code == 0, output
    code, output = deployed.run("schedule", "list")
    assert not re.search(r"nightly.*paused", output), output

    code, output = deployed.run("e2e")
    assert code == 0, output
    assert output.count("ok  ") == 9
    (own,) = running.buckets.values()
    objects = requests.get(f"{running.storage_url}/storage/v1/b/{own}/o", timeout=30).json()
    folders = {item["name"].partition("/")[0] for item in objects["items"]}
    assert "tasks" in folders
    assert not {"uploads", "processed"} & folders  # what the e2e uploaded, and what was made of it

    code, output = deployed.run("logs", "--lines", "5")
    assert code == 0, output
    assert len(output.splitlines()) == 5
    assert re.search(r"INFO +shop-api +GET https://shop-api-\d+\.europe-west1\.run\.app/queues 200", output), output
    with deployed.command("logs", "--lines", "1", "--follow") as following:
        assert following.stdout is not None
        assert "shop-api" in following.stdout.readline()
        assert deployed.run("tasks", "--limit", "1")[0] == 0
        assert "/tasks 200" in following.stdout.readline()
        following.terminate()
        assert following.wait(TIMEOUT_S) == 128 + signal.SIGTERM
    with deployed.command("console", "--port", str(ports.choose())) as showing:
        assert showing.stdout is not None
        address = showing.stdout.readline().split()[0]
        pages = {path: requests.get(address + path, timeout=TIMEOUT_S) for path in CONSOLE}
        assert {path: page.status_code for path, page in pages.items()} == dict.fromkeys(CONSOLE, 200)
        tasks = pages["/tasks?status=succeeded"].text
        assert "sample.echo" in tasks or "file_processing" in tasks, tasks
        assert 'href="https://console.cloud.google.com/logs/query;query=' in tasks
        showing.terminate()
        assert showing.wait(TIMEOUT_S) == 128 + signal.SIGTERM


def trace_writers(deployed: Rehearsal) -> set[str]:
    """The accounts that may write spans."""
    bindings = deployed.simulation.control_plane.state.policies[f"cloudresourcemanager/projects/{PROJECT}"]["bindings"]
    found = (binding["members"] for binding in bindings if binding["role"] == "roles/telemetry.tracesWriter")
    return {member.partition(":")[2].partition("@")[0] for members in found for member in members}


def test_a_changed_pipeline_changes_only_that(deployed: Rehearsal) -> None:
    size = 'gpu = "nvidia-l4"\ncpu = 4\nmemory_mib = 16384'
    queue = f"[queues.mail]\nexactly_once = true\n[queues.mail.workers]\n{size}"
    connections = 'cloud_sql = ["orders"]\nvpc = { network = "backend", subnet = "backend-eu", tags = ["shop"] }'
    traces = '[env]\nTRACES_EXPORTER = "cloud_trace"'
    deployed.write(
        f'{PIPELINE.replace("[queues.mail.workers]", queue)}\n[deploy]\npublic = "read"\n{connections}\n{traces}\n'
    )
    assert set(work(deployed.deploy())) == {
        "update subscription/shop-mail-workers",
        "update pool/shop-mail",
        "update service/shop-api",
        "update job/shop-dead-letters",  # runs no handler: in the network, and without the database
        f"update apis/{PROJECT}",
        f"update grants/project/{PROJECT}",
    }
    service = deployed.simulation.control_plane.state.items[f"run/{PROJECT}/europe-west1/services/shop-api"]
    assert open_to_all(service)
    rules = {item["name"]: item.get("value") for item in service["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert json.loads(rules["API_ACCESS"])["anonymous"] == "read"
    assert rules["TRACES_EXPORTER"] == "cloud_trace"
    assert trace_writers(deployed) == {f"shop-{part}" for part in ("api", "worker", "dead-letters")}
    pool = deployed.simulation.control_plane.state.items[POOL]["spec"]["template"]["spec"]
    assert pool["nodeSelector"] == {"run.googleapis.com/accelerator": "nvidia-l4"}
    assert pool["containers"][0]["resources"]["limits"] == {"cpu": "4000m", "memory": "16384Mi", "nvidia.com/gpu": "1"}
    assert {"telemetry.googleapis.com", "cloudtrace.googleapis.com"} <= deployed.simulation.control_plane.state.enabled


def test_what_was_changed_by_hand_is_put_back_in_each_kind_of_resource(deployed: Rehearsal) -> None:
    deployed.write(PIPELINE)
    deployed.deploy()  # whatever the test before has left: a network, a database and traces go from every part
    assert trace_writers(deployed) == set()
    state = deployed.simulation.control_plane.state
    service = state.items[f"run/{PROJECT}/europe-west1/services/shop-api"]
    old = service["status"]["latestReadyRevisionName"]
    service["spec"]["traffic"] = [{"revisionName": old, "percent": 100}]
    first, *_ = state.revisions[POOL]
    split = (*release_tracks.installed(deployed.gcloud()).worker_pools, "update-instance-split", "shop-mail")
    deployed.gcloud().run(command(*split, "--region=europe-west1", f"--to-revisions={first}=100"))
    by_hand = state.items[POOL]["spec"]["template"]["spec"]["containers"][0]
    declared = copy.deepcopy(by_hand)
    del by_hand["livenessProbe"]
    by_hand["env"].append({"name": "STRAY", "value": "by hand"})
    service["metadata"]["annotations"]["run.googleapis.com/ingress"] = "internal"
    service["spec"]["template"]["metadata"]["annotations"]["run.googleapis.com/cpu-throttling"] = "false"
    service["spec"]["template"]["spec"]["timeoutSeconds"] = 30
    for part in (service, state.items[f"run/{PROJECT}/europe-west1/jobs/shop-dead-letters"]):
        part["spec"]["template"]["metadata"]["annotations"] |= {
            "run.googleapis.com/network-interfaces": '[{"network": "default", "subnetwork": "default"}]',
            "run.googleapis.com/vpc-access-egress": "all-traffic",
            "run.googleapis.com/cloudsql-instances": f"{PROJECT}:europe-west1:stray",
        }
    service["spec"]["template"]["spec"]["containers"][0] |= {"command": ["sleep"], "args": ["1000"]}
    state.policies[f"run/{PROJECT}/europe-west1/services/shop-api"]["bindings"][0]["members"].append("allUsers")
    state.items[f"pubsub/projects/{PROJECT}/topics/shop-mail"]["messageRetentionDuration"] = "86400s"
    state.items[f"storage/b/{PROJECT}-shop"]["versioning"] = {"enabled": True}
    state.items[f"cloudscheduler/projects/{PROJECT}/locations/europe-west1/jobs/shop-run-dead-letters"]["state"] = (
        "PAUSED"
    )
    account = f"shop-worker@{PROJECT}.iam.gserviceaccount.com"
    state.items[f"iam/projects/{PROJECT}/serviceAccounts/{account}"]["disabled"] = True
    state.items[f"monitoring/projects/{PROJECT}/dashboards/shop-pipeline"]["mosaicLayout"]["tiles"].pop()
    for name, policy in state.items.items():
        if "/alertPolicies/" in name and policy["userLabels"]["alert"] == "backlog-age":
            policy["conditions"][0]["conditionThreshold"]["thresholdValue"] = 1e6
        if "/alertPolicies/" in name and policy["userLabels"]["alert"] == "errors":
            policy["enabled"] = False
        if "/alertPolicies/" in name and policy["userLabels"]["alert"] == "wait-slow-burn":
            policy["conditions"][0]["conditionPrometheusQueryLanguage"]["query"] = "vector(0)"
    state.items[f"logging/projects/{PROJECT}/metrics/shop-task-wait"]["bucketOptions"]["explicitBuckets"][
        "bounds"
    ].pop()
    state.items[f"logging/projects/{PROJECT}/metrics/shop-errors"]["disabled"] = True
    assert set(work(deployed.deploy())) == {
        "update service/shop-api",
        "update job/shop-dead-letters",
        "update pool/shop-mail",
        "update grants/service/shop-api",
        "update topic/shop-mail",
        f"update bucket/{PROJECT}-shop",
        "update schedule/shop-run-dead-letters",
        "update account/shop-worker",
        "update dashboard/shop-pipeline",
        "update alert/shop-backlog-age",
        "update alert/shop-errors",
        "update alert/shop-wait-slow-burn",
        "update metric/shop-errors",
        "update metric/shop-task-wait",
    }
    service = state.items[f"run/{PROJECT}/europe-west1/services/shop-api"]
    (share,) = service["status"]["traffic"]
    assert share["revisionName"] == service["status"]["latestReadyRevisionName"] != old
    pool = state.items[POOL]
    assert pool["spec"]["instanceSplits"] == [{"percent": 100, "latestRevision": True}]
    assert pool["spec"]["template"]["spec"]["containers"] == [declared]
    assert work(deployed.deploy()) == []


def test_jobs_take_the_place_of_pools_and_what_is_left_over_is_pruned_on_demand(deployed: Rehearsal) -> None:
    deployed.write(PIPELINE)
    deployed.deploy()  # whatever the test before has left
    key = "projects/keys/locations/europe-west1/keyRings/shop/cryptoKeys/tasks"
    state = deployed.simulation.control_plane.state
    state.create(f"iam/projects/{PROJECT}/serviceAccounts/{OWN_ACCOUNT}", {"email": OWN_ACCOUNT})
    deployed.write(
        f'name = "shop"\n[queues.mail.workers]\nmax_instances = 3\n[deploy]\nkms_key = "{key}"\n'
        f'[deploy.accounts]\nworker = "{OWN_ACCOUNT}"\n'
    )
    told: list[str] = []
    state.faults.faults = [
        Fault(match=r"POST containeranalysis\..*/occurrences", status="PERMISSION_DENIED", message="not you")
    ]
    prepared = deployed.deploy(workers="job", prune=True, say=told.append)
    (reason,) = (line for line in told if "without its bill of materials" in line)
    assert "roles/containeranalysis.occurrences.editor" in reason
    assert "not you" in reason
    assert {leftover.id for leftover in prepared.plan.leftovers} == {"pool/shop-mail", "schedule/shop-nightly"}
    (image,) = (action.resource.id for action in prepared.plan.work if action.resource.id.startswith("image/"))
    assert set(work(prepared)) == {
        f"create {image}",  # the schedules are in it: what the API and the jobs run is new without one of them
        f"create {image.replace('image/', 'sbom/')}",
        "update service/shop-api",
        "update job/shop-dead-letters",
        "create job/shop-mail",
        "create grants/job/shop-mail",
        "create schedule/shop-run-mail",
        # For the account that pipeline.toml names now.
        *(
            f"update grants/{target}"
            for target in (
                f"bucket/{PROJECT}-shop",
                "topic/shop-mail",
                "topic/shop-mail-dead-letters",
                "subscription/shop-mail-workers",
            )
        ),
        *(f"update topic/shop-mail{name}" for name in ("", "-dead-letters")),  # for the key
        *(f"update bucket/{PROJECT}-shop{name}" for name in ("", "-build")),
        "update dashboard/shop-pipeline",  # its charts are those of jobs
        *(f"update alert/shop-{which}-burn" for which in ("success-fast", "success-slow", "wait-fast", "wait-slow")),
    }
    job = state.items[f"run/{PROJECT}/europe-west1/jobs/shop-mail"]
    assert job["spec"]["template"]["spec"]["template"]["spec"]["serviceAccountName"] == OWN_ACCOUNT
    subscription = f"pubsub/projects/{PROJECT}/subscriptions/shop-mail-workers"
    assert state.grants(subscription, "roles/pubsub.subscriber", f"serviceAccount:{OWN_ACCOUNT}")
    assert "shop-worker@" not in str(state.policies[subscription])
    names = set(state.items)
    assert f"run/{PROJECT}/europe-west1/jobs/shop-mail" in names
    assert not [name for name in names if "nightly" in name or "workerpools" in name]


def test_destroy_leaves_nothing_but_what_is_not_ours_even_with_concurrent_changes(deployed: Rehearsal) -> None:
    state = deployed.simulation.control_plane.state
    conflict = {"status": "ABORTED", "message": "There were concurrent policy changes.", "times": 2}
    state.faults.faults = [Fault(match=match, **conflict) for match in (r"DELETE ", r"projects/[^/]+:setIamPolicy")]  # type: ignore[arg-type]
    state.create(f"pubsub/projects/{PROJECT}/topics/other", {"name": f"projects/{PROJECT}/topics/other"})
    code, output = deployed.run("destroy", "--delete-bucket", answer=f"{PROJECT}\n")
    assert code == 0, output
    left = {name for name in state.items if not name.startswith(("cloudbuild/", "containeranalysis/"))}
    assert left == {
        f"pubsub/projects/{PROJECT}/topics/other",
        f"iam/projects/{PROJECT}/serviceAccounts/{OWN_ACCOUNT}",
    }
    assert state.objects == {}
    assert not state.policies.get(f"cloudresourcemanager/projects/{PROJECT}", {}).get("bindings")
