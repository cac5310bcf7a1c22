"""Where a webhook may be sent to."""

from __future__ import annotations

import pytest

from poolhouse.pipeline.config.webhook_options import Webhooks
from poolhouse.pipeline.webhooks.addresses import kind_of, refusal
from poolhouse.pipeline.webhooks.urls import check_allowed, check_url


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("93.184.215.14", "public"),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", "public"),
        ("64:ff9b::5db8:d70e", "public"),
        *((each, "private") for each in ("127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "0.0.0.0")),
        *((each, "private") for each in ("100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1")),
        *(
            (each, "private")
            for each in ("255.255.255.255", "::1", "::", "fd00::1", "ff02::1", "2001:db8::1", "fec0::1")
        ),
        *((each, "private") for each in ("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::7f00:1")),
        *((each, "link-local") for each in ("169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254")),
        *((each, "link-local") for each in ("64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::")),
    ],
)
def test_an_address_is_what_it_leads_to(address: str, kind: str) -> None:
    assert kind_of(address) == kind


@pytest.mark.parametrize(
    ("allow_private", "allowed"),
    [
        (False, set()),
        (True, {"10.0.0.1", "127.0.0.1"}),
        (("10.0.0.1",), {"10.0.0.1"}),
        (("hook.test",), {"10.0.0.1", "127.0.0.1", "169.254.169.254"}),
        (("169.254.169.254",), {"169.254.169.254"}),
    ],
)
def test_what_is_not_public_needs_the_declaration_and_link_local_its_name(
    allow_private: bool | tuple[str, ...], allowed: set[str]
) -> None:
    options = Webhooks(secret="S", allow_private=allow_private)
    for address in ("10.0.0.1", "127.0.0.1", "169.254.169.254"):
        refused = refusal(address, host="hook.test", tls=False, options=options)
        assert (refused is None) == (address in allowed), address
        assert refused is None or "allow_private" in refused


def test_a_public_address_needs_tls_whatever_is_allowed() -> None:
    options = Webhooks(secret="S", allow_private=True)
    assert refusal("93.184.215.14", host="shop.example", tls=True, options=options) is None
    assert "use https" in str(refusal("93.184.215.14", host="shop.example", tls=False, options=options))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://shop.example/", "must be a URL"),
        ("https://", "must be a URL"),
        ("shop.example/hooks", "must be a URL"),
        ("https://shop.example:0/", "must be a URL"),
        ("https://shop.example:99999/", "must be a URL"),
        ("https://[::1/", "must be a URL"),
        ("https://user:secret@shop.example/", "user name or password"),
        ("https://shop.example/#part", "fragment"),
        ("https://shop.example/a b", "ASCII"),
        ("https://shop.example/\r\nhost: other", "ASCII"),
        ("https://bücher.example/", "ASCII"),
        (f"https://shop.example/{'a' * 1024}", "1,024"),
    ],
)
def test_what_is_no_url_for_a_webhook_is_refused_with_the_rule(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as raised:
        check_url(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "allow_private", "told"),
    [
        ("https://shop.example/hooks", False, None),
        ("https://93.184.215.14/hooks", False, None),
        ("http://shop.example/hooks", False, "https"),
        ("http://shop.example/hooks", ("other.example",), "https"),
        ("http://hooks.internal/", ("hooks.internal",), None),
        ("http://hooks.internal/", True, None),
        ("https://127.0.0.1/", False, "private address"),
        ("https://[::1]:8443/", False, "private address"),
        ("http://127.0.0.1:8000/", True, None),
        ("http://169.254.169.254/latest", True, "link-local"),
        ("http://93.184.215.14/", True, "use https"),
    ],
)
def test_what_can_be_seen_of_a_url_is_checked_at_once(
    url: str, allow_private: bool | tuple[str, ...], told: str | None
) -> None:
    options = Webhooks(secret="S", allow_private=allow_private)
    if told is None:
        check_allowed(url, options)
        return
    with pytest.raises(ValueError, match=told):
        check_allowed(url, options)
