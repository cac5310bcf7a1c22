"""Commands on a simulated Google Cloud of their own: stages, rollback, secrets, the identities of a repository."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.rehearsal.faults import Faults
from poolhouse.cloud.rehearsal.services import iap
from poolhouse.cloud.rehearsal.simulation import PROJECT, simulate
from poolhouse.cloud.rehearsal.state import PROJECT_NUMBER
from poolhouse.commands import cloud
from tests.kit.integration.cloud.rehearsal import PIPELINE, Rehearsal, make_root, work

pytestmark = pytest.mark.usefixtures("gcloud_program")

STAGES = (
    PIPELINE
    + """
[triggers.welcome]
prefix = "uploads/people/"
suffix = ".csv"
task_type = "sample.echo"
[console]
deploy = true
viewers = ["group:shop@example.com"]
operators = ["user:ann@example.com"]
[stages.prod]
deploy = { autoscale = true }
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
        console = f"{RUN}/services/shop-prod-console"
        assert iap.in_front_of(state.items[console])
        for name, role, members in (
            (
                console,
                "roles/run.invoker",
                [f"serviceAccount:service-{PROJECT_NUMBER}@gcp-sa-iap.iam.gserviceaccount.com"],
            ),
            (
                iap.policy_name(console),
                "roles/iap.httpsResourceAccessor",
                ["group:shop@example.com", "user:ann@example.com"],
            ),
        ):
            assert state.policies[name]["bindings"] == [{"role": role, "members": members}]
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
        code, output = rehearsal.run("status", "--stage", "prod")
        assert f"console  https://shop-prod-console-{PROJECT_NUMBER}.europe-west1.run.app" in output.splitlines()
        code, output = rehearsal.run("destroy", "--stage", "prod", "--yes")
        assert code == 2, output
        code, output = rehearsal.run("destroy", "--stage", "pr-1", "--delete-bucket", "--yes")
        assert code == 0, output
        left = {name for name in of("shop-pr-1") if not name.startswith("cloudbuild/")}
        assert left == set()
        assert of("shop-prod") == before
        # Beside what was changed by hand a second deploy has nothing to do, of a configuration that has a version too.
        scaler = f"{RUN}/services/shop-prod-autoscaler"
        change_by_hand(state.items[scaler])
        assert work(rehearsal.deploy(stage="prod")) == ["update service/shop-prod-autoscaler"]
        notes = state.items[scaler]["spec"]["template"]["metadata"]["annotations"]
        assert notes["autoscaling.knative.dev/maxScale"] == "1"
        assert notes["run.googleapis.com/cpu-throttling"].lower() == "false"
        assert state.items[scaler]["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]
        assert running.control_plane.bugs == []


def change_by_hand(scaler: dict[str, Any]) -> None:
    """Pin a service to its present revision, with CPU for requests only and more instances."""
    notes = scaler["spec"]["template"]["metadata"]["annotations"]
    notes |= {"autoscaling.knative.dev/maxScale": "5", "run.googleapis.com/cpu-throttling": "true"}
    scaler["spec"]["traffic"] = [{"revisionName": scaler["status"]["latestReadyRevisionName"], "percent": 100}]


#: Policies that a deploy keeps, whatever is declared.
KEPT = ("storage.uniformBucketLevelAccess", "storage.publicAccessPrevention", "iam.allowedPolicyMemberDomains")


RUN = f"run/{PROJECT}/europe-west1"
SERVICE, POOL, JOB = f"{RUN}/services/shop-api", f"{RUN}/workerpools/shop-mail", f"{RUN}/jobs/shop-dead-letters"


def test_a_canary_is_promoted_or_taken_back_and_an_earlier_image_runs_again(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    with simulate(faults=Faults(constraints=KEPT, newer_fields=True)) as running:
        state, rehearsal = running.control_plane.state, Rehearsal(running, root)

        def images() -> list[str]:
            """What the API, the pool and the job run next."""
            found = [state.items[name]["spec"]["template"]["spec"] for name in (SERVICE, POOL, JOB)]
            pods = [spec.get("template", {}).get("spec", spec) for spec in found]
            return [pod["containers"][0]["image"] for pod in pods]

        def divided() -> list[dict[str, int]]:
            """Percent of each revision of the API and the pool, oldest first."""
            parts = (state.items[SERVICE]["status"]["traffic"], state.items[POOL]["status"]["instanceSplits"])
            return [
                dict(sorted((share["revisionName"], share["percent"]) for share in shares if share["percent"]))
                for shares in parts
            ]

        def revision(owner: str, back: int = 0) -> str:
            """Name of the newest one, or of one before it."""
            return list(state.revisions[owner])[-1 - back]

        def work_is_done(*, failing: int = 0) -> None:
            """Both releases answer 40 calls and end 40 attempts; so many of the new one's calls fail."""
            for owner, line in ((SERVICE, {"message": "request"}), (POOL, {"message": "task ended"})):
                for name in divided()[owner == POOL]:
                    failed = failing if owner == SERVICE and name == revision(SERVICE) else 0
                    for number in range(40):
                        bad = number < failed
                        more = {"status": 500 if bad else 202} if owner == SERVICE else {"outcome": "succeeded"}
                        state.log_line(name, {**line, **more})

        def interrupted() -> None:
            raise KeyboardInterrupt

        rehearsal.deploy()
        first = images()
        rehearsal.write(PIPELINE.replace("max_instances = 3", "max_instances = 3\nconcurrency = 2"))
        with pytest.raises(KeyboardInterrupt):
            rehearsal.canary(interrupted)
        second = images()[0]
        assert images() == [second, second, first[2]] != first
        # Of a single instance no revision can have a tenth: a second one is added.
        assert divided() == [
            {revision(SERVICE, 1): 90, revision(SERVICE): 10},
            {revision(POOL, 1): 50, revision(POOL): 50},
        ]
        assert state.items[POOL]["metadata"]["annotations"]["run.googleapis.com/manualInstanceCount"] == "2"
        code, output = rehearsal.run("releases")
        assert code == 0, output
        assert [line.partition("runs ")[2] for line in output.splitlines()[1:]] == ["10%", "90%"]
        said = rehearsal.canary(work_is_done)
        assert "shop-mail: new 0 of 40 failed (0.0%), old 0 of 40 failed (0.0%)" in said
        assert images() == [second] * 3
        assert divided() == [{revision(SERVICE): 100}, {revision(POOL): 100}]
        assert state.items[POOL]["metadata"]["annotations"]["run.googleapis.com/manualInstanceCount"] == "1"

        code, output = rehearsal.run("rollback", "--yes")
        assert code == 0, output
        assert images() == first

        with pytest.raises(CloudError, match=r"(?s)taken back.*shop-api: new 20 of 40 failed \(50\.0%\), old 0 of 40"):
            rehearsal.canary(lambda: work_is_done(failing=20))
        assert divided() == [{revision(SERVICE, 1): 100}, {revision(POOL, 1): 100}]
        assert state.items[POOL]["metadata"]["annotations"]["run.googleapis.com/manualInstanceCount"] == "1"
        assert images()[2] == first[2]
        revisions = [revision(SERVICE), revision(POOL)]
        assert set(work(rehearsal.deploy())) == {
            "update service/shop-api",
            "update pool/shop-mail",
            "update job/shop-dead-letters",
        }
        assert images() == [second] * 3
        assert divided() == [{name: 100} for name in revisions]
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
