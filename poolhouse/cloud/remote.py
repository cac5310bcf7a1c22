"""The deployed API, called with gcloud's identity: the same calls as on a laptop."""

from __future__ import annotations

from poolhouse.client.client import Client
from poolhouse.cloud.errors import GcloudFailed
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.resource import Read, command, flag

_ACTIVE = Read(arguments=("auth", "list", "--filter=status:ACTIVE"), api="")
_CONFIGURATION = Read(arguments=("config", "list"), api="")


def connect(gcloud: Gcloud, url: str) -> Client:
    """The API at `url`, called with gcloud's identity. The token is never shown."""
    return Client(url, token=lambda: identity_token(gcloud, url))


def identity_token(gcloud: Gcloud, url: str) -> str:
    """A token that says to the service at `url` who gcloud's user is; good for an hour. Never show it.

    People's tokens have no audience of their choice, and Cloud Run wants none; those of service accounts must be for
    the service's address (Cloud Run, Service-to-service authentication). An account that gcloud is by federation, as
    in CI, can't sign one itself: it asks IAM for its own token, with roles/iam.serviceAccountOpenIdTokenCreator.
    """
    arguments, audience = ("auth", "print-identity-token", "--format=value(id_token)"), flag("audiences", url)
    answers = gcloud.read_all((_ACTIVE, _CONFIGURATION))
    active, configuration = answers[_ACTIVE.arguments] or [], answers[_CONFIGURATION.arguments] or {}
    account = str(active[0].get("account", "")) if active else ""
    acts_as = configuration.get("auth", {}).get("impersonate_service_account")
    if acts_as:
        # As every other command does; this one alone heeds the option, not the setting.
        return _token_of(gcloud, str(acts_as), (*arguments, audience))
    if not account.endswith(".gserviceaccount.com"):
        return gcloud.run(command(*arguments)).strip()
    try:
        return gcloud.run(command(*arguments, audience)).strip()
    except GcloudFailed as error:
        if "No identity token can be obtained" not in error.output:
            raise
    return _token_of(gcloud, account, (*arguments, audience))


def _token_of(gcloud: Gcloud, account: str, arguments: tuple[str, ...]) -> str:
    """The token of another account than gcloud has a login of."""
    other = flag("impersonate-service-account", account)
    return gcloud.run(command(*arguments, other, "--include-email")).strip()
