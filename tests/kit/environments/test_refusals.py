"""Where a stack can't come up, one message says why and what to do, in the time that was given."""

from __future__ import annotations

import os
import re
import socket
import time

import pytest

from tests.kit.environments.cases import mounted
from tests.kit.environments.checkout import Checkout
from tests.kit.environments.test_matrix import require

UP = "./invoke up --backend embedded"


def refused(shell: Checkout, script: str, *words: str) -> None:
    done = shell.run(script)
    assert done.code in {1, 2}, done.output
    assert "Traceback" not in done.output, done.output
    for word in words:
        assert word in done.output, done.output


def test_a_state_folder_of_another_user(plain: Checkout) -> None:
    require("root", "mounts")
    # A read-only mount refuses root too, as another user's folder refuses anybody else.
    folder = plain.root.with_name("somebody's")
    folder.mkdir(exist_ok=True)
    shell = plain.having(
        {"POOLHOUSE_STATE_DIR": str(folder)}, wrap=mounted('mount -t tmpfs -o ro tmpfs "$POOLHOUSE_STATE_DIR"')
    )
    refused(shell, UP, "POOLHOUSE_STATE_DIR", "Read-only")


def test_a_state_folder_on_a_full_disk(plain: Checkout) -> None:
    require("root", "mounts")
    folder = plain.root.with_name("full")
    folder.mkdir(exist_ok=True)
    fill = (
        'mount -t tmpfs -o size=64k tmpfs "$POOLHOUSE_STATE_DIR"\n'
        'head -c 1m /dev/zero >"$POOLHOUSE_STATE_DIR/full" 2>/dev/null || true'
    )
    refused(
        plain.having({"POOLHOUSE_STATE_DIR": str(folder)}, wrap=mounted(fill)),
        UP,
        "no room left",
        "POOLHOUSE_STATE_DIR",
    )


def test_no_room_for_objects_anywhere(plain: Checkout) -> None:
    require("root", "mounts")
    fill = (
        'mount -t tmpfs -o size=1m tmpfs /dev/shm\nmkdir -p "$HOME/tmp"; mount -t tmpfs -o size=1m tmpfs "$HOME/tmp"\n'
        'export TMPDIR="$HOME/tmp"'
    )
    refused(plain.having({}, wrap=mounted(fill)), UP, "the disk is full", "TMPDIR")


def test_a_port_that_is_taken(plain: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        refused(plain, f"{UP} --storage-port {server.getsockname()[1]}", "is in use", "--storage-port")


def test_a_grace_period_that_is_no_time(plain: Checkout) -> None:
    refused(plain.having({"WORKER_GRACE_S": "soon"}), UP, "WORKER_GRACE_S")


@pytest.mark.parametrize("stuck", ["handler", "settings"])
def test_the_timeout_holds(stuck: str, plain: Checkout) -> None:
    """Whichever part does not get ready."""
    code = plain.root.with_name("code")
    code.mkdir(exist_ok=True)
    (code / "stuck_handler.py").write_text("import time\ntime.sleep(600)\n")
    variables = {"PYTHONPATH": str(code), "TASK_HANDLERS": "stuck_handler"}
    if stuck == "settings":
        variables = {"PUBLISH_TIMEOUT_S": "soon"}
    started = time.monotonic()
    refused(plain.having(variables), f"{UP} --timeout 5")
    assert time.monotonic() - started < 40
    assert not plain.processes()
    assert "no stack was up" in plain.run("./invoke down").output


def test_a_checkout_where_nothing_may_be_written(plain: Checkout) -> None:
    require("root", "mounts")
    folder = plain.root
    shell = plain.having({}, wrap=mounted(f"mount --bind '{folder}' '{folder}'\nmount -o remount,ro,bind '{folder}'"))
    done = shell.run(f"cd '{folder}'; {UP}")
    assert done.code == 1, done.output
    assert "POOLHOUSE_STATE_DIR" in done.output
    assert "Traceback" not in done.output
    elsewhere = shell.having({"POOLHOUSE_STATE_DIR": f"/tmp/poolhouse-{os.getpid()}"})
    done = elsewhere.run(f"cd '{folder}'; trap './invoke down' EXIT; {UP}; ./invoke e2e --quick")
    assert done.code == 0, done.output


def test_a_command_in_another_folder_reads_the_files_of_that_folder(plain: Checkout) -> None:
    (plain.root / "sub").mkdir(exist_ok=True)
    (plain.root / "sub" / "data.csv").write_text("a,b\n1,2\n")
    done = plain.run(
        f"trap './invoke down' EXIT; {UP}; cd sub\n"
        "../invoke submit file_processing --file data.csv --output result.json\n"
        "cat result.json; cd .."
    )
    assert done.code == 0, done.output
    assert '"rows": 1' in done.output.replace('"rows":1', '"rows": 1')
    assert (plain.root / "sub" / "result.json").exists()


def test_what_dies_while_the_disk_is_full_runs_again_once_there_is_room(plain: Checkout) -> None:
    require("root", "mounts")
    folder = plain.root.with_name("nearly full")
    folder.mkdir(exist_ok=True)
    shell = plain.having(
        {"POOLHOUSE_STATE_DIR": str(folder)}, wrap=mounted('mount -t tmpfs -o size=60m tmpfs "$POOLHOUSE_STATE_DIR"')
    )
    done = shell.run(
        f"""trap './invoke down' EXIT
{UP} --keep
before=$(./invoke status | awk '$1 == "worker-1" {{ print $3 }}')
head -c 100m /dev/zero >"$POOLHOUSE_STATE_DIR/full" 2>/dev/null || true
kill -9 "$before"
text=$(printf '%02000d' 0)
accepted=0
while ./invoke submit sample.echo "value=x$text" >/dev/null 2>&1; do accepted=$((accepted + 1)); done
rm "$POOLHOUSE_STATE_DIR/full"
./invoke submit sample.echo value=last --wait
until [ "$(./invoke tasks --status succeeded --json | wc -l)" -gt "$accepted" ]; do :; done
echo "accepted $accepted, ran $(./invoke tasks --json | wc -l)"
""",
        timeout_s=240,
    )
    assert done.code == 0, done.output
    assert "Traceback" not in done.output
    found = re.search(r"accepted (\d+), ran (\d+)", done.output)
    assert found is not None
    assert int(found[2]) == int(found[1]) + 1, "what was refused was not run"
