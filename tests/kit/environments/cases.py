"""The environments: what a developer's machine may be like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

_NOWHERE = "http://127.0.0.1:9"
_BERLIN = "/usr/share/zoneinfo/Europe/Berlin"
#: A mount namespace of its own, where a shell does something first; `$@` is what is to run.
_NAMESPACE = ("unshare", "--mount", "--propagation", "private", "/bin/sh", "-euc")


def mounted(first: str) -> tuple[str, ...]:
    """Return the wrap that runs a script in a mount namespace after some commands."""
    return (*_NAMESPACE, f'{first}\nexec "$@"', "sh")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One environment."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    wrap: tuple[str, ...] = ()
    #: What comes before the commands in the script.
    first: str = ""
    #: Programs that it needs; `root` and `mounts` stand for what they say.
    needs: tuple[str, ...] = ()
    #: Those that it puts together; empty: it is one of its own.
    parts: tuple[Case, ...] = ()

    def __str__(self) -> str:
        return self.name


def _variables(name: str, **variables: str) -> Case:
    return Case(name=name, variables=variables)


def _mounts(name: str, commands: str, *, needs: tuple[str, ...] = (), **variables: str) -> Case:
    return Case(name=name, variables=variables, wrap=mounted(commands), needs=("root", "mounts", *needs))


def _hosts(name: str, lines: str) -> Case:
    return _mounts(name, f'file=$(mktemp)\nprintf "{lines}" >"$file"\nmount --bind "$file" /etc/hosts')


_TIME = [
    _variables("zone east of UTC", TZ="Asia/Kathmandu"),
    _variables("zone west of UTC with DST", TZ="America/St_Johns"),
    _variables("zone of 14 hours", TZ="Pacific/Kiritimati"),
    _variables("zone as a rule", TZ="CET-1CEST,M3.5.0,M10.5.0/3"),
    _variables("zone that is none", TZ="Nowhere/At_All"),
]
_PROXIES = [
    _variables("proxies in lower case", http_proxy=_NOWHERE, https_proxy=_NOWHERE, all_proxy="socks5://127.0.0.1:9"),
    _variables("proxies in upper case", HTTP_PROXY=_NOWHERE, HTTPS_PROXY=_NOWHERE, ALL_PROXY="socks5://127.0.0.1:9"),
    _variables("proxy of gRPC", grpc_proxy=_NOWHERE, GRPC_PROXY=_NOWHERE),
    _variables("proxy that is no URL", http_proxy=":::", HTTPS_PROXY="nonsense", no_proxy="\t,,[", Http_Proxy="x"),
    _variables("exceptions from proxies", HTTP_PROXY=_NOWHERE, http_proxy=_NOWHERE, NO_PROXY="*", no_proxy="corp"),
]
_TEXT = [
    _variables("locale C", LANG="C"),
    _variables("locale C by LC_ALL", LC_ALL="C", LANG="de_DE.UTF-8", LANGUAGE="de"),
    _variables(
        "locale C and no UTF-8", LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii"
    ),
    _variables("locale that is not installed", LANG="xx_XX.UTF-8"),
]
_PYTHON = [
    _variables("Python strict", PYTHONWARNINGS="error", PYTHONDEVMODE="1", PYTHONSAFEPATH="1", PYTHONOPTIMIZE="2"),
    _variables(
        "Python of another place", PYTHONHOME="/nonexistent", PYTHONPLATLIBDIR="nowhere", PYTHONSTARTUP="/nonexistent"
    ),
    _variables("Python with nonsense", PYTHONMALLOC="x", PYTHONHASHSEED="x", PYTHONTRACEMALLOC="x", PYTHONINSPECT="1"),
    _variables("Python that writes nothing", PYTHONDONTWRITEBYTECODE="1", PYTHONNOUSERSITE="1"),
]
_VARIABLES = [
    _variables(
        "Google's variables",
        GOOGLE_APPLICATION_CREDENTIALS="/nonexistent.json",
        GOOGLE_CLOUD_PROJECT="production",
        GCLOUD_PROJECT="production",
        GOOGLE_CLOUD_QUOTA_PROJECT="production",
        GOOGLE_CLOUD_UNIVERSE_DOMAIN="universe.example",
        GOOGLE_API_USE_MTLS_ENDPOINT="nonsense",
        GOOGLE_API_USE_CLIENT_CERTIFICATE="true",
        CLOUDSDK_CONFIG="/nonexistent",
        CLOUDSDK_CORE_PROJECT="production",
        CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB=_NOWHERE,
        API_ENDPOINT_OVERRIDE=_NOWHERE,
        GRPC_POLL_STRATEGY="nonsense",
        GRPC_VERBOSITY="nonsense",
        PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="cpp",
    ),
    _variables(
        "variables of another stack",
        STORAGE_EMULATOR_HOST="http://192.0.2.1:1",
        PUBSUB_EMULATOR_HOST="192.0.2.1:1",
        BUCKET_NAME="x",
        STORAGE_PUBLIC_URL="nonsense",
        BACKLOG_SOURCE="nonsense",
        LOG_LEVEL="trace",
        LOG_FORMAT="pretty",
        PORT="nonsense",
        HOST="nonsense",
    ),
    _variables(
        "certificates that are not there",
        REQUESTS_CA_BUNDLE="/nonexistent.pem",
        CURL_CA_BUNDLE="/nonexistent.pem",
        SSL_CERT_FILE="/nonexistent.pem",
    ),
]

#: Folders, files and processes. The parts of a row don't touch one another; what needs root has rows of its own.
_MACHINES = [
    (
        Case(name="HOME unset", without=("HOME",)),
        _variables("TMPDIR missing", TMPDIR="/nonexistent/tmp"),
        Case(name="few open files", first="ulimit -n 128"),
        Case(name="stdin closed", first="exec <&-"),
    ),
    (
        _variables("HOME missing", HOME="/nonexistent/home"),
        _variables("state elsewhere", POOLHOUSE_STATE_DIR="/tmp/poolhouse state ü"),
        Case(name="umask 077", first="umask 077"),
        _variables("terminal of no width", COLUMNS="0", LINES="0", TERM="nonsense"),
    ),
    (
        Case(name="TMPDIR with blanks", first='export TMPDIR="$HOME/tmp ü %41 [x]"; mkdir -p "$TMPDIR"'),
        Case(
            name="PYTHONPATH with namesakes",
            first='export PYTHONPATH="$HOME/namesakes:relative"; mkdir -p "$HOME/namesakes"\n'
            "for name in requests google grpc local pipeline worker api logging uvicorn invoke tasks yaml; do\n"
            '    echo "raise SystemExit(\'a namesake was imported\')" >"$HOME/namesakes/$name.py"\n'
            "done",
        ),
        Case(name="no terminal", wrap=("setsid", "--wait"), needs=("setsid",)),
    ),
    (
        Case(
            name="locale of Latin-1",
            variables={"LC_ALL": "de_DE.ISO-8859-1", "PYTHONUTF8": "0"},
            first='export LOCPATH="$HOME/locales"; mkdir -p "$LOCPATH"\n'
            'localedef -i de_DE -f ISO-8859-1 "$LOCPATH/de_DE.ISO-8859-1" || [ -d "$LOCPATH/de_DE.ISO-8859-1" ]',
            needs=("localedef", "/usr/share/i18n/locales/de_DE"),
        ),
    ),
    (
        _mounts("HOME read-only", 'mount -t tmpfs -o ro tmpfs "$HOME"'),
        _mounts("shared memory small", "mount -t tmpfs -o size=1m tmpfs /dev/shm"),
        _hosts("localhost is ::1", "::1 localhost\\n"),
    ),
    (
        _mounts(
            "shared memory full",
            "mount -t tmpfs -o size=64m tmpfs /dev/shm; head -c 100m /dev/zero >/dev/shm/full 2>/dev/null || true",
        ),
        _hosts("localhost is nowhere", "192.0.2.1 localhost\\n"),
    ),
    (
        _mounts("shared memory read-only", "mount -t tmpfs -o ro tmpfs /dev/shm"),
        _mounts("zone of the system", f"mount --bind {_BERLIN} /etc/localtime", needs=(_BERLIN, "/etc/localtime")),
    ),
    (
        _mounts(
            "shared memory missing, and TMPDIR long",
            "mount -t tmpfs -o mode=755 tmpfs /dev\n"
            "mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/zero c 1 5; mknod -m 666 /dev/urandom c 1 9\n"
            "ln -s /proc/self/fd /dev/fd\n"
            'mkdir -p "$TMPDIR"',
            TMPDIR=f"/tmp/poolhouse-{'long' * 30}",
        ),
    ),
]


def _together(parts: Sequence[Case | None]) -> Case:
    """Put cases into one environment: each run brings a whole stack up, and thirteen runs show what forty would."""
    cases = tuple(case for case in parts if case is not None)
    variables = {name: value for case in cases for name, value in case.variables.items()}
    assert len(variables) == sum(len(case.variables) for case in cases), "one would hide the other's"
    return Case(
        name=", ".join(case.name for case in cases),
        variables=variables,
        without=tuple(name for case in cases for name in case.without),
        wrap=tuple(word for case in cases for word in case.wrap),
        first="\n".join(case.first for case in cases if case.first),
        needs=tuple(dict.fromkeys(need for case in cases for need in case.needs)),
        parts=cases if len(cases) > 1 else (),
    )


CASES = [*map(_together, zip_longest(_TIME, _PROXIES, _TEXT, _PYTHON, _VARIABLES)), *map(_together, _MACHINES)]
