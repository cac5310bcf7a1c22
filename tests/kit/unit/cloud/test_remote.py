"""Whose token is shown to a deployed API, with a gcloud that is a function."""

from __future__ import annotations

from typing import Any

import pytest

from poolhouse.cloud.errors import GcloudFailed
from poolhouse.cloud.remote import identity_token
from poolhouse.cloud.resource import Command, Read

URL = "https://shop-api-1.europe-west1.run.app"
ACCOUNT = "shop-deployer@some-project.iam.gserviceaccount.com"


class Login:
    """gcloud with one active account; `federated`: one that it has no key of."""

    def __init__(self, account: str, *, federated: bool = False) -> None:
        self.account, self.federated = account, federated

    def read(self, read: Read) -> Any:
        assert read.arguments[:2] == ("auth", "list")
        return [{"account": self.account, "status": "ACTIVE"}] if self.account else []

    def run(self, command: Command) -> str:
        words = command.arguments[2:]
        own = f"--impersonate-service-account={self.account}"
        if f"--audiences={URL}" in words and not self.account.endswith(".gserviceaccount.com"):
            raise GcloudFailed("x", "Invalid account type for `--audiences`. Requires valid service account.")
        if self.federated and own not in words:
            raise GcloudFailed("x", "No identity token can be obtained from the current credentials.")
        return " ".join(words) + "\n"


@pytest.mark.parametrize(
    ("login", "words"),
    [
        (Login("ann@example.com"), ""),
        (Login(""), ""),
        (Login(ACCOUNT), f"--audiences={URL}"),
        (
            Login(ACCOUNT, federated=True),
            f"--audiences={URL} --impersonate-service-account={ACCOUNT} --include-email",
        ),
    ],
    ids=["a person", "no account of gcloud's own", "a service account", "federation"],
)
def test_a_token_is_for_the_service_that_it_is_shown_to(login: Login, words: str) -> None:
    assert identity_token(login, URL) == words  # type: ignore[arg-type]


def test_another_failure_is_reported_as_it_is() -> None:
    class Refused(Login):
        def run(self, command: Command) -> str:
            raise GcloudFailed("x", "UNAUTHENTICATED")

    with pytest.raises(GcloudFailed, match="UNAUTHENTICATED"):
        identity_token(Refused(ACCOUNT), URL)  # type: ignore[arg-type]
