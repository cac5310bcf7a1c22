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
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.11"
      - uses: google-github-actions/auth@v2
        with:
          project_id: ${{ vars.GCP_PROJECT }}
          workload_identity_provider: ${{ vars.GCP_PROVIDER }}
          service_account: ${{ vars.GCP_DEPLOYER }}
      - uses: google-github-actions/setup-gcloud@v2
        with:
          install_components: alpha,beta
      - name: Deploy
        run: ./invoke deploy --project "$PROJECT" --region "$REGION" --yes
        env:
          PROJECT: ${{ vars.GCP_PROJECT }}
          REGION: ${{ vars.GCP_REGION }}
"""
