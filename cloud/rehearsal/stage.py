"""A rehearsal from its start to its end: authority, control plane, gRPC server, proxy, and gcloud's environment."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud.rehearsal import authority
from cloud.rehearsal.faults import Faults
from cloud.rehearsal.plane import Plane
from cloud.rehearsal.pools import PoolServer
from cloud.rehearsal.proxy import Proxy
from cloud.rehearsal.services import ROUTES

#: Id of the played project.
PROJECT = "rehearsal-project"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A running rehearsal."""

    plane: Plane
    #: What gcloud needs in its environment to play along.
    env: Mapping[str, str]


@contextlib.contextmanager
def stage(*, project: str = PROJECT, faults: Faults | None = None) -> Iterator[Stage]:
    """Play Google Cloud to every gcloud that gets the stage's environment.

    The access token is a random word that no Google server knows; gcloud's own login and configuration are not touched:
    it gets an empty folder for them.
    """
    with tempfile.TemporaryDirectory(prefix="poolhouse-rehearsal-") as name:
        folder = Path(name)
        token = f"rehearsal-{secrets.token_urlsafe(16)}"
        files = authority.create(folder)
        token_file = folder / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(token, encoding="utf-8")
        plane = Plane(project=project, token=token, routes=ROUTES, faults=faults or Faults())
        with (
            PoolServer(plane, authority=files) as pools,
            Proxy(plane, authority=files, grpc_port=pools.port) as proxy,
        ):
            env = {
                "CLOUDSDK_PROXY_TYPE": "http",
                "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
                "CLOUDSDK_PROXY_PORT": str(proxy.port),
                "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": str(files.ca_file),
                "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token_file),
                "CLOUDSDK_CONFIG": str(folder / "gcloud"),
                "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
                # A proxy of the machine's own would be asked instead of ours, or ours not for some hosts.
                **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"), ""),
            }
            yield Stage(plane=plane, env=env)
