"""The whole way with the real gcloud: deploy, deploy again, change, break off, go on, destroy.

A command of gcloud takes a second of CPU, most of it to start. Those of a rehearsal are forks of one that has started
(poolhouse/cloud/rehearsal/forkserver); the deploy that is broken off runs gcloud's own program, as a real deploy does.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hcl2
import psutil
import pytest
import requests

from poolhouse.cloud.deploy import Prepared, deploy
from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud import release_tracks
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.options import Options
from poolhouse.cloud.rehearsal.control_plane import Logged
from poolhouse.cloud.rehearsal.faults import Fault, Faults
from poolhouse.cloud.rehearsal.faults import named as named_faults
from poolhouse.cloud.rehearsal.front import Running
from poolhouse.cloud.rehearsal.services.pubsub import dead_letter_gaps
from poolhouse.cloud.rehearsal.simulation import PROJECT, Simulation, simulate
from poolhouse.commands import cloud
from poolhouse.local.backend import UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.processes import ports
from poolhouse.pipeline.config import topology
from poolhouse.project import ROOT
from tests.kit.waiting import until

PIPELINE = """
name = "shop"
handlers = ["worker.handlers", "poolhouse.worker.samples"]

[queues.mail.workers]
max_instances = 3

[schedules.nightly]
cron = "30 3 * * *"
task_type = "sample.echo"
payload = { value = "all, really" }
missed_runs = "once"

[bucket.lifecycle_days]
uploads = 30
"""
TIMEOUT_S = 120
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
pytestmark = pytest.mark.xdist_group("rehearsal")


@dataclass
class Rehearsal:
    simulation: Simulation
    root: Path

    def gcloud(self) -> Gcloud:
        # The waits are real ones, only shorter: every retry must still be needed and enough.
        return Gcloud(PROJECT, env=self.simulation.env, waits_s=(0.2,) * 6, unseen_waits_s=(0.2,) * 6)

    def write(self, pipeline: str) -> None:
        (self.root / "pipeline.toml").write_text(pipeline)

    def command(self, *words: str, asked: bool = False, own_program: bool = False) -> subprocess.Popen[str]:
        """A command as a person types it, in this checkout.

        Args:
            words: the command.
            asked: with somebody there to answer its question.
            own_program: with gcloud's own program.
        """
        path = {"PATH": os.environ["PATH"]} if own_program else {}
        return subprocess.Popen(
            (sys.executable, "-m", "invoke", *words, "--project", PROJECT),
            cwd=self.root,
            env={**os.environ, **self.simulation.env, **path},
            stdin=subprocess.PIPE if asked else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, answer: str | None = None) -> tuple[int, str]:
        with self.command(*words, asked=answer is not None) as running:
            output, _ = running.communicate(answer, timeout=TIMEOUT_S)
        return running.returncode, output

    def break_off(self, number: signal.Signals, *, at: Callable[[Logged], bool]) -> tuple[int, str]:
        """Send a signal to a deploy as soon as a request is seen; then nothing of it may be left.

        SIGTERM has to end gcloud's own program. SIGKILL goes to the gcloud commands too, as where the machine goes
        down: nothing else could end them, and one that nobody listens to any more may take its time.
        """
        seen = len(self.simulation.control_plane.log)
        with self.command("deploy", "--yes", own_program=number is signal.SIGTERM) as running:
            until(
                lambda: any(at(entry) for entry in self.simulation.control_plane.log[seen:]),
                "the request",
                timeout_s=TIMEOUT_S,
            )
            children = psutil.Process(running.pid).children(recursive=True)
            running.send_signal(number)
            if number is signal.SIGKILL:
                for child in filter(runs, children):
                    child.kill()
            output, _ = running.communicate(timeout=TIMEOUT_S)
        until(
            lambda: not any(map(runs, children)),
            timeout_s=TIMEOUT_S,
            what=lambda: f"still there: {[*filter(runs, children)]}",
        )
        return running.returncode, output

    def deploy(
        self, *, gcloud: Gcloud | None = None, prune: bool = False, stage: str = "", **choices: object
    ) -> Prepared:
        loaded = topology.load(self.root / "pipeline.toml", stage=stage)
        options = dataclasses.replace(Options.declared(loaded, project=PROJECT), **choices)  # type: ignore[arg-type]
        return deploy(
            gcloud or self.gcloud(),
            loaded,
            options=options,
            root=self.root,
            prune=prune,
            ask=lambda question: True,
            say=lambda line: None,
        )


def runs(process: psutil.Process) -> bool:
    """Whether it does; one that has ended and that nobody has asked for its exit code (a zombie) does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def work(prepared: Prepared) -> list[str]:
    return [f"{action.verb} {action.resource.id}" for action in prepared.plan.work]


