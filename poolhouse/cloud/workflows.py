"""The workflow that `invoke github-oidc` writes: it names no project, the repository's variables do."""

from __future__ import annotations

DEPLOY = """\
# Deploys what is on main to Google Cloud, with no key: GitHub's token is exchanged for a short-lived one.
# Written by `./invoke github-oidc`; the four variables are those of this repository's settings.
name: deploy

on:
  push:
    branches: [main]
  workflow_dispatch:

permissions:
  contents: read
  id-token: write

concurrency:
  group: deploy
  cancel-in-progress: false

jobs:
  deploy:
    if: vars.GCP_PROJECT != ''
    runs-on: ubuntu-24.04
    environment: production
    timeout-minutes: 45
    steps:
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
      - name: Deploy
        run: ./invoke deploy --project "$PROJECT" --region "$REGION" --yes
        env:
          PROJECT: ${{ vars.GCP_PROJECT }}
          REGION: ${{ vars.GCP_REGION }}
"""
