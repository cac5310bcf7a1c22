"""The workflow files, read as GitHub reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from poolhouse.cloud import identity, workflows
from poolhouse.cloud.options import Options
from poolhouse.pipeline.config.topology import load_all, parse

ROOT = Path(__file__).parents[4]
FILES = workflows.files(load_all(ROOT / "pipeline.toml"))


def read(name: str) -> Any:
    return yaml.load(FILES[name], Loader=yaml.BaseLoader)


def test_each_stage_is_deployed_from_its_own_branch_or_tag_in_its_own_environment() -> None:
    found = read("deploy.yml")
    assert found["on"]["push"] == {"branches": ["main"], "tags": ["v*"]}
    jobs = found["jobs"]
    assert {name: (job["if"], job["environment"]) for name, job in jobs.items()} == {
        "staging": ("github.ref == 'refs/heads/main'", "staging"),
        "prod": ("startsWith(github.ref, 'refs/tags/v')", "prod"),
    }
    for name, job in jobs.items():
        deploy, bill, kept = job["steps"][-3:]
        assert f"./invoke deploy --stage {name} " in deploy["run"]
        assert bill["run"] == f"./invoke export sbom --stage {name} --file {kept['with']['path']}"


def test_a_pull_request_has_a_preview_as_long_as_it_is_open() -> None:
    found = read("preview-pr.yml")
    assert found["on"]["pull_request"]["types"] == ["opened", "synchronize", "reopened", "closed"]
    (job,) = found["jobs"].values()
    assert job["env"]["STAGE"] == "pr-${{ github.event.number }}"
    assert job["environment"] == "pr"
    assert "head.repo.full_name == github.repository" in job["if"]
    deploy, destroy = job["steps"][-2:]
    assert (deploy["if"], destroy["if"]) == ("github.event.action != 'closed'", "github.event.action == 'closed'")
    assert "destroy --stage" in destroy["run"]


def test_a_pipeline_without_stages_is_deployed_from_main() -> None:
    (text,) = workflows.files((parse("[queues.a]"),)).values()
    found = yaml.load(text, Loader=yaml.BaseLoader)
    assert found["on"]["push"] == {"branches": ["main"]}
    (job,) = found["jobs"].values()
    assert job["environment"] == "production"
    assert not [step for step in job["steps"] if "--stage" in step.get("run", "")]


def test_a_job_has_the_time_that_its_canary_is_watched() -> None:
    text = "[queues.a]\n[deploy.canary]\nwatch_s = 3601"
    for declared, minutes in ((text, "45"), (f"{text}\npercent = 10", "106")):
        (found,) = workflows.files((parse(declared),)).values()
        (job,) = yaml.load(found, Loader=yaml.BaseLoader)["jobs"].values()
        assert job["timeout-minutes"] == minutes


def test_no_workflow_names_a_project_and_all_variables_are_given() -> None:
    values = identity.variables(options=Options(project="some-project", name="shop"), project_number="42")
    assert values["GCP_PROVIDER"].endswith("/providers/shop-github")
    for text in FILES.values():
        assert "some-project" not in text
        assert {*re.findall(r"vars\.(\w+)", text)} == {*values}


def test_the_secret_scan_is_a_version_of_which_the_checksum_database_has_one_content() -> None:
    found = yaml.load((ROOT / ".github" / "workflows" / "supply-chain.yml").read_text(), Loader=yaml.BaseLoader)
    (scan,) = (step["run"] for step in found["jobs"]["secrets"]["steps"] if "run" in step)
    scanner = re.match(r"go run [\w./-]+@v\d+\.\d+\.\d+ git ", scan)
    assert scanner is not None
    assert scanner[0] in (ROOT / "docs" / "security.md").read_text()
    assert found["jobs"]["secrets"]["steps"][0]["with"]["fetch-depth"] == "0"  # secrets that were removed again, too


def test_every_action_is_named_by_the_hash_of_its_commit() -> None:
    texts = [*FILES.values(), *(path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml"))]
    used = [line for text in texts for line in re.findall(r"uses: (.+)", text)]
    assert len(used) > 5
    for line in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
