"""The deployed API, called with gcloud's identity: the same calls as on a laptop."""

from __future__ import annotations

from poolhouse.client.client import Client
from poolhouse.cloud.errors import GcloudFailed
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.resource import Read, command, flag


def connect(gcloud: Gcloud, url: str) -> Client:
    """The API at `url`, called with gcloud's identity. The token is never shown."""
    return Client(url, token=lambda: identity_token(gcloud, url))


def identity_token(gcloud: Gcloud, url: str) -> str:
    """A token that says to the service at `url` who gcloud's user is; good for an hour. Never show it.

    People's tokens have no audience of their choice, and Cloud Run wants none; those of service accounts must be for
    the service's address (Cloud Run, Service-to-service authentication). An account that gcloud is by federation, as
    in CI, can't sign one itself: it asks IAM for its own token, with roles/iam.serviceAccountOpenIdTokenCreator.
    """
    arguments, audience = ("auth", "print-identity-token"), flag("audiences", url)
    active = gcloud.read(Read(arguments=("auth", "list", "--filter=status:ACTIVE"), api="")) or []
    account = str(active[0].get("account", "")) if active else ""
    if not account.endswith(".gserviceaccount.com"):
        return gcloud.run(command(*arguments)).strip()
    try:
        return gcloud.run(command(*arguments, audience)).strip()
    except GcloudFailed as error:
        if "No identity token can be obtained" not in error.output:
            raise
    own = flag("impersonate-service-account", account)
    return gcloud.run(command(*arguments, audience, own, "--include-email")).strip()
