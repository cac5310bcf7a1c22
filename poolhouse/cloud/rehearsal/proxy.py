"""The HTTPS proxy that gcloud is pointed at: ends TLS itself and hands each request to the control plane.

Endpoint overrides would not do: `gcloud run` puts the region before the host, worker pools speak gRPC over TLS, and
`builds submit` reads its log from storage's true host name. Nothing leaves the machine: every host is simulated here.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from poolhouse.cloud.rehearsal.authority import Authority
from poolhouse.cloud.rehearsal.http import Request, Response

Handler = Callable[[Request], Response]
#: A gcloud that was killed leaves its connection half open; this bounds how long a thread waits for it, in seconds.
IDLE_TIMEOUT_S = 120


class Proxy:
    """Listens on a free port of 127.0.0.1 from `with` to its end.

    Args:
        handler: answers a request; called from many threads.
        authority: certificate and key shown to clients.
        grpc_port: port on 127.0.0.1 that tunnels speaking HTTP/2 are passed on to; None: they are refused.
    """

    def __init__(self, handler: Handler, *, authority: Authority, grpc_port: int | None = None) -> None:
        """Prepare; nothing listens yet."""
        self._handler = handler
        self._grpc_port = grpc_port
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(authority.certificate_file, authority.key_file)
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._listener is not None, "the proxy is not running"
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        """Start to listen."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to listen and cut the connections that are left."""
        assert self._listener is not None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept call; close alone would not
        self._listener.close()
        self._accepting.join()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed: the rehearsal is over
                return
            connection.settimeout(IDLE_TIMEOUT_S)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        try:
            host = _read_connect(connection)
            if host is None:
                connection.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
                return
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            if _speaks_http2(connection):
                self._splice(connection)
            else:
                with self._tls.wrap_socket(connection, server_side=True) as tunnel:
                    _Tunnel(tunnel, host, self._handler)
        except (OSError, EOFError):  # the client went away (gcloud was killed, the rehearsal ended): nothing to answer
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _splice(self, connection: socket.socket) -> None:
        if self._grpc_port is None:
            return
        with socket.create_connection(("127.0.0.1", self._grpc_port)) as upstream:
            back = threading.Thread(target=_copy, args=(upstream, connection), daemon=True)
            back.start()
            _copy(connection, upstream)
            back.join()


class _Tunnel(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, tunnel: ssl.SSLSocket, host: str, handler: Handler) -> None:
        self._host, self._control_plane = host, handler
        super().__init__(tunnel, tunnel.getpeername(), None)  # type: ignore[arg-type] # there is no server object

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            host=headers.get("host", self._host).split(":")[0],
            method=self.command,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers=headers,
            body=self._read_body(headers),
        )
        response = self._control_plane(request)
        payload = response.payload
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(headers.get("content-length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(chunks)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the control plane keeps its own log."""


def _read_connect(connection: socket.socket) -> str | None:
    """The host of a CONNECT request; None for any other request."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)  # one by one: what follows the empty line belongs to TLS
        if not byte:
            raise EOFError
        head += byte
    method, target, *_ = head.split(b"\r\n")[0].decode("latin-1").split(" ")
    return target.rpartition(":")[0] if method == "CONNECT" else None


def _speaks_http2(connection: socket.socket) -> bool:
    """Whether the TLS client hello that comes next offers `h2`: gRPC does, gcloud's REST clients do not."""
    header = connection.recv(5, socket.MSG_PEEK | socket.MSG_WAITALL)
    if len(header) < 5:
        raise EOFError
    (length,) = struct.unpack(">H", header[3:5])
    hello = connection.recv(5 + length, socket.MSG_PEEK | socket.MSG_WAITALL)
    return b"\x02h2" in hello  # ALPN: a length byte, then the protocol's name (RFC 7301)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
