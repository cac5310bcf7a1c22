"""The gcloud of a rehearsal does what gcloud does: same answers, same exit codes, and it can be killed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from poolhouse.cloud.rehearsal.forkserver import client
from poolhouse.cloud.rehearsal.forkserver.launch import gcloud_server

TIMEOUT_S = 120
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are forked on Linux alone")


@pytest.fixture(scope="module")
def env(gcloud_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Of a client whose commands can be run by the server alone: its way to gcloud's own program is cut."""
    folder = tmp_path_factory.mktemp("server")
    own = {"CLOUDSDK_CONFIG": str(folder / "config"), "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1"}
    with gcloud_server(folder, env=own) as programs:
        assert programs is not None
        script = programs / "gcloud"
        script.write_text(script.read_text().replace(f" {gcloud_program} ", " /nonexistent/gcloud "))
        yield {**os.environ, **own, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def run(program: str, *words: str, env: Mapping[str, str], folder: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        (program, *words),
        env=env,
        cwd=folder,
        input="x",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("config", "list", "--format=json"), 0),
        (("pubsub", "topics", "create"), 2),
        (("topics", "lisst"), 2),
        (("builds", "submit", "no-such-folder", "--project=some-project", "--tag=gcr.io/a/b"), 1),
    ],
    ids=["output", "no argument", "no command", "error"],
)
def test_a_forked_command_answers_as_gcloud_does(
    words: tuple[str, ...], code: int, env: Mapping[str, str], gcloud_program: str, tmp_path: Path
) -> None:
    variables = {**env, "CLOUDSDK_CORE_ACCOUNT": "someone@example.com"}
    for _ in range(2):  # the second finds imported what the first has imported
        found = run("gcloud", *words, env=variables, folder=tmp_path)
        assert found == run(gcloud_program, *words, env=variables, folder=tmp_path)
        assert found[0] == code, found


def test_a_command_is_killed_with_its_client(env: Mapping[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(TIMEOUT_S)
        proxy = {
            "CLOUDSDK_PROXY_TYPE": "http",
            "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
            "CLOUDSDK_PROXY_PORT": str(silent.getsockname()[1]),
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(tmp_path / "token"),
        }
        (tmp_path / "token").write_text("some-token")
        with subprocess.Popen(
            ("gcloud", "pubsub", "topics", "list", "--project=some-project"),
            env={**env, **proxy},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as asking:
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(TIMEOUT_S)
                assert connection.recv(7) == b"CONNECT"
                asking.terminate()
                while connection.recv(4096):
                    pass  # its end is that of the process
            output, _ = asking.communicate(timeout=TIMEOUT_S)  # nobody holds the pipe open
    assert asking.returncode == -15, output
    assert run("gcloud", "config", "list", env=env, folder=tmp_path)[0] == 0


def test_a_client_without_a_server_becomes_gcloud_itself(tmp_path: Path) -> None:
    words = (sys.executable, "-I", "-S", client.__file__, str(tmp_path / "nobody"), shutil.which("echo") or "echo")
    assert subprocess.check_output((*words, "a", "b c"), text=True) == "a b c\n"
