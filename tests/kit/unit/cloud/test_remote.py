"""Whose token is shown to a deployed API, with a gcloud that is a function."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from poolhouse.cloud import remote
from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.remote import identity_token
from poolhouse.cloud.resource import Command, Read

URL = "https://shop-api-1.europe-west1.run.app"
ACCOUNT = "shop-deployer@some-project.iam.gserviceaccount.com"


class Login:
    """gcloud with one active account.

    Args:
        account: its address.
        federated: whether gcloud has no key of it.
        acts_as: the account that gcloud's configuration says to impersonate.
    """

    def __init__(self, account: str, *, federated: bool = False, acts_as: str = "") -> None:
        self.account, self.federated, self.acts_as = account, federated, acts_as

    def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Any]:
        configuration = {"auth": {"impersonate_service_account": self.acts_as}} if self.acts_as else {}
        answers = {
            "auth": [{"account": self.account, "status": "ACTIVE"}] if self.account else [],
            "config": {"core": {"account": self.account}, **configuration},
        }
        return {read.arguments: answers[read.arguments[0]] for read in reads}

    def run(self, command: Command) -> str:
        if command.arguments == ("auth", "print-access-token", "--format=value(token)"):
            return "an access token\n"
        # Whatever core/format of the configuration is.
        assert command.arguments[:3] == ("auth", "print-identity-token", "--format=value(id_token)")
        words = command.arguments[3:]
        if self.acts_as:
            return " ".join(words) + "\n"
        if f"--audiences={URL}" in words and not self.account.endswith(".gserviceaccount.com"):
            raise GcloudFailed("x", "Invalid account type for `--audiences`. Requires valid service account.")
        if self.federated:
            raise GcloudFailed("x", "No identity token can be obtained from the current credentials.")
        return " ".join(words) + "\n"


@pytest.mark.parametrize(
    ("login", "words"),
    [
        (Login("ann@example.com"), ""),
        (Login(""), ""),
        (Login(ACCOUNT), f"--audiences={URL}"),
        (
            Login("ann@example.com", acts_as=ACCOUNT),
            f"--audiences={URL} --impersonate-service-account={ACCOUNT} --include-email",
        ),
    ],
    ids=["a person", "no account of gcloud's own", "a service account", "impersonation"],
)
def test_a_token_is_for_the_service_that_it_is_shown_to(login: Login, words: str) -> None:
    assert identity_token(login, URL) == words  # type: ignore[arg-type]


def test_another_failure_is_reported_as_it_is() -> None:
    class Refused(Login):
        def run(self, command: Command) -> str:
            raise GcloudFailed("x", "UNAUTHENTICATED")

    with pytest.raises(GcloudFailed, match="UNAUTHENTICATED"):
        identity_token(Refused(ACCOUNT), URL)  # type: ignore[arg-type]


class Iam(BaseHTTPRequestHandler):
    """IAM, which gives an account a token of its own, and no other account one."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        right = self.path == f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateIdToken"
        right = right and self.headers["Authorization"] == "Bearer an access token"
        body = json.dumps({"token": json.dumps(asked, sort_keys=True)} if right else {"error": {"status": "DENIED"}})
        self.send_response(200 if right else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep quiet."""


def test_an_account_by_federation_asks_iam_for_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the right to that alone: gcloud's own way takes one to access tokens, which `github-oidc` does not grant."""
    login: Any = Login(ACCOUNT, federated=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), Iam) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        iam = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(remote, "IAM", iam)
        assert json.loads(identity_token(login, URL)) == {"audience": URL, "includeEmail": True}
        with pytest.raises(CloudError, match=r"(?s)roles/iam.serviceAccountOpenIdTokenCreator on itself.*DENIED"):
            remote.own_token(login, "other@some-project.iam.gserviceaccount.com", URL)
        server.shutdown()
    with pytest.raises(CloudError, match="no answer"):
        remote.own_token(login, ACCOUNT, URL)
