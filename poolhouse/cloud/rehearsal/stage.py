"""A rehearsal from its start to its end: authority, control plane, gRPC server, proxy, and gcloud's environment."""

from __future__ import annotations

import contextlib
import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from poolhouse.cloud.rehearsal import authority
from poolhouse.cloud.rehearsal.faults import Faults
from poolhouse.cloud.rehearsal.front import Front, Running
from poolhouse.cloud.rehearsal.plane import Plane
from poolhouse.cloud.rehearsal.pools import PoolServer
from poolhouse.cloud.rehearsal.proxy import Proxy
from poolhouse.cloud.rehearsal.services import ROUTES

#: Id of the played project.
PROJECT = "rehearsal-project"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A running rehearsal."""

    plane: Plane
    #: What gcloud, and Python's HTTP clients, need in their environment to play along.
    env: Mapping[str, str]


@contextlib.contextmanager
def stage(*, project: str = PROJECT, faults: Faults | None = None, running: Running | None = None) -> Iterator[Stage]:
    """Play Google Cloud to everything that gets the stage's environment.

    gcloud's own login and configuration are not touched: it gets an empty folder for them, and the login of a person
    whom no Google server knows.

    Args:
        project: id of the one project there is.
        faults: what goes wrong.
        running: what plays the deployed services.
    """
    with tempfile.TemporaryDirectory(prefix="poolhouse-rehearsal-") as name:
        folder = Path(name)
        files = authority.create(folder)
        word, token = (f"rehearsal-{secrets.token_urlsafe(16)}" for _ in range(2))
        login = folder / "login.json"
        login.touch(mode=0o600)
        client = {"client_id": "rehearsal", "client_secret": "rehearsal"}
        login.write_text(json.dumps({"type": "authorized_user", **client, "refresh_token": word}), encoding="utf-8")
        plane = Plane(project=project, token=token, routes=ROUTES, faults=faults or Faults())
        front = Front(plane, login=word, running=running)
        with (
            PoolServer(plane, authority=files) as pools,
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
                # A proxy of the machine's own would be asked instead of ours, or ours not for some hosts.
                **dict.fromkeys(("https_proxy", "HTTPS_PROXY"), f"http://127.0.0.1:{proxy.port}"),
                **dict.fromkeys(("http_proxy", "HTTP_PROXY"), ""),
                **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"),
            }
            yield Stage(plane=plane, env=env)
