"""Signatures and answers, without a pipeline."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from poolhouse import Reject, Retry

from tests.conftest import SECRET
from worker import answers, signature


def test_a_signature_is_that_of_the_standard() -> None:
    # The example of the specification's own libraries.
    signed = signature.headers(
        b'{"test": 2432232314}',
        event_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        now=datetime.fromtimestamp(1614265330, UTC),
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",  # gitleaks:allow
    )
    assert signed["webhook-timestamp"] == "1614265330"
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", SECRET.removeprefix("whsec_"), "whsec_!", "whsec_c2hvcnQ="])
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        signature.key_of(secret)
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_what_was_taken_is_done(status: int) -> None:
    answers.check(status, {})


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 422])
def test_what_was_refused_is_not_sent_again(status: int) -> None:
    with pytest.raises(Reject, match=f"the receiver answered {status}"):
        answers.check(status, {"Retry-After": "60"})


@pytest.mark.parametrize("status", [408, 429, 500, 503])
@pytest.mark.parametrize(
    ("retry_after", "after_s"),
    [("60", 60), ("999999999", answers.MAX_WAIT_S), ("", None), ("-1", None), ("Fri, 31 Dec 1999 23:59:59 GMT", None)],
)
def test_what_may_be_taken_later_is_sent_when_the_receiver_says(
    status: int, retry_after: str, after_s: float | None
) -> None:
    with pytest.raises(Retry, match=f"the receiver answered {status}") as caught:
        answers.check(status, {"Retry-After": retry_after})
    assert caught.value.after_s == after_s
