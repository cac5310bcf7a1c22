"""The variables of this shell (and `.env`) that the containers get, so that handlers find what they read. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: What the stack itself decides, or docker-compose.yml has read already.
_DECIDED = {
    *("GOOGLE_CLOUD_PROJECT", "BUCKET_NAME", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "STORAGE_PUBLIC_URL"),
    *("PIPELINE_FILE", "BACKLOG_SOURCE", "HOST", "PORT", "API_PORT", "PUBSUB_PORT", "STORAGE_PORT"),
    "TRACES_DIR",
    *("PUBSUB_IMAGE", "STORAGE_IMAGE", "PYTHON_IMAGE", "QUEUES_WITH_WORKERS", "WAIT_FOR_TOPOLOGY_S"),
}
#: What describes this machine, its user and the session: paths, programs and sockets that a container does not have.
#: Names in full where a handler's own could begin the same: SSH_PRIVATE_KEY and PROMPT_TEMPLATE are none of these.
_OF_THE_MACHINE = re.compile(
    r"_|PATH|HOME|USER|USERNAME|LOGNAME|SHELL|SHLVL|PWD|OLDPWD|HOSTNAME|HOSTTYPE|OSTYPE|MACHTYPE|MAIL"
    r"|TERM|TERMINFO|TERM_PROGRAM(_VERSION)?|TERM_SESSION_ID|COLORTERM|COLUMNS|LINES|LANG|LANGUAGE|LC_\w+"
    r"|TMPDIR|TEMP|TMP|DISPLAY|WAYLAND_DISPLAY|EDITOR|VISUAL|PAGER|LESS|LESSOPEN|LESSCLOSE|LS_COLORS"
    r"|PS\d|PROMPT|PROMPT_COMMAND|IFS|BASH|BASH_\w+|BASHOPTS|ZSH|ZSH_\w+|HIST(FILE|SIZE|CONTROL|FILESIZE|IGNORE)"
    r"|MANPATH|INFOPATH|CDPATH|PKG_CONFIG_PATH|CPATH|LIBRARY_PATH|INVOCATION_ID|JOURNAL_STREAM"
    r"|SSH_(AUTH_SOCK|AGENT_PID|CLIENT|CONNECTION|TTY|ASKPASS)|GPG_(AGENT_INFO|TTY)|TMUX|TMUX_PANE|WSLENV"
    r"|(XDG|DBUS|SYSTEMD|SUDO|VSCODE|ITERM|WSL)_\w+"
    # How Python, gRPC, protobuf and Google's client libraries work here; time is UTC in containers, as on Cloud Run.
    r"|TZ|GRPC_\w+|PROTOCOL_BUFFERS_\w+|GOOGLE_API_\w+|GOOGLE_CLOUD_(QUOTA_PROJECT|UNIVERSE_DOMAIN)"
    r"|API_(ENDPOINT|VERSION)_OVERRIDE|GOOGLE_APPLICATION_CREDENTIALS|CLOUDSDK_\w+"
    r"|PYTHON[A-Z0-9]*|VIRTUAL_ENV(_PROMPT)?|CONDA_\w+|PIP_\w+|UV_\w+|INVOKE_\w+|PYTEST_\w+"
    r"|LD_\w+|DYLD_\w+|DOCKER_\w+|COMPOSE_\w+|BUILDKIT_\w+|BUILDX_\w+|TESTCONTAINERS_\w+|POOLHOUSE_\w+"
    r"|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|(https?|ftp|all|no)_proxy",
    re.IGNORECASE,
)
#: What Python makes of bytes that are not UTF-8 (PEP 383).
_UNDECODED = re.compile("[\udc80-\udcff]")


def for_containers(own: Mapping[str, str]) -> dict[str, str]:
    """What of an environment the API and the workers get in containers.

    Everything that an application may read, as processes of the embedded stack have it; without what the stack decides,
    without what holds on this machine alone, and without values that are not text: a Compose file can't hold them.
    """
    return {
        name: value
        for name, value in own.items()
        if name not in _DECIDED
        and not _OF_THE_MACHINE.fullmatch(name)
        and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)
        and not _UNDECODED.search(value)
    }
