"""Worker pools over gRPC: the one part of a deploy for which gcloud speaks Cloud Run's v2 API."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc
from google.cloud.run_v2.types import (
    DeleteWorkerPoolRequest,
    GetWorkerPoolRequest,
    InstanceSplit,
    InstanceSplitAllocationType,
    InstanceSplitStatus,
    UpdateWorkerPoolRequest,
    VpcAccess,
    WorkerPool,
)
from google.longrunning import operations_pb2
from google.protobuf import any_pb2

from poolhouse.cloud.rehearsal import revisions
from poolhouse.cloud.rehearsal.authority import Authority
from poolhouse.cloud.rehearsal.control_plane import ControlPlane
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import check
from poolhouse.cloud.rehearsal.services.connections import CLOUD_SQL, EGRESS, INTERFACES, check_connections
from poolhouse.cloud.rehearsal.services.run import CONTAINER, REGIONS, check_container, name
from poolhouse.cloud.rehearsal.state import State

_POOLS = "google.cloud.run.v2.WorkerPools"
_OPERATIONS = "google.longrunning.Operations"
_PORT_HOST = "127.0.0.1"
_TO_LATEST = InstanceSplitAllocationType.INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST


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
        return self._control_plane.state.get(
            f"run-v2/{request.name}", message=f"Resource '{request.name}' was not found"
        )["pool"]

    def _update(self, request: Any) -> Any:
        state, pool = self._control_plane.state, request.worker_pool
        region, resource = _parts(pool.name, state)
        present = state.items.get(f"run-v2/{pool.name}")
        if present is None and not request.allow_missing:
            raise ApiError("NOT_FOUND", f"Resource '{pool.name}' was not found")
        if present is not None and pool.etag and pool.etag != present["pool"].etag:
            raise ApiError("ABORTED", "Conflict for resource: the etag that was sent is not the present one.")
        container = as_container(pool.template.containers[0])
        check(container, CONTAINER, "template.containers[0]")
        check_container(state, container, pool.template.service_account)
        _check_size(container["resources"]["limits"])
        notes = _connections(pool.template)
        check_connections(notes, region)
        pool.etag = state.etag()
        full = name(state, "workerpools", region, resource)
        template = {
            "metadata": {"annotations": notes},
            "spec": {"containers": [container], "serviceAccountName": pool.template.service_account},
        }
        _check_split(state, full, pool)
        revision = revisions.newest(state, full, template, region=region)
        pool.latest_ready_revision = f"{pool.name}/revisions/{revision}"
        pool.generation = state.number()
        pool.instance_split_statuses = [
            InstanceSplitStatus(type_=split.type_, revision=split.revision or revision, percent=split.percent)
            for split in pool.instance_splits
        ]
        state.items[f"run-v2/{pool.name}"] = {"pool": pool}
        state.items[full] = as_v1(pool, template, state, region, resource)
        return self._operation(pool)

    def _delete(self, request: Any) -> Any:
        state = self._control_plane.state
        region, resource = _parts(request.name, state)
        pool = state.get(f"run-v2/{request.name}", message=f"Resource '{request.name}' was not found")["pool"]
        del state.items[f"run-v2/{request.name}"]
        state.delete(name(state, "workerpools", region, resource))
        return self._operation(pool)

    def _poll(self, request: Any) -> Any:
        return _operation_message(self._control_plane.state.poll(request.name))

    def _operation(self, pool: Any) -> Any:
        state = self._control_plane.state
        region, _ = _parts(pool.name, state)
        full = f"projects/{state.project}/locations/{region}/operations/{state.number()}"
        return _operation_message(state.operation(full, WorkerPool.pb(pool), metadata=WorkerPool.pb(pool)))


def _check_split(state: State, full: str, pool: Any) -> None:
    """Check how instances are divided; all are the newest revision's where nothing is said. Raises `ApiError`."""
    if not pool.instance_splits:
        pool.instance_splits = [InstanceSplit(type_=_TO_LATEST, percent=100)]
    named = [split.revision for split in pool.instance_splits if split.type_ != _TO_LATEST]
    revisions.check_shares(state, full, (split.percent for split in pool.instance_splits), named)


