"""The workflows that `invoke github-oidc` writes: one job a stage. They name no project, GitHub's environments do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from poolhouse.pipeline.config.stages import Stage
from poolhouse.pipeline.config.topology import Topology

#: Third-party code that runs beside the permission to deploy: by the hash of a commit, which can't be moved.
_STEPS = """\
      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2
        with:
          persist-credentials: false
      - uses: actions/setup-python@a26af69be951a213d495a4c3e4e4022e16d87065 # v5.6.0
        with:
          python-version: "3.11"
      - uses: google-github-actions/auth@7c6bc770dae815cd3e89ee6cdf493a5fab2cc093 # v3.0.0
        with:
          project_id: ${{ vars.GCP_PROJECT }}
          workload_identity_provider: ${{ vars.GCP_PROVIDER }}
          service_account: ${{ vars.GCP_DEPLOYER }}
      - uses: google-github-actions/setup-gcloud@aa5489c8933f4cc7a4f7d45035b3b1440c9c10db # v3.0.1
        with:
          install_components: alpha,beta
"""
#: Most minutes of a job, without the watch of a canary.
_MINUTES = 45
_HEAD = """\
# {what}, with no key: GitHub's token is exchanged for a short-lived one.
# Written by `./invoke github-oidc`. The variables GCP_PROJECT, GCP_PROVIDER and GCP_DEPLOYER are those of the
# environment that a job names; its rules say who approves.
name: {name}

on:
{on}
permissions:
  contents: read
  id-token: write
"""


def environment(stage: Stage) -> str:
    """The GitHub environment of a stage; previews share one."""
    return stage.key.rstrip("-*") or "production"


def ref(stage: Stage) -> str:
    """The branch or tag that a stage is deployed from."""
    return stage.ref or ("refs/pull/*" if stage.preview else "refs/heads/main")


def files(declared: Sequence[Topology]) -> Mapping[str, str]:
    """The workflow files by name.

    Args:
        declared: the declaration as it stands, then its stages. Where there are stages, these alone are deployed.
    """
    deployed = declared[1:] or declared[:1]
    lasting = [each for each in deployed if not each.stage.preview]
    made = {}
    if lasting:
        made["deploy.yml"] = _deploy(lasting)
    stages = [each.stage for each in deployed]
    made |= {f"preview-{environment(stage)}.yml": _preview(stage) for stage in stages if stage.preview}
    return made


def _deploy(lasting: Sequence[Topology]) -> str:
    refs = [ref(each.stage) for each in lasting]
    on = "  push:\n"
    for kind, prefix in (("branches", "refs/heads/"), ("tags", "refs/tags/")):
        names = dict.fromkeys(f'"{name.removeprefix(prefix)}"' for name in refs if name.startswith(prefix))
        if names:
            on += f"    {kind}: [{', '.join(names)}]\n"
    jobs = "\njobs:\n" + "\n".join(map(_deploy_job, lasting))
    return _HEAD.format(what="Deploys each stage from its branch or tag", name="deploy", on=on) + jobs


def _deploy_job(declared: Topology) -> str:
    stage, canary = declared.stage, declared.deploy.canary
    minutes = _MINUTES + (math.ceil(canary.watch_s / 60) if canary.percent else 0)
    from_ = ref(stage)
    when = f"startsWith(github.ref, '{from_[:-1]}')" if from_.endswith("*") else f"github.ref == '{from_}'"
    name = stage.name or "deploy"
    option = f" --stage {stage.name}" if stage.name else ""
    return f"""\
  {name}:
    if: {when}
    runs-on: ubuntu-24.04
    environment: {environment(stage)}
    concurrency:
      group: deploy-{name}
      cancel-in-progress: false
    timeout-minutes: {minutes}
    steps:
{_STEPS}      - run: ./invoke deploy{option} --project "$PROJECT" --yes --prune
        env:
          PROJECT: ${{{{ vars.GCP_PROJECT }}}}
      - run: ./invoke export sbom{option} --file sbom.cdx.json
      - uses: actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2
        with:
          name: sbom-{name}
          path: sbom.cdx.json
          if-no-files-found: error
"""


def _preview(stage: Stage) -> str:
    on = "  pull_request:\n    types: [opened, synchronize, reopened, closed]\n"
    head = _HEAD.format(what="Deploys a preview of each pull request, and removes it at its end", name="preview", on=on)
    return f"""\
{head}
concurrency:
  group: preview-${{{{ github.event.number }}}}
  cancel-in-progress: false

jobs:
  preview:
    # A fork's pull request gets no token to exchange.
    if: github.event.pull_request.head.repo.full_name == github.repository
    runs-on: ubuntu-24.04
    environment: {environment(stage)}
    timeout-minutes: {_MINUTES}
    env:
      PROJECT: ${{{{ vars.GCP_PROJECT }}}}
      STAGE: {stage.key[:-1]}${{{{ github.event.number }}}}
    steps:
{_STEPS}      - if: github.event.action != 'closed'
        run: ./invoke deploy --stage "$STAGE" --project "$PROJECT" --yes --prune
      - if: github.event.action == 'closed'
        run: ./invoke destroy --stage "$STAGE" --project "$PROJECT" --delete-bucket --yes
"""
