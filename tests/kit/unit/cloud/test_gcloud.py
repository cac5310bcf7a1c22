"""What runs gcloud, with a script in gcloud's place."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.gcloud import environment
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.kinds import registry
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Read, command, read

#: Has a child, as gcloud's own commands may; notes the child's process id under its first word.
HANGS = """#!/bin/sh
sleep 600 &
echo $! > "$NOTES/$1.part" && mv "$NOTES/$1.part" "$NOTES/$1"
wait
"""
UNAVAILABLE = """#!/bin/sh
echo once >> "$NOTES/calls"
echo 'ERROR: UNAVAILABLE: 503 ' >&2
exit 1
"""


#: Refused twice, as a build is until its account's grant has reached every server.
UNSEEN = """#!/bin/sh
echo once >> "$NOTES/calls"
[ "$(wc -l < "$NOTES/calls")" -gt 2 ] && exit 0
echo 'ERROR: INVALID_ARGUMENT: invalid bucket "b"; service account a@p does not have access to the bucket' >&2
exit 1
"""


def gcloud(folder: Path, script: str, **more: Any) -> Gcloud:
    program = folder / "gcloud"
    program.write_text(script)
    program.chmod(0o755)
    return Gcloud("some-project", env={"NOTES": str(folder)}, executable=str(program), **more)


@contextmanager
def interrupted(*paths: Path) -> Iterator[None]:
    """Ctrl-C as soon as all of these are there; once more each five seconds, as a person would."""
    over, main = threading.Event(), threading.get_ident()

    def watch() -> None:
        while not all(path.exists() for path in paths):
            time.sleep(0.01)
        while not over.is_set():
            signal.pthread_kill(main, signal.SIGINT)
            over.wait(5)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        over.set()
        watching.join()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A zombie whose parent is gone too is init's to collect.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("names", [("one",), ("one", "two", "three")])
def test_ctrl_c_ends_what_runs_with_its_children(tmp_path: Path, names: tuple[str, ...]) -> None:
    running = gcloud(tmp_path, HANGS)
    with interrupted(*(tmp_path / name for name in names)):
        running.read_all([read(name, api="some") for name in names])
    deadline = time.monotonic() + 30
    while not all(gone(int((tmp_path / name).read_text())) for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_ends_a_command_that_no_thread_runs(tmp_path: Path) -> None:
    running = gcloud(tmp_path, HANGS)
    with interrupted(tmp_path / "one"):
        running.run(command("one"))


def test_after_ctrl_c_nothing_is_tried_again(tmp_path: Path) -> None:
    running = gcloud(tmp_path, UNAVAILABLE)
    with interrupted(tmp_path / "calls"):
        running.read_all([read("things", api="some")])
    assert (tmp_path / "calls").read_text().count("once") == 1


def test_a_grant_that_is_not_seen_everywhere_yet_is_waited_for_and_no_longer_than_it_may_take(tmp_path: Path) -> None:
    gcloud(tmp_path, UNSEEN, waits_s=(), unseen_waits_s=(0.01, 0.01)).run(command("builds", "submit"))
    assert (tmp_path / "calls").read_text().count("once") == 3
    (tmp_path / "calls").unlink()
    with pytest.raises(GcloudFailed, match="after ten minutes"):
        gcloud(tmp_path, UNSEEN, waits_s=(0.01,) * 9, unseen_waits_s=(0.01,)).run(command("builds", "submit"))


def test_no_grant_is_waited_for_longer_than_it_may_take_however_long_the_attempts_are(tmp_path: Path) -> None:
    with pytest.raises(GcloudFailed, match="after ten minutes"):
        gcloud(tmp_path, UNSEEN, unseen_waits_s=(0.01,) * 9, unseen_s=0).run(command("builds", "submit"))
    assert (tmp_path / "calls").read_text().count("once") == 2


#: The first build fails, for the reason that is asked for by its id.
BUILD = """#!/bin/sh
if [ "$2" = describe ]; then echo "$REASON"; echo "$3 $4" > "$NOTES/asked"; exit; fi
echo once >> "$NOTES/calls"
[ "$(wc -l < "$NOTES/calls")" -gt 1 ] && exit 0
echo 'ERROR: (gcloud.builds.submit) build 1-2 completed with status "FAILURE"' >&2
exit 1
"""


@pytest.mark.parametrize(("reason", "builds"), [("PUSH_NOT_AUTHORIZED", 2), ("PUSH_FAILED", 2), ("USER_BUILD_STEP", 1)])
def test_a_build_whose_push_was_refused_is_built_again_and_one_whose_step_failed_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, builds: int
) -> None:
    monkeypatch.setenv("REASON", f"{reason}\tthe detail")
    options = Options(project="some-project", name="shop", build_region="us-central1")
    (build,) = registry.image("src-1", options=options).create
    told: list[str] = []
    running = gcloud(tmp_path, BUILD, unseen_waits_s=(0.01,))

    def submit() -> None:
        running.run(build, values={"sources": "."}, on_retry=lambda _, message, wait_s: told.append(message))

    if builds == 1:
        with pytest.raises(GcloudFailed, match=r"(?s)USER_BUILD_STEP\tthe detail.*gcloud builds log"):
            submit()
    else:
        submit()
        assert told[0].endswith(f"{reason}\tthe detail\n")
    assert (tmp_path / "calls").read_text().count("once") == builds
    # Where `build_region` says, and not in the region of the deploy.
    assert (tmp_path / "asked").read_text() == "1-2 --region=us-central1\n"
    assert "--region=us-central1" in build.arguments


ECHO = """#!/bin/sh
cat > "$NOTES/input"
echo "$@" > "$NOTES/words"
echo "failed: $1" >&2
exit "${CODE:-0}"
"""


def test_a_secret_goes_to_standard_input_and_is_shown_nowhere(tmp_path: Path) -> None:
    running = gcloud(tmp_path, ECHO.replace("${CODE:-0}", "1"))
    with pytest.raises(GcloudFailed) as failure:
        running.run(command("secrets", "versions", "add", "x", "--data-file=-"), secret="a planted word")
    assert (tmp_path / "input").read_text() == "a planted word"
    told = str(failure.value) + (tmp_path / "words").read_text() + repr(running.calls)
    assert "planted" not in told


def test_what_does_not_pass_is_reported_with_the_command_and_gclouds_message(tmp_path: Path) -> None:
    refusing = gcloud(tmp_path, "#!/bin/sh\necho 'PERMISSION_DENIED: no' >&2\nexit 1\n")
    with pytest.raises(GcloudFailed, match=r"(?s)gcloud things create --project=some-project.*PERMISSION_DENIED: no"):
        refusing.run(command("things", "create"))


def test_what_can_not_be_read_and_is_optional_counts_as_absent(tmp_path: Path) -> None:
    refusing = gcloud(tmp_path, "#!/bin/sh\necho 'PERMISSION_DENIED: no' >&2\nexit 1\n")
    optional = Read(arguments=("bills", "list"), api="some", optional=True)
    assert refusing.read_all([optional]) == {("bills", "list"): None}
    with pytest.raises(GcloudFailed, match="PERMISSION_DENIED"):
        refusing.read_all([optional, read("things", "list", api="some")])


def test_a_machine_without_gcloud_gets_a_link_to_install_it() -> None:
    with pytest.raises(CloudError, match=r"cloud\.google\.com/sdk/docs/install"):
        Gcloud("some-project", executable="no-such-program")


def test_what_a_developer_has_set_for_a_terminal_changes_no_answer() -> None:
    own = {
        "CLOUDSDK_CORE_USER_OUTPUT_ENABLED": "false",
        "CLOUDSDK_CORE_VERBOSITY": "debug",
        "CLOUDSDK_CORE_LOG_HTTP": "true",
        "PYTHONHOME": "/nonexistent",
        "PYTHONWARNINGS": "error",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": "http://127.0.0.1:8085/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
    }
    kept = {
        "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT": "deployer@some-project.iam.gserviceaccount.com",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": "https://run.restricted.example/",
        "CLOUDSDK_PYTHON": "/usr/bin/python3",
        "HTTPS_PROXY": "http://proxy:3128",
    }
    found = environment.of_call({**own, **kept})
    assert found.items() >= kept.items()
    assert not {name: value for name, value in own.items() if found.get(name) == value}


def test_with_a_configuration_of_its_own_gcloud_has_no_login_or_endpoint_of_the_shell() -> None:
    """As in a rehearsal."""
    own = {
        "CLOUDSDK_ACTIVE_CONFIG_NAME": "work",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "/home/ann/token",
        "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT": "deployer@some-project.iam.gserviceaccount.com",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": "https://run.restricted.example/",
        "CLOUDSDK_CONFIG": "/home/ann/gcloud",
    }
    more = {"CLOUDSDK_CONFIG": "/tmp/rehearsal", "CLOUDSDK_PROXY_PORT": "1"}
    found = environment.of_call({**own, "CLOUDSDK_ROOT_DIR": "/opt/gcloud", "CLOUDSDK_GSUTIL_PYTHON": "python3"}, more)
    assert not own.keys() & found.keys() - more.keys()
    assert found.items() >= {**more, "CLOUDSDK_ROOT_DIR": "/opt/gcloud", "CLOUDSDK_GSUTIL_PYTHON": "python3"}.items()


def test_an_answer_in_another_encoding_is_read_all_the_same(tmp_path: Path) -> None:
    latin = gcloud(tmp_path, "#!/bin/sh\nprintf '\"caf\\351\"'\n")
    assert latin.read(read("thing", api="some")) == "caf\N{REPLACEMENT CHARACTER}"
