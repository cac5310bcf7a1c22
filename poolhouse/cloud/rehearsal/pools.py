"""Worker pools over gRPC: gcloud changes their shares and size, and deletes them, through Cloud Run's v2 API."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc
from google.cloud.run_v2.types import (
    Container,
    DeleteWorkerPoolRequest,
    GetWorkerPoolRequest,
    InstanceSplit,
    InstanceSplitAllocationType,
    InstanceSplitStatus,
    UpdateWorkerPoolRequest,
    WorkerPool,
    WorkerPoolRevisionTemplate,
    WorkerPoolScaling,
)
from google.longrunning import operations_pb2
from google.protobuf import any_pb2

from poolhouse.cloud.rehearsal.authority import Authority
from poolhouse.cloud.rehearsal.control_plane import ControlPlane
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.services import worker_pools
from poolhouse.cloud.rehearsal.services.run import REGIONS, name
from poolhouse.cloud.rehearsal.state import State

_POOLS = "google.cloud.run.v2.WorkerPools"
_OPERATIONS = "google.longrunning.Operations"
_PORT_HOST = "127.0.0.1"
_TO_LATEST = InstanceSplitAllocationType.INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST
_TO_REVISION = InstanceSplitAllocationType.INSTANCE_SPLIT_ALLOCATION_TYPE_REVISION
#: What Cloud Run labels everything with, in v1 alone.
_LOCATION = "cloud.googleapis.com/location"


class PoolServer:
    """The gRPC server that the proxy passes HTTP/2 tunnels on to, from `with` to its end.

    Args:
        control_plane: whose state, faults and log are shared.
        authority: certificate and key shown to clients.
    """

    def __init__(self, control_plane: ControlPlane, *, authority: Authority) -> None:
        """Prepare; nothing listens yet."""
        self._control_plane = control_plane
        self._server = grpc.server(ThreadPoolExecutor(8, thread_name_prefix="pools"))
        self._server.add_generic_rpc_handlers((self._handlers(),))
        pair = (authority.key_file.read_bytes(), authority.certificate_file.read_bytes())
        self.port: int = self._server.add_secure_port(f"{_PORT_HOST}:0", grpc.ssl_server_credentials((pair,)))

    def __enter__(self) -> Self:
        """Start to serve."""
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop at once."""
        self._server.stop(None).wait()

    def _handlers(self) -> grpc.GenericRpcHandler:
        methods = {
            f"/{_POOLS}/GetWorkerPool": (GetWorkerPoolRequest.deserialize, self._get, WorkerPool.serialize),
            f"/{_POOLS}/UpdateWorkerPool": (UpdateWorkerPoolRequest.deserialize, self._update, _serialize),
            f"/{_POOLS}/DeleteWorkerPool": (DeleteWorkerPoolRequest.deserialize, self._delete, _serialize),
            f"/{_OPERATIONS}/GetOperation": (operations_pb2.GetOperationRequest.FromString, self._poll, _serialize),
            f"/{_OPERATIONS}/WaitOperation": (operations_pb2.WaitOperationRequest.FromString, self._poll, _serialize),
        }
        control_plane = self._control_plane

        class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
            def service(self, details: Any) -> Any:
                if details.method not in methods:
                    return None
                deserialize, handler, serialize = methods[details.method]
                return grpc.unary_unary_rpc_method_handler(
                    _guarded(control_plane, details.method, handler),
                    request_deserializer=deserialize,
                    response_serializer=serialize,
                )

        return Handlers()

    def _get(self, request: Any) -> Any:
        return _as_v2(self._found(request.name), request.name)

    def _update(self, request: Any) -> Any:
        state, pool = self._control_plane.state, request.worker_pool
        found = self._found(pool.name)
        present = _as_v2(found, pool.name)
        if pool.etag and pool.etag != present.etag:
            raise ApiError("ABORTED", "Conflict for resource: the etag that was sent is not the present one.")
        if pool.template.containers != present.template.containers:
            raise ApiError("UNIMPLEMENTED", "The rehearsal takes the template of a worker pool by `replace` alone.")
        metadata = {**found["metadata"], "labels": dict(pool.labels)}
        if "manual_instance_count" in pool.scaling:
            count = {worker_pools.INSTANCES: str(pool.scaling.manual_instance_count)}
            metadata["annotations"] = {**found["metadata"]["annotations"], **count}
        splits = [
            {"percent": split.percent}
            | ({"latestRevision": True} if split.type_ == _TO_LATEST else {"revisionName": split.revision})
            for split in pool.instance_splits
        ]
        changed = {**found, "metadata": metadata, "spec": {**found["spec"], "instanceSplits": splits}}
        region, _ = _parts(pool.name, state)
        return self._operation(_as_v2(worker_pools.store(state, changed, region=region), pool.name))

    def _delete(self, request: Any) -> Any:
        state = self._control_plane.state
        pool = _as_v2(self._found(request.name), request.name)
        region, resource = _parts(request.name, state)
        state.delete(name(state, worker_pools.KIND, region, resource))
        return self._operation(pool)

    def _found(self, path: str) -> dict[str, Any]:
        state = self._control_plane.state
        region, resource = _parts(path, state)
        return state.get(name(state, worker_pools.KIND, region, resource), message=f"Resource '{path}' was not found")

    def _poll(self, request: Any) -> Any:
        return _operation_message(self._control_plane.state.poll(request.name))

    def _operation(self, pool: Any) -> Any:
        state = self._control_plane.state
        region, _ = _parts(pool.name, state)
        full = f"projects/{state.project}/locations/{region}/operations/{state.number()}"
        return _operation_message(state.operation(full, WorkerPool.pb(pool), metadata=WorkerPool.pb(pool)))


