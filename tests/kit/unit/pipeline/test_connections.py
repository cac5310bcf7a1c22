"""HTTP/1.1 over kept connections, against a server that plays a script byte for byte."""

from __future__ import annotations

import datetime
import gzip
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from poolhouse.pipeline.gcs.http_pool import Connections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: In a script: end the connection; say nothing more until the client goes.
END, SILENCE = object(), object()


class Server:
    """Plays one script a connection: what to send after each request, in pieces."""

    def __init__(self, *scripts: list[list[object]], tls: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.origin = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        #: The requests, each with the number of its connection.
        self.requests: list[tuple[int, bytes]] = []
        self.ended = [threading.Event() for _ in scripts]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        for number, script in enumerate(self._scripts):
            try:
                opened, _ = self._listener.accept()
            except OSError:
                return
            with opened:
                try:
                    with self._tls.wrap_socket(opened, server_side=True) if self._tls else opened as connection:
                        self._play(number, script, connection)
                except OSError:
                    pass  # the client has gone
            self.ended[number].set()

    def _play(self, number: int, script: list[list[object]], connection: socket.socket) -> None:
        for pieces in script:
            self.requests.append((number, _request(connection)))
            for piece in pieces:
                if piece is END:
                    return
                if piece is SILENCE:
                    connection.recv(1)
                else:
                    assert isinstance(piece, bytes)
                    connection.sendall(piece)


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise OSError("gone")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def play() -> Iterator[type[Server]]:
    started: list[Server] = []

    class Started(Server):
        def __init__(self, *scripts: list[list[object]], tls: ssl.SSLContext | None = None) -> None:
            super().__init__(*scripts, tls=tls)
            started.append(self)

    yield Started
    for server in started:
        server.close()


def _ask(connections: Connections, server: Server, *, timeout: float = 10, body: bytes | None = None) -> bytes:
    return connections.urlopen("POST", f"{server.origin}/a%20b?x=1", body, {"X-One": "1"}, timeout=timeout).data


def test_a_request_is_one_http_message_to_the_path_of_its_url(play: type[Server]) -> None:
    server = play([[OK]])
    assert _ask(Connections(server.origin, kept=1), server, body=b"body") == b"ok"
    head, _, body = server.requests[0][1].partition(b"\r\n\r\n")
    host = server.origin.removeprefix("http://").encode()
    assert head.split(b"\r\n") == [
        b"POST /a%20b?x=1 HTTP/1.1",
        b"Host: " + host,
        b"Accept-Encoding: identity",
        b"X-One: 1",
        b"Content-Length: 4",
    ]
    assert body == b"body"


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + OK,
    ],
    ids=["with its length", "in chunks", "after others that announce it"],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_an_answer_is_read_whole_and_its_connection_used_again(play: type[Server], answer: bytes, size: int) -> None:
    pieces: list[object] = [answer[at : at + size] for at in range(0, len(answer), size)]
    server = play([pieces, pieces])
    connections = Connections(server.origin, kept=1)
    assert [_ask(connections, server) for _ in range(2)] == [b"ok", b"ok"]
    assert [number for number, _ in server.requests] == [0, 0]


def test_the_status_and_the_fields_of_an_answer_are_returned(play: type[Server]) -> None:
    server = play([[b"HTTP/1.1 404 Not Found\r\nX-Goog-Generation: 7\r\nContent-Length: 0\r\n\r\n"]])
    answer = Connections(server.origin, kept=1).urlopen("GET", f"{server.origin}/", timeout=10)
    assert (answer.status, answer.headers["x-goog-generation"], answer.data) == (404, "7", b"")


@pytest.mark.parametrize(
    "last", [OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), OK + b"HTTP/1.1 200 OK\r\n"], ids=["close", "more"]
)
def test_a_connection_is_not_used_again_after(play: type[Server], last: bytes) -> None:
    server = play([[last, SILENCE]], [[OK]])
    connections = Connections(server.origin, kept=1)
    assert [_ask(connections, server) for _ in range(2)] == [b"ok", b"ok"]
    assert [number for number, _ in server.requests] == [0, 1]


def test_a_kept_connection_that_the_server_has_closed_is_replaced_unseen(play: type[Server]) -> None:
    server = play([[OK]], [[OK]])
    connections = Connections(server.origin, kept=1)
    _ask(connections, server)
    assert server.ended[0].wait(10)
    assert _ask(connections, server) == b"ok"
    assert [number for number, _ in server.requests] == [0, 1]


def test_a_kept_connection_that_ends_within_an_answer_is_an_error(play: type[Server]) -> None:
    server = play([[OK], [b"HTTP/1.1 200 OK\r\n", END]])
    connections = Connections(server.origin, kept=1)
    _ask(connections, server)
    with pytest.raises(ConnectionError):
        _ask(connections, server)


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([END], "ended the connection"),
        ([OK[:-1], END], "ended the connection"),
        ([b"HTTP/1.1 200 OK\r\n\r\nok", END], "ended the connection"),
        ([b"220 smtp.example\r\n"], "not HTTP"),
        ([b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"], "not HTTP"),
    ],
    ids=["none", "cut short", "of unknown length", "of another protocol", "of a change of protocol"],
)
def test_an_answer_that_is_none_is_an_error(play: type[Server], pieces: list[object], error: str) -> None:
    server = play([pieces])
    with pytest.raises(ConnectionError, match=error):
        _ask(Connections(server.origin, kept=1), server)


@pytest.mark.parametrize("pieces", [[SILENCE], [OK[:10], SILENCE]], ids=["at all", "to the end"])
def test_an_answer_that_does_not_come_in_time_is_an_error(play: type[Server], pieces: list[object]) -> None:
    server = play([pieces])
    with pytest.raises(TimeoutError):
        _ask(Connections(server.origin, kept=1), server, timeout=0.1)


def test_an_answer_packed_against_our_wish_is_unpacked(play: type[Server]) -> None:
    packed = gzip.compress(b"plain")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    server = play([[head.encode() + packed]])
    assert _ask(Connections(server.origin, kept=1), server) == b"plain"


def test_no_more_connections_are_kept_than_was_said(play: type[Server]) -> None:
    server = play([[OK], [OK]], [[OK]])
    connections = Connections(server.origin, kept=0)
    assert [_ask(connections, server) for _ in range(2)] == [b"ok", b"ok"]
    assert [number for number, _ in server.requests] == [0, 1]


def test_what_is_kept_can_be_closed(play: type[Server]) -> None:
    server = play([[OK], [OK]])
    connections = Connections(server.origin, kept=1)
    _ask(connections, server)
    assert not server.ended[0].is_set()
    connections.clear()
    assert server.ended[0].wait(10)


def test_an_origin_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no origin"):
        Connections("localhost:4443", kept=1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "storage")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "storage.pem"
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(
        key.private_bytes(encoding, form, serialization.NoEncryption()) + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


def _served_with(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_server_with_a_trusted_certificate_is_spoken_to_in_tls(play: type[Server], certificate: Path) -> None:
    server = play([[OK], [OK]], tls=_served_with(certificate))
    connections = Connections(server.origin, kept=1, tls=ssl.create_default_context(cafile=str(certificate)))
    assert [_ask(connections, server) for _ in range(2)] == [b"ok", b"ok"]
    assert [number for number, _ in server.requests] == [0, 0]


def test_a_server_without_a_trusted_certificate_gets_no_request(play: type[Server], certificate: Path) -> None:
    server = play([[OK]], tls=_served_with(certificate))
    with pytest.raises(ssl.SSLCertVerificationError):
        _ask(Connections(server.origin, kept=1), server)
    assert server.requests == []
