"""The environment of every process that the local stack starts: the developer's, without what breaks a local server.

A developer's shell is set up for other programs. Each rule below stands for a variable that stops Python, gRPC, a
client library of Google or a server from running here. Everything else is passed on: handlers have variables too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

#: Folders of the developer's PYTHONPATH; `poolhouse.local.embedded.preload` puts them behind the libraries, so that
#: nothing in them takes the place of a library.
SEARCH_PATH = "POOLHOUSE_SEARCH_PATH"
#: What no proxy may be asked for.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EXCEPTIONS = ("no_proxy", "no_grpc_proxy")
#: Variables of Python that a child keeps: where compiled files go, and whether there are any.
_KEPT = frozenset({"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"})
#: Variables that change how Python or gRPC works; PYTHON_KEYRING_BACKEND, say, is a library's own.
_INTERPRETER = re.compile(r"PYTHON([A-Z0-9]*|_(BASIC_REPL|COLORS|CPU_COUNT|GIL|HISTORY|JIT|PERF_JIT_SUPPORT))|GRPC_.*")
_SHOWN = frozenset({"GRPC_TRACE", "GRPC_VERBOSITY"})
_FOREIGN = frozenset(
    {
        # Other programs' address, or another pipeline's.
        *("HOST", "PORT", "STORAGE_PUBLIC_URL"),
        # Google's client libraries: another Cloud, another API, mutual TLS, whose quota it is.
        *("GOOGLE_API_CERTIFICATE_CONFIG", "GOOGLE_API_USE_CLIENT_CERTIFICATE", "GOOGLE_API_USE_MTLS_ENDPOINT"),
        *(
            "API_ENDPOINT_OVERRIDE",
            "API_VERSION_OVERRIDE",
            "GOOGLE_CLOUD_QUOTA_PROJECT",
            "GOOGLE_CLOUD_UNIVERSE_DOMAIN",
        ),
        # An implementation of protobuf that the installed version may not have.
        *("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION_VERSION"),
    }
)

#: Variables of ours whose names other programs use too, with the values that mean something here
#: (`poolhouse.pipeline.config.settings`).
_SHARED = {
    "LOG_FORMAT": frozenset({"json", "console"}),
    "LOG_LEVEL": frozenset({"DEBUG", "INFO", "WARNING", "ERROR"}),
    "METRICS_EXPORTER": frozenset({"none", "prometheus", "otlp", "global"}),
    "TRACES_EXPORTER": frozenset({"none", "file", "otlp", "cloud_trace"}),
}


def child(own: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child process.

    - Time is UTC, as on Cloud Run: fake-gcs-server prints local times, which no client of Cloud Storage parses.
    - Text is UTF-8, whatever the locale. No other variable of Python is passed on, and PYTHONPATH as `SEARCH_PATH`.
    - Proxies are passed on, for handlers that call the internet, but never asked for this machine.
    - A relative PIPELINE_FILE means what it means here, wherever the child runs.
    - Client libraries find Google Cloud, gRPC and protobuf as they do by default. Credentials are passed on: with the
      emulators' variables set, nothing but a handler looks at them.

    Args:
        own: the environment to start from; None: this process's.
    """
    own = os.environ if own is None else own
    passed = {name: value for name, value in own.items() if not _is_foreign(name) and _fits(name, value)}
    path = [*own.get("PYTHONPATH", "").split(os.pathsep), *own.get(SEARCH_PATH, "").split(os.pathsep)]
    folders = [str(Path(folder).absolute()) for folder in path if folder]
    found = {SEARCH_PATH: os.pathsep.join(dict.fromkeys(folders))} if folders else {}
    if passed.get("PIPELINE_FILE"):
        found["PIPELINE_FILE"] = str(Path(passed["PIPELINE_FILE"]).absolute())
    return {**without_proxies(passed), **found, "PYTHONUTF8": "1", "TZ": "UTC"}


def client(own: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment under which clients in this very process reach local servers.

    Args:
        own: the environment to start from; None: this process's.
    """
    own = os.environ if own is None else own
    # What Python read at its start is of no more effect, and its children may want it.
    kept = {
        name: value
        for name, value in own.items()
        if _fits(name, value) and (not _is_foreign(name) or name.startswith("PYTHON"))
    }
    return without_proxies(kept)


def search_path(variables: Mapping[str, str]) -> list[str]:
    """Return the folders that a process with these variables looks for modules in, beside the usual ones."""
    return [folder for folder in variables.get(SEARCH_PATH, "").split(os.pathsep) if folder]


def without_proxies(own: Mapping[str, str], *hosts: str) -> dict[str, str]:
    """Return variables that make this machine an exception from all proxies, in the words of Python, gRPC and curl.

    Args:
        own: the environment to start from.
        *hosts: further addresses of this machine.
    """
    # Python prefers the lower-case name, gRPC reads no other, Go and curl read both.
    exceptions = [
        entry.strip()
        for name, value in own.items()
        if name.lower() in _EXCEPTIONS
        for entry in value.split(",")
        if entry.strip()
    ]
    others = {name: value for name, value in own.items() if name.lower() not in _EXCEPTIONS}
    if "*" in exceptions:  # not a name like the others: no proxy at all
        others = {name: value for name, value in others.items() if not name.lower().endswith("_proxy")}
        exceptions.remove("*")
    text = ",".join(dict.fromkeys((*LOOPBACK, *hosts, *exceptions)))
    return {**others, "no_proxy": text, "NO_PROXY": text, "no_grpc_proxy": text}


def _is_foreign(name: str) -> bool:
    return name in _FOREIGN or (_INTERPRETER.fullmatch(name) is not None and name not in _KEPT | _SHOWN)


def _fits(name: str, value: str) -> bool:
    """Whether a value of a variable that many programs have is one of ours."""
    return name not in _SHARED or (value.upper() if name == "LOG_LEVEL" else value) in _SHARED[name]
