"""A simulation of Google Cloud: authority, control plane, gRPC server, proxy, and gcloud's environment."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from poolhouse.cloud.rehearsal import authority
from poolhouse.cloud.rehearsal.control_plane import ControlPlane
from poolhouse.cloud.rehearsal.faults import Faults
from poolhouse.cloud.rehearsal.forkserver.launch import gcloud_server
from poolhouse.cloud.rehearsal.front import Front, Running
from poolhouse.cloud.rehearsal.pools import PoolServer
from poolhouse.cloud.rehearsal.proxy import Proxy
from poolhouse.cloud.rehearsal.services import ROUTES

#: Id of the simulated project.
PROJECT = "rehearsal-project"


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A running rehearsal."""

    control_plane: ControlPlane
    #: What gcloud, and Python's HTTP clients, need in their environment to reach the simulation. Its PATH begins with a
    #: gcloud that starts at once (`forkserver`).
    env: Mapping[str, str]


@contextlib.contextmanager
def simulate(
    *, project: str = PROJECT, faults: Faults | None = None, running: Running | None = None
) -> Iterator[Simulation]:
    """Simulate Google Cloud for every process that gets the simulation's environment.

    gcloud's own login and configuration are not touched: it gets an empty folder for them, and a login that no
    Google server knows.

    Args:
        project: id of the one project there is.
        faults: what goes wrong.
        running: what stands in for the deployed services.
    """
    with tempfile.TemporaryDirectory(prefix="poolhouse-rehearsal-") as name:
        folder = Path(name)
        files = authority.create(folder)
        word, token = (f"rehearsal-{secrets.token_urlsafe(16)}" for _ in range(2))
        login = folder / "login.json"
        login.touch(mode=0o600)
        client = {"client_id": "rehearsal", "client_secret": "rehearsal"}
        login.write_text(json.dumps({"type": "authorized_user", **client, "refresh_token": word}), encoding="utf-8")
        control_plane = ControlPlane(project=project, token=token, routes=ROUTES, faults=faults or Faults())
        front = Front(control_plane, login=word, running=running)
        with (
            PoolServer(control_plane, authority=files) as pools,
            Proxy(front, authority=files, grpc_port=pools.port) as proxy,
        ):
            env = {
                "CLOUDSDK_PROXY_TYPE": "http",
                "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
                "CLOUDSDK_PROXY_PORT": str(proxy.port),
                "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": str(files.ca_file),
                "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": str(login),
                "CLOUDSDK_CONFIG": str(folder / "gcloud"),
                "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
                "REQUESTS_CA_BUNDLE": str(files.ca_file),
                "SSL_CERT_FILE": str(files.ca_file),
                # A proxy of the machine's own would be asked instead of ours, or ours not for some hosts.
                **dict.fromkeys(("https_proxy", "HTTPS_PROXY"), f"http://127.0.0.1:{proxy.port}"),
                **dict.fromkeys(("http_proxy", "HTTP_PROXY"), ""),
                **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"),
            }
            with gcloud_server(folder, env=env) as programs:
                path = {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"} if programs else {}
                yield Simulation(control_plane=control_plane, env={**env, **path})
