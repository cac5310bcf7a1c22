"""Whose token is shown to a deployed API, with a gcloud that is a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from poolhouse.cloud.errors import GcloudFailed
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
        # Whatever core/format of the configuration is.
        assert command.arguments[:3] == ("auth", "print-identity-token", "--format=value(id_token)")
        words = command.arguments[3:]
        if self.acts_as:
            return " ".join(words) + "\n"
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
        (
            Login("ann@example.com", acts_as=ACCOUNT),
            f"--audiences={URL} --impersonate-service-account={ACCOUNT} --include-email",
        ),
    ],
    ids=["a person", "no account of gcloud's own", "a service account", "federation", "impersonation"],
)
def test_a_token_is_for_the_service_that_it_is_shown_to(login: Login, words: str) -> None:
    assert identity_token(login, URL) == words  # type: ignore[arg-type]


def test_another_failure_is_reported_as_it_is() -> None:
    class Refused(Login):
        def run(self, command: Command) -> str:
            raise GcloudFailed("x", "UNAUTHENTICATED")

    with pytest.raises(GcloudFailed, match="UNAUTHENTICATED"):
        identity_token(Refused(ACCOUNT), URL)  # type: ignore[arg-type]
