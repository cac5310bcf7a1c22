"""The deployed API, asked with the caller's own identity: the same calls as on a laptop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import requests

from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.resource import Read, command, flag

#: Longest time of one call, in seconds: a cold API needs its start.
TIMEOUT_S = 60


class RemoteApi:
    """Calls of the HTTP API.

    Args:
        url: where it is, without a slash at the end.
        token: gives an identity token; None for a public API.
    """

    def __init__(self, url: str, *, token: Callable[[], str] | None = None) -> None:
        """Nothing is called yet."""
        self.url = url
        self._token = token
        self._session = requests.Session()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """One call; returns the answer's JSON.

        Raises:
            CloudError: no answer, or an error, with the API's own message.
        """
        if self._token is not None and "Authorization" not in self._session.headers:
            self._session.headers["Authorization"] = f"Bearer {self._token()}"
        try:
            answer = self._session.request(
                method, self.url + path, json=body, headers=headers, params=query, timeout=TIMEOUT_S
            )
        except requests.RequestException as error:
            raise CloudError(
                f"{self.url}: no answer ({type(error).__name__}). Is it deployed? `invoke deploy`."
            ) from error
        if answer.status_code in {401, 403} and "json" not in answer.headers.get("Content-Type", ""):
            raise CloudError(
                f"{self.url}: {answer.status_code}. The API takes calls with a token of an account that has "
                "roles/run.invoker on it: `gcloud run services add-iam-policy-binding`, or set public = true under "
                "[deploy] in pipeline.toml."
            )
        if answer.status_code >= 400:
            raise CloudError(f"{method} {path}: {answer.status_code}: {_message(answer)}")
        try:
            return answer.json() if answer.content else None
        except requests.JSONDecodeError:
            raise CloudError(f"{method} {self.url}{path}: the answer is not JSON: is that a Poolhouse API?") from None

    def pages(self, path: str, key: str) -> Iterator[Any]:
        """The entries of all pages of a listing."""
        token = ""
        while True:
            page = self.call("GET", path, query={"page_token": token} if token else None)
            yield from page[key]
            token = page.get("next_page_token") or ""
            if not token:
                return


def connect(gcloud: Gcloud, url: str) -> RemoteApi:
    """The API at `url`, asked with gcloud's identity. The token is never shown."""
    return RemoteApi(url, token=lambda: identity_token(gcloud, url))


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


def _message(answer: requests.Response) -> str:
    try:
        body = answer.json()
    except (json.JSONDecodeError, requests.JSONDecodeError):
        return answer.text[:500]
    return str(body.get("error") or body.get("detail") or body)
