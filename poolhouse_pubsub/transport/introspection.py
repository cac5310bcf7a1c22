"""gRPC health checking and server reflection, so that grpcurl, load balancers and test containers find their way."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from google.iam.v1 import iam_policy_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from poolhouse_pubsub import protos
from poolhouse_pubsub.service import Method

#: The file that the services are declared in, for reflection: the Python package of the API has only their messages.
_SERVICES_FILE = "google/pubsub/v1/services.proto"


async def add(server: Any, methods: Iterable[Method]) -> None:
    """Add both services to a server that is not started yet."""
    methods = list(methods)
    names = sorted({method.service for method in methods} | {health.SERVICE_NAME, reflection.SERVICE_NAME})
    servicer = health.aio.HealthServicer()
    for name in names:
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection(names, server, pool=_LazyPool(methods))


class _LazyPool:
    """A descriptor pool that is built when the first reflection call comes: a start shall not wait for it."""

    def __init__(self, methods: list[Method]) -> None:
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    @cached_property
    def _pool(self) -> Any:
        pool = descriptor_pool.DescriptorPool()
        added: set[str] = set()
        needed = [protos.PublishRequest, protos.Schema, protos.Empty, iam_policy_pb2.GetIamPolicyRequest]
        for file in (
            *(each.DESCRIPTOR.file for each in needed),
            health_pb2.DESCRIPTOR,
            descriptor_pool.Default().FindFileContainingSymbol(reflection.SERVICE_NAME),
        ):
            _add_file(pool, file, added)
        pool.Add(self._services(added))
        return pool

    def _services(self, files: set[str]) -> Any:
        declared = descriptor_pb2.FileDescriptorProto(
            name=_SERVICES_FILE, package="google.pubsub.v1", syntax="proto3", dependency=sorted(files)
        )
        services: dict[str, Any] = {}
        for method in self._methods:
            package, _, short = method.service.rpartition(".")
            if package != declared.package:
                continue  # IAMPolicy is declared in its own file
            if short not in services:
                services[short] = declared.service.add(name=short)
            services[short].method.add(
                name=method.name,
                input_type="." + method.request.DESCRIPTOR.full_name,
                output_type="." + method.response.DESCRIPTOR.full_name,
            )
        services["Subscriber"].method.add(
            name="StreamingPull",
            input_type="." + protos.StreamingPullRequest.DESCRIPTOR.full_name,
            output_type="." + protos.StreamingPullResponse.DESCRIPTOR.full_name,
            client_streaming=True,
            server_streaming=True,
        )
        return declared


def _add_file(pool: Any, file: Any, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for dependency in file.dependencies:
        _add_file(pool, dependency, added)
    declared = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(declared)
    pool.Add(declared)
