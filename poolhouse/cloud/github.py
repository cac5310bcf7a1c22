"""What GitHub knows of a repository: the numbers that its tokens carry."""

from __future__ import annotations

import requests

from poolhouse.cloud.errors import CloudError

API = "https://api.github.com"
_TIMEOUT_S = 30


def numbers(repository: str, *, api: str = API) -> tuple[int, int]:
    """The numbers of a public repository and of its owner.

    Args:
        repository: `ORG/REPO`.
        api: GitHub's API.

    Raises:
        CloudError: no answer, or the repository is private or not there.
    """
    by_hand = (
        f"Give them by hand: `gh api repos/{repository} --jq '.id, .owner.id'` shows the numbers for --repo-id and "
        "--owner-id."
    )
    try:
        answer = requests.get(f"{api}/repos/{repository}", timeout=_TIMEOUT_S)
        found = answer.json() if answer.ok else {}
        return int(found["id"]), int(found["owner"]["id"])
    except requests.RequestException as error:
        raise CloudError(f"{api}: no answer ({type(error).__name__}). {by_hand}") from error
    except (KeyError, TypeError, ValueError):
        raise CloudError(
            f"{repository}: GitHub does not show it ({answer.status_code}): private, or not there. {by_hand}"
        ) from None
