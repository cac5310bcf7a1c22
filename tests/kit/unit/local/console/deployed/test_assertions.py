"""Which assertions are believed, and with which keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping

import pytest
import requests

from poolhouse.local.console.deployed.assertions import Assertions, Person
from poolhouse.pipeline.signed_tokens import CLOCK_SKEW_S, KEEP_S, LOOK_AGAIN_S, RETRY_S, STALE_S
from tests.kit.unit.local.console.deployed.conftest import AUDIENCE, KEYS, OPERATOR, SIGNER, assertion, public

ANN = Person(address=OPERATOR)


class Keys:
    """What is published, and a clock."""

    def __init__(self) -> None:
        self.now, self.fetches, self.reachable = 0.0, 0, True
        self.published: Mapping[str, str] = KEYS
        self.person = Assertions(audience=AUDIENCE, fetch=self.fetch, clock=lambda: self.now).person

    def fetch(self) -> Mapping[str, str]:
        self.fetches += 1
        if not self.reachable:
            raise requests.ConnectionError("no network")
        return self.published


def encoded(part: object) -> str:
    text = part if isinstance(part, str) else json.dumps(part)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def with_header(header: object) -> str:
    """A valid assertion under another header."""
    return ".".join((encoded(header), *assertion(OPERATOR).split(".")[1:]))


def signed_with_the_public_key() -> str:
    """HMAC whose secret is the key that everyone knows: the confusion of algorithms that libraries had."""
    signed = f"{encoded({'alg': 'HS256', 'kid': 'one'})}.{assertion(OPERATOR).split('.')[1]}"
    mac = hmac.digest(public(SIGNER).encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "token",
    [
        *(with_header({"alg": alg, "kid": "one"}) for alg in ("none", "None", "HS256", "RS256", "ES384", ["ES256"])),
        with_header({"kid": "one"}),
        with_header({"alg": "ES256", "kid": ["one"]}),
        with_header({"alg": "ES256", "kid": {}}),
        with_header(["ES256"]),
        with_header("[" * 100_000),
        f"{encoded({'alg': 'none', 'kid': 'one'})}.{assertion(OPERATOR).split('.')[1]}.",
        signed_with_the_public_key(),
        "",
        "..",
        "a.b.c",
        "é.é.é",
        assertion(OPERATOR) + ".x",
    ],
)
def test_no_other_algorithm_and_no_odd_header_is_believed(token: str) -> None:
    assert Keys().person(token) is None


def test_two_clocks_may_be_thirty_seconds_apart() -> None:
    person = Keys().person
    assert person(assertion(OPERATOR, ended_s=CLOCK_SKEW_S - 10)) == ANN
    assert person(assertion(OPERATOR, ended_s=CLOCK_SKEW_S + 10)) is None
    assert person(assertion(OPERATOR, ended_s=-600 - CLOCK_SKEW_S + 10)) == ANN
    assert person(assertion(OPERATOR, ended_s=-600 - CLOCK_SKEW_S - 10)) is None


def test_the_domain_is_the_accounts_own_alone() -> None:
    person = Keys().person
    assert person(assertion(OPERATOR)) == ANN
    assert person(assertion(OPERATOR, hd=None)) == ANN
    assert person(assertion(OPERATOR, hd="")) == ANN


def test_a_new_key_is_found_within_a_minute_and_an_invented_one_costs_no_call() -> None:
    keys = Keys()
    assert keys.person(assertion(OPERATOR)) == ANN
    keys.published = {"two": KEYS["one"]}
    assert keys.person(assertion(OPERATOR, key_id="two")) is None
    assert keys.fetches == 1
    keys.now += LOOK_AGAIN_S + 1
    assert keys.person(assertion(OPERATOR, key_id="two")) == ANN
    assert keys.person(assertion(OPERATOR)) is None  # a key that is taken back is gone
    assert keys.fetches == 2


def test_known_keys_serve_for_a_day_where_they_can_not_be_fetched() -> None:
    keys = Keys()
    assert keys.person(assertion(OPERATOR)) == ANN
    keys.reachable = False
    keys.now += KEEP_S + 1
    for _ in range(3):
        assert keys.person(assertion(OPERATOR)) == ANN
        with pytest.raises(requests.RequestException, match="no network"):
            keys.person(assertion(OPERATOR, key_id="two"))
    assert keys.fetches == 2
    keys.now += STALE_S
    with pytest.raises(requests.RequestException):
        keys.person(assertion(OPERATOR))
    keys.reachable = True
    keys.now += RETRY_S + 1
    assert keys.person(assertion(OPERATOR)) == ANN


def test_a_failed_first_fetch_is_not_tried_again_by_each_of_those_that_wait_for_it() -> None:
    keys = Keys()
    keys.reachable = False
    for _ in range(3):
        with pytest.raises(requests.RequestException, match="no network"):
            keys.person(assertion(OPERATOR))
    assert keys.fetches == 1
    keys.reachable = True
    keys.now += RETRY_S + 1
    assert keys.person(assertion(OPERATOR)) == ANN