#: Least and most memory by CPU, in MiB (Cloud Run, Configure CPU and memory limits for worker pools).
_SIZES = {
    "1000m": (512, 4096),
    "2000m": (512, 8192),
    "4000m": (2048, 16384),
    "6000m": (4096, 24576),
    "8000m": (4096, 32768),
}


def _check_size(limits: dict[str, str]) -> None:
    """Worker pools take fewer sizes than services. Raises `ApiError`."""
    cpu, memory = limits.get("cpu", "1000m"), limits.get("memory", "512Mi")
    if cpu not in _SIZES:
        raise ApiError(
            "INVALID_ARGUMENT", f"Invalid value specified for cpu: {cpu}. A worker pool takes 1, 2, 4, 6, 8."
        )
    least, most = _SIZES[cpu]
    mebibytes = float(memory.rstrip("MGi")) * (1024 if "G" in memory else 1)
    if not least <= mebibytes <= most:
        raise ApiError("INVALID_ARGUMENT", f"Invalid memory {memory} for {cpu} CPU: {least}Mi to {most}Mi.")


def as_container(container: Any) -> dict[str, Any]:
    """A v2 container as v1 writes it."""
    result: dict[str, Any] = {
        "image": container.image,
        "env": [_variable(item) for item in container.env],
        "resources": {"limits": dict(container.resources.limits)},
    }
    if container.command:
        result["command"] = list(container.command)
    if container.args:
        result["args"] = list(container.args)
    return result


def _variable(item: Any) -> dict[str, Any]:
    secret = item.value_source.secret_key_ref if "value_source" in item else None
    if secret is None:
        return {"name": item.name, "value": item.value}
    reference = {"name": secret.secret.rpartition("/")[2], "key": secret.version or "latest"}
    return {"name": item.name, "valueFrom": {"secretKeyRef": reference}}


def _connections(template: Any) -> dict[str, str]:
    """The network and the Cloud SQL instances of a v2 template, as annotations of v1."""
    notes: dict[str, str] = {}
    if interfaces := template.vpc_access.network_interfaces:
        shown = [
            {"network": each.network, "subnetwork": each.subnetwork, "tags": list(each.tags)} for each in interfaces
        ]
        notes[INTERFACES] = json.dumps(
            [{name: value for name, value in each.items() if value} for each in shown], sort_keys=True
        )
    if template.vpc_access.egress:
        notes[EGRESS] = VpcAccess.VpcEgress(template.vpc_access.egress).name.lower().replace("_", "-")
    instances = [name for volume in template.volumes for name in volume.cloud_sql_instance.instances]
    if instances:
        notes[CLOUD_SQL] = ",".join(instances)
    return notes


def as_v1(pool: Any, template: dict[str, Any], state: State, region: str, resource: str) -> dict[str, Any]:
    """A v2 pool as the v1 API shows it, which is what `worker-pools list` reads."""
    scaling = pool.scaling
    annotations = {"run.googleapis.com/scalingMode": "manual" if "manual_instance_count" in scaling else "automatic"}
    if "manual_instance_count" in scaling:
        annotations["run.googleapis.com/manualInstanceCount"] = str(scaling.manual_instance_count)
    return {
        "apiVersion": "run.googleapis.com/v1",
        "kind": "WorkerPool",
        "metadata": {
            "name": resource,
            "namespace": state.project,
            "labels": {**dict(pool.labels), "cloud.googleapis.com/location": region},
            "annotations": annotations,
            "generation": int(pool.generation),
            "creationTimestamp": state.now(),
        },
        "spec": {
            "template": template,
            "instanceSplits": [
                {"percent": split.percent}
                | ({"latestRevision": True} if split.type_ == _TO_LATEST else {"revisionName": split.revision})
                for split in pool.instance_splits
            ],
        },
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": state.now()}],
            "instanceSplits": [
                {"percent": split.percent, "revisionName": split.revision} for split in pool.instance_split_statuses
            ],
            "latestReadyRevisionName": pool.latest_ready_revision.rpartition("/")[2],
        },
    }


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
