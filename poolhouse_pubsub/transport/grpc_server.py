"""The gRPC transport: generic handlers over the service layer, health checks and reflection."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.rpc import status_pb2

from poolhouse_pubsub.service import Method, Service
from poolhouse_pubsub.status import StatusError, server_stops
from poolhouse_pubsub.transport.streaming import StreamingPull

_GRPC_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

#: Largest message taken: above the 10 MB of a Publish, so that this limit is answered by the rule and not by gRPC.
_RECEIVE_BYTES = 64 * 1024 * 1024

_OPTIONS = (
    ("grpc.max_receive_message_length", _RECEIVE_BYTES),
    ("grpc.max_send_message_length", -1),
    # Clients keep idle streams alive with pings; the default policy would cut them off for that.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)


class GrpcServer:
    """A grpc.aio server for one service layer.

    Args:
        service: The RPCs.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._streams: set[StreamingPull] = set()
        self._server = grpc.aio.server(options=_OPTIONS)
        by_service: dict[str, dict[str, Any]] = defaultdict(dict)
        for method in service.grpc_methods:
            by_service[method.service][method.name] = grpc.unary_unary_rpc_method_handler(self._unary(method))
        by_service["google.pubsub.v1.Subscriber"]["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
            self._streaming_pull
        )
        for name, handlers in by_service.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))

    async def start(self, address: str) -> int:
        """Listen on an address such as `unix:/path`; returns the port, where it has one."""
        from poolhouse_pubsub.transport import introspection  # noqa: PLC0415 - imports only what a running server needs

        await introspection.add(self._server, self._service.grpc_methods)
        port: int = self._server.add_insecure_port(address)
        await self._server.start()
        return port

    async def stop(self) -> None:
        """End open streams with UNAVAILABLE and stop at once."""
        self.end_streams(server_stops())
        await asyncio.sleep(0)
        await self._server.stop(0.1 if self._streams else 0)

    def end_streams(self, error: StatusError) -> None:
        """End all open streams with an error."""
        for stream in list(self._streams):
            stream.end(error)

    def _unary(self, method: Method) -> Callable[[bytes, Any], Awaitable[bytes]]:
        service, call = self._service, self._service.call_bytes

        async def handle(raw: bytes, context: Any) -> bytes:
            try:
                if not service.reads_headers:
                    return await call(method, raw)
                return await call(method, raw, caller=service.caller(method.name, context.invocation_metadata()))
            except StatusError as error:
                return await _abort(context, error)

        return handle

    async def _streaming_pull(self, _requests: Any, context: Any) -> None:
        async def read() -> bytes | None:
            raw = await context.read()
            return None if raw is grpc.aio.EOF else raw

        caller = self._service.caller("StreamingPull", context.invocation_metadata())
        stream = StreamingPull(self._service, context.write, caller=caller)
        self._streams.add(stream)
        try:
            await stream.run(read)
        except StatusError as error:
            await _abort(context, error)
        finally:
            self._streams.discard(stream)


async def _abort(context: Any, error: StatusError) -> bytes:
    trailing: tuple[tuple[str, bytes], ...] = ()
    if error.details:
        status = status_pb2.Status(code=int(error.code), message=error.message)
        for detail in error.details:
            status.details.add().Pack(detail)
        trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(_GRPC_CODES[int(error.code)], error.message, trailing)
    raise AssertionError("abort always raises")