def _as_v2(item: dict[str, Any], path: str) -> Any:
    """A pool of the v1 API as v2 shows it: what single changes of it need."""
    metadata, spec, status = item["metadata"], item["spec"], item["status"]
    pod = spec["template"]["spec"]
    count = metadata.get("annotations", {}).get(worker_pools.INSTANCES)
    return WorkerPool(
        name=path,
        etag=metadata["resourceVersion"],
        generation=metadata["generation"],
        labels={key: value for key, value in metadata["labels"].items() if key != _LOCATION},
        scaling=WorkerPoolScaling(manual_instance_count=int(count)) if count is not None else None,
        template=WorkerPoolRevisionTemplate(
            service_account=pod.get("serviceAccountName", ""),
            containers=[Container(image=container["image"]) for container in pod["containers"]],
        ),
        instance_splits=[
            InstanceSplit(type_=_TO_LATEST, percent=split["percent"])
            if split.get("latestRevision")
            else InstanceSplit(type_=_TO_REVISION, revision=split["revisionName"], percent=split["percent"])
            for split in spec["instanceSplits"]
        ],
        instance_split_statuses=[
            InstanceSplitStatus(revision=split["revisionName"], percent=split["percent"])
            for split in status["instanceSplits"]
        ],
        latest_ready_revision=f"{path}/revisions/{status['latestReadyRevisionName']}",
    )


def _guarded(control_plane: ControlPlane, method: str, handler: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The handler behind the same checks, faults and log as every other call."""

    def run(message: Any, context: Any) -> Any:
        headers = dict(context.invocation_metadata())
        # gRPC has no method and path of its own for us: the call's name stands for the path.
        request = Request(host="run.googleapis.com", method="GRPC", path=method)
        with control_plane.lock:
            try:
                control_plane.authenticate(headers.get("authorization", ""))
                control_plane.require("run")
                control_plane.faults.strike(request, after=False)
                answer = handler(message)
                control_plane.faults.strike(request, after=True)
            except ApiError as error:
                control_plane.note(request, error.response.status)
                context.abort(grpc.StatusCode[error.status], error.message)
            control_plane.note(request, 200)
            return answer

    return run


def _operation_message(operation: dict[str, Any]) -> Any:
    message = operations_pb2.Operation(name=operation["name"], done=operation["done"])
    if operation.get("metadata") is not None:
        message.metadata.Pack(operation["metadata"])
    if operation["done"]:
        packed = any_pb2.Any()
        packed.Pack(operation["response"])
        message.response.CopyFrom(packed)
    return message


def _parts(path: str, state: State) -> tuple[str, str]:
    parts = path.split("/")
    if len(parts) != 6 or parts[1] != state.project:
        raise ApiError("PERMISSION_DENIED", f"Permission denied on resource {path} (or it may not exist).")
    if parts[3] not in REGIONS:
        raise ApiError("NOT_FOUND", f"Location {parts[3]} is not found or access is unauthorized.")
    return parts[3], parts[5]


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())