@pytest.fixture(scope="module", autouse=True)
def _gcloud_is_there() -> None:
    if shutil.which("gcloud") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("gcloud is not installed: the rehearsal must run in CI")
        pytest.skip("gcloud is not installed")


def make_root(folder: Path) -> Path:
    """A checkout with a pipeline of its own."""
    for name in ("tasks.py", "poolhouse", "worker"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY pipeline.toml ./\n")
    (folder / "pipeline.toml").write_text(PIPELINE)
    return folder


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


def test_a_changed_pipeline_changes_only_that(deployed: Rehearsal) -> None:
    deployed.write(
        PIPELINE.replace("[queues.mail.workers]", "[queues.mail]\nexactly_once = true\n[queues.mail.workers]\ncpu = 2")
    )
    assert work(deployed.deploy()) == ["update subscription/shop-mail-workers", "update pool/shop-mail"]


def test_what_was_changed_by_hand_is_put_back_in_each_kind_of_resource(deployed: Rehearsal) -> None:
    deployed.write(PIPELINE)
    deployed.deploy()  # whatever the test before has left
    state = deployed.simulation.control_plane.state
    service = state.items[f"run/{PROJECT}/europe-west1/services/shop-api"]
    old = service["status"]["latestReadyRevisionName"]
    service["spec"]["traffic"] = [{"revisionName": old, "percent": 100}]
    service["metadata"]["annotations"]["run.googleapis.com/ingress"] = "internal"
    service["spec"]["template"]["metadata"]["annotations"]["run.googleapis.com/cpu-throttling"] = "false"
    service["spec"]["template"]["spec"]["timeoutSeconds"] = 30
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
    assert work(deployed.deploy()) == []


def test_jobs_take_the_place_of_pools_and_what_is_left_over_is_pruned_on_demand(deployed: Rehearsal) -> None:
    deployed.write(PIPELINE)
    deployed.deploy()  # whatever the test before has left
    deployed.write('name = "shop"\n[queues.mail.workers]\nmax_instances = 3\n')
    prepared = deployed.deploy(workers="job", prune=True)
    assert {leftover.id for leftover in prepared.plan.leftovers} == {"pool/shop-mail", "schedule/shop-nightly"}
    (image,) = (action.resource.id for action in prepared.plan.work if action.resource.id.startswith("image/"))
    assert set(work(prepared)) == {
        f"create {image}",  # the schedules are in it: what the API and the jobs run is new without one of them
        "update service/shop-api",
        "update job/shop-dead-letters",
        "create job/shop-mail",
        "create grants/job/shop-mail",
        "create schedule/shop-run-mail",
        "update bucket/rehearsal-project-shop",  # its lifecycle went with the schedule
        "update dashboard/shop-pipeline",  # its charts are those of jobs
        *(f"update alert/shop-{which}-burn" for which in ("success-fast", "success-slow", "wait-fast", "wait-slow")),
    }
    names = set(deployed.simulation.control_plane.state.items)
    assert f"run/{PROJECT}/europe-west1/jobs/shop-mail" in names
    assert not [name for name in names if "nightly" in name or "workerpools" in name]


def test_destroy_leaves_nothing_but_what_is_not_ours_even_with_concurrent_changes(deployed: Rehearsal) -> None:
    state = deployed.simulation.control_plane.state
    conflict = {"status": "ABORTED", "message": "There were concurrent policy changes.", "times": 2}
    state.faults.faults = [Fault(match=match, **conflict) for match in (r"DELETE ", r"projects/[^/]+:setIamPolicy")]  # type: ignore[arg-type]
    state.create(f"pubsub/projects/{PROJECT}/topics/other", {"name": f"projects/{PROJECT}/topics/other"})
    code, output = deployed.run("destroy", "--delete-bucket", answer=f"{PROJECT}\n")
    assert code == 0, output
    left = {name for name in state.items if not name.startswith("cloudbuild/")}
    assert left == {f"pubsub/projects/{PROJECT}/topics/other"}
    assert state.objects == {}
    assert not state.policies.get(f"cloudresourcemanager/projects/{PROJECT}", {}).get("bindings")


STAGES = (
    PIPELINE
    + """
[triggers.welcome]
prefix = "uploads/people/"
suffix = ".csv"
task_type = "sample.echo"
[stages.prod]
[stages."pr-*"]
deploy = { workers = "job" }
"""
)


def test_two_stages_in_one_project_leave_each_other_alone(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    (root / "pipeline.toml").write_text(STAGES)
    with simulate() as running:
        state, rehearsal = running.control_plane.state, Rehearsal(running, root)

        def of(prefix: str) -> dict[str, object]:
            """All that is called so, without the project's own policy, which both are in."""
            # Alert policies are called by numbers.
            named = [
                key for key, item in state.items.items() if prefix in key or prefix in str(item.get("displayName"))
            ]
            names = {*named, *(key for key in state.policies if prefix in key)}
            return copy.deepcopy({name: (state.items.get(name), state.policies.get(name)) for name in names})

        def told(stage: str) -> list[tuple[str, str]]:
            """Which objects are told of, and to which topic."""
            configured = state.listed(f"storage/b/{PROJECT}-shop-{stage}/notificationConfigs/")
            return [(item["object_name_prefix"], item["topic"].rpartition("/")[2]) for item in configured]

        rehearsal.deploy(stage="prod")
        assert told("prod") == [("uploads/people/", "shop-prod-mail")]
        before = of("shop-prod")
        assert len(before) > 25
        preview = rehearsal.deploy(stage="pr-1")
        assert f"create bucket/{PROJECT}-shop-pr-1" in work(preview)
        assert "create job/shop-pr-1-mail" in work(preview)
        assert preview.plan.leftovers == ()
        assert told("pr-1") == [("uploads/people/", "shop-pr-1-mail")]
        assert of("shop-prod") == before
        code, output = rehearsal.run("stages")
        assert code == 0, output
        assert re.search(r"(?m)^prod +shop-prod +europe-west1 .* ready$", output), output
        assert re.search(r"(?m)^pr-1 +shop-pr-1 +europe-west1 .* ready$", output), output
        code, output = rehearsal.run("destroy", "--stage", "prod", "--yes")
        assert code == 2, output
        code, output = rehearsal.run("destroy", "--stage", "pr-1", "--delete-bucket", "--yes")
        assert code == 0, output
        left = {name for name in of("shop-pr-1") if not name.startswith("cloudbuild/")}
        assert left == set()
        assert of("shop-prod") == before
        assert work(rehearsal.deploy(stage="prod")) == []
        assert running.control_plane.bugs == []


#: Policies that a deploy keeps, whatever is declared.
KEPT = ("storage.uniformBucketLevelAccess", "storage.publicAccessPrevention", "iam.allowedPolicyMemberDomains")


def test_an_earlier_image_runs_again_in_the_api_and_all_workers(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    with simulate(faults=Faults(constraints=KEPT, newer_fields=True)) as running:
        state, rehearsal = running.control_plane.state, Rehearsal(running, root)

        def images() -> set[str]:
            """What the API, the pool and the job run."""
            path = f"run/{PROJECT}/europe-west1"
            found = [
                state.items[f"{path}/{name}"]["spec"]["template"]["spec"]
                for name in ("services/shop-api", "workerpools/shop-mail", "jobs/shop-dead-letters")
            ]
            pods = [spec.get("template", {}).get("spec", spec) for spec in found]
            return {pod["containers"][0]["image"] for pod in pods}

        rehearsal.deploy()
        (first,) = images()
        rehearsal.write(PIPELINE.replace("max_instances = 3", "max_instances = 3\nconcurrency = 2"))
        rehearsal.deploy()
        (second,) = images()
        assert second != first
        code, output = rehearsal.run("rollback", "--yes")
        assert code == 0, output
        assert images() == {first}
        code, output = rehearsal.run("releases")
        assert code == 0, output
        assert [line.endswith("runs") for line in output.splitlines()[1:]] == [False, True]
        code, output = rehearsal.run("rollback", "--yes")
        assert code == 1, output
        assert "0 releases before" in output
        rehearsal.deploy()
        assert images() == {second}
        assert work(rehearsal.deploy()) == []
        assert running.control_plane.bugs == []


SECRETS = 'name = "shop"\n[env]\nSITE = "a, b"\n[secrets]\nTOKEN = "latest"\n[queues.mail]\n'
PLANTED = "planted-3f9c2d"


def test_a_secret_is_asked_for_before_the_deploy_and_its_value_is_seen_nowhere(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    (root / "pipeline.toml").write_text(SECRETS)
    with simulate(faults=Faults(grant_uses=1)) as running:
        rehearsal, told = Rehearsal(running, root), ""
        code, output = rehearsal.run("deploy", "--dry-run")
        assert code == 1, output
        assert f"./invoke secret set TOKEN --project {PROJECT}" in output
        code, output = rehearsal.run("secret", "set", "OTHER", answer=PLANTED)
        told += output
        assert code == 2, output
        assert "declared: TOKEN" in output
        code, output = rehearsal.run("secret", "set", "TOKEN", answer=f"{PLANTED}\n")
        told += output
        assert code == 0, output
        code, output = rehearsal.run("deploy", "--dry-run")
        told += output
        assert code == 0, output
        assert "shop-TOKEN:latest" in output
        prepared = rehearsal.deploy()
        assert "update grants/secret/shop-TOKEN" in work(prepared)
        assert work(rehearsal.deploy()) == []
        pool = running.control_plane.state.items[f"run/{PROJECT}/europe-west1/workerpools/shop-mail"]
        (container,) = pool["spec"]["template"]["spec"]["containers"]
        reference = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "shop-TOKEN", "key": "latest"}}}
        assert reference in container["env"]
        code, output = rehearsal.run("secret", "set", "TOKEN", answer=f"{PLANTED}-2")
        told += output
        assert code == 0, output
        code, output = rehearsal.run("secret", "list")
        told += output
        assert re.search(r"(?m)^TOKEN +2 +shop-TOKEN$", output), output
        assert PLANTED not in told
        assert PLANTED not in repr((running.control_plane.state, running.control_plane.log))
        assert running.control_plane.bugs == []


def test_a_repository_can_deploy_after_github_oidc_which_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cloud, "ROOT", make_root(tmp_path))
    with simulate(faults=Faults(account_uses=1)) as running:
        for expected in ("16 to create", "Nothing to do"):
            code = cloud.github_oidc(
                project=PROJECT, repo="some-org/some-repo", repo_id=7, owner_id=8, yes=True, env=running.env
            )
            assert code == 0
            assert expected in capsys.readouterr().out
        assert running.control_plane.bugs == []
    assert PROJECT not in (tmp_path / ".github" / "workflows" / "deploy.yml").read_text()


