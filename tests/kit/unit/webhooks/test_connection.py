"""One POST to a receiver: to no address but those that are allowed, bounded in time and size."""

from __future__ import annotations

import datetime as dt
import http.client
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from poolhouse.pipeline.config.webhook_options import Webhooks
from poolhouse.worker.webhooks import connection
from poolhouse.worker.webhooks.connection import AddressRefused, Answer
from tests.kit.push_endpoint import open_endpoint
from tests.kit.unit.webhooks.conftest import Resolving
from tests.kit.unit.webhooks.receivers import raw_receiver, read_request

OPEN = Webhooks(secret="S", allow_private=True, timeout_s=5)
CLOSED = Webhooks(secret="S", timeout_s=5)


def test_headers_and_body_arrive_as_they_are() -> None:
    with open_endpoint() as endpoint:
        answer = connection.post(f"{endpoint.url}?a=%20b", b"{}", {"webhook-id": "1"}, options=OPEN)
        port = endpoint.url.split(":")[2].split("/")[0]
    [request] = endpoint.requests
    assert answer == Answer(200, None, "thanks")
    assert (request.path, request.body) == ("/push?a=%20b", b"{}")
    assert (request.headers["host"], request.headers["webhook-id"]) == (f"127.0.0.1:{port}", "1")


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with open_endpoint() as endpoint:
        endpoint.answer = lambda _: 302
        assert connection.post(endpoint.url, b"{}", {}, options=OPEN).status == 302
    assert len(endpoint.requests) == 1


def test_an_address_that_is_not_allowed_is_never_connected_to(resolving: Resolving) -> None:
    with open_endpoint() as endpoint:
        for url in (endpoint.url, endpoint.url.replace("127.0.0.1", "localhost")):
            with pytest.raises(AddressRefused, match="allow_private"):
                connection.post(url, b"{}", {}, options=CLOSED)
        resolving("meta.test", ["169.254.169.254"])
        with pytest.raises(AddressRefused, match="link-local"):
            connection.post("http://meta.test/", b"{}", {}, options=OPEN)
        assert endpoint.connections == 0


def test_a_name_that_leads_elsewhere_the_next_time_is_resolved_once(
    monkeypatch: pytest.MonkeyPatch, resolving: Resolving
) -> None:
    connected: list[Any] = []

    def create_connection(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError("the test's end")

    monkeypatch.setattr(socket, "create_connection", create_connection)
    resolving("rebind.test", ["93.184.215.14"], ["127.0.0.1"])
    with pytest.raises(ConnectionRefusedError):
        connection.post("https://rebind.test/", b"{}", {}, options=CLOSED)
    assert connected == [("93.184.215.14", 443)]


def test_of_several_addresses_those_that_are_allowed_are_tried(resolving: Resolving) -> None:
    listed = Webhooks(secret="S", allow_private=("127.0.0.1",), timeout_s=5)
    with open_endpoint() as endpoint:
        port = endpoint.url.split(":")[2].split("/")[0]
        resolving("two.test", ["10.0.0.1", "127.0.0.1"])
        answer = connection.post(f"http://two.test:{port}/", b"{}", {}, options=listed)
    assert answer.status == 200


def test_of_an_endless_answer_only_the_beginning_is_read() -> None:
    sent = 0
    gone = threading.Event()

    def serve(caller: socket.socket) -> None:
        nonlocal sent
        read_request(caller)
        caller.sendall(b"HTTP/1.1 500 Broken\r\n\r\n")
        try:
            while True:
                sent += caller.send(b"x" * 65536)
        finally:
            gone.set()

    with raw_receiver(serve) as port:
        answer = connection.post(f"http://127.0.0.1:{port}/", b"{}", {}, options=OPEN)
        assert gone.wait(5)
    assert (answer.status, answer.text) == (500, "x" * connection.ANSWER_BYTES)
    assert sent < 64_000_000


def test_a_receiver_that_is_silent_is_given_up() -> None:
    over = threading.Event()
    with raw_receiver(lambda caller: over.wait(60)) as port:
        impatient = Webhooks(secret="S", allow_private=True, timeout_s=0.2)
        began_s = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.post(f"http://127.0.0.1:{port}/", b"{}", {}, options=impatient)
        over.set()
        assert time.monotonic() - began_s < 2.5


@pytest.mark.parametrize(
    "answer",
    [b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"HTTP/1.1 999999 x\r\n\r\n", b""],
)
def test_what_is_no_http_is_an_error_of_its_own(answer: bytes) -> None:
    def serve(caller: socket.socket) -> None:
        read_request(caller)
        caller.sendall(answer)

    with raw_receiver(serve) as port, pytest.raises((http.client.HTTPException, ConnectionError)):
        connection.post(f"http://127.0.0.1:{port}/", b"{}", {}, options=OPEN)


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook.test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hook.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


def test_over_tls_the_certificate_must_be_that_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolving: Resolving
) -> None:
    certificate, key = _certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)

    def serve(caller: socket.socket) -> None:
        with server.wrap_socket(caller, server_side=True) as secure:
            read_request(secure)
            secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    for name in ("hook.test", "other.test"):
        resolving(name, ["127.0.0.1"])
    with raw_receiver(serve) as port:
        url = f"https://hook.test:{port}/"
        with pytest.raises(ssl.SSLCertVerificationError):  # signed by nobody that is known
            connection.post(url, b"{}", {}, options=OPEN)
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(connection, "_tls", lambda: trusting)
        assert connection.post(url, b"{}", {}, options=OPEN).status == 204
        with pytest.raises(ssl.SSLCertVerificationError):
            connection.post(f"https://other.test:{port}/", b"{}", {}, options=OPEN)
