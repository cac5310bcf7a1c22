"""The deployed API, called with gcloud's identity: the same calls as on a laptop."""

from __future__ import annotations

import requests

from poolhouse.client.client import Client
from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.resource import Read, command, flag

#: The Service Account Credentials API.
IAM = "https://iamcredentials.googleapis.com"
_TIMEOUT_S = 30
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

    Raises:
        CloudError: there is no token; the text says whose right is missing.
    """
    arguments, audience = ("auth", "print-identity-token", "--format=value(id_token)"), flag("audiences", url)
    answers = gcloud.read_all((_ACTIVE, _CONFIGURATION))
    active, configuration = answers[_ACTIVE.arguments] or [], answers[_CONFIGURATION.arguments] or {}
    account = str(active[0].get("account", "")) if active else ""
    acts_as = configuration.get("auth", {}).get("impersonate_service_account")
    if acts_as:
        # As every other command does; this one alone heeds the option, not the setting.
        other = flag("impersonate-service-account", acts_as)
        return gcloud.run(command(*arguments, audience, other, "--include-email")).strip()
    if not account.endswith(".gserviceaccount.com"):
        return gcloud.run(command(*arguments)).strip()
    try:
        return gcloud.run(command(*arguments, audience)).strip()
    except GcloudFailed as error:
        if "No identity token can be obtained" not in error.output:
            raise
    return own_token(gcloud, account, url)


def own_token(gcloud: Gcloud, account: str, url: str) -> str:
    """The token that IAM gives an account for itself (Service Account Credentials API, generateIdToken).

    Not by gcloud's --impersonate-service-account: that begins with an access token, which takes a role with which
    whoever has stolen a token could renew it for ever.

    Args:
        gcloud: who has the account's access token.
        account: its e-mail address.
        url: the audience.

    Raises:
        CloudError: IAM refuses, or does not answer.
    """
    access = gcloud.run(command("auth", "print-access-token", "--format=value(token)")).strip()
    try:
        answer = requests.post(
            f"{IAM}/v1/projects/-/serviceAccounts/{account}:generateIdToken",
            json={"audience": url, "includeEmail": True},
            headers={"Authorization": f"Bearer {access}"},
            timeout=_TIMEOUT_S,
        )
        if answer.ok:
            return str(answer.json()["token"])
    except requests.RequestException as error:
        raise CloudError(f"{IAM}: no answer ({type(error).__name__}), so there is no token for {url}") from error
    except (KeyError, TypeError, ValueError):
        pass
    raise CloudError(
        f"IAM gives {account} no token of its own ({answer.status_code}): it needs "
        "roles/iam.serviceAccountOpenIdTokenCreator on itself, and the project the API iamcredentials.googleapis.com. "
        f"`invoke github-oidc` sees to both. IAM's answer: {answer.text[:500].strip()}"
    )