def test_a_project_without_billing_gets_advice_and_nothing_is_tried_again(tmp_path: Path) -> None:
    off = Fault(
        match=r"services:batchEnable",
        status="FAILED_PRECONDITION",
        message="Billing account for project '123456789012' is not found. Billing must be enabled. BILLING_DISABLED",
    )
    with simulate(faults=Faults(faults=[off])) as running:
        rehearsal = Rehearsal(running, make_root(tmp_path))
        gcloud = rehearsal.gcloud()
        with pytest.raises(CloudError, match="no active billing account"):
            rehearsal.deploy(gcloud=gcloud)
        assert len(gcloud.calls) == 3  # the project, its APIs, and the one attempt


def test_what_a_region_or_an_organisation_refuses_is_named_at_once(tmp_path: Path) -> None:
    faults = Faults(faults=named_faults("no-worker-pools"), constraints=("run.managed.requireInvokerIam",))
    with simulate(faults=faults) as running:
        rehearsal = Rehearsal(running, make_root(tmp_path))
        with pytest.raises(CloudError, match='Without worker pools: workers = "job" there'):
            rehearsal.deploy()
        gcloud = rehearsal.gcloud()
        with pytest.raises(CloudError, match=re.escape("set `public = false` under [deploy]")):
            rehearsal.deploy(gcloud=gcloud, public=True, workers="job")
        # One attempt: a policy is no conflict, and waiting does not help.
        assert sum("run deploy shop-api" in call.command for call in gcloud.calls) == 1
        assert running.control_plane.bugs == []


def test_a_wrong_project_is_reported_before_anything_is_planned() -> None:
    with simulate() as running:
        gcloud = Gcloud("other-project", env=running.env, waits_s=())
        with pytest.raises(CloudError, match="gcloud projects list"):
            deploy(
                gcloud,
                topology.parse(PIPELINE),
                options=Options(project="other-project", name="shop"),
                root=Path(__file__).parents[4],
                tracks=release_tracks.ReleaseTracks(),
                ask=lambda question: True,
                say=lambda line: None,
            )
