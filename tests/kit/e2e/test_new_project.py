"""`poolhouse new`, from an installed kit: what the project does, with what its owner adds, and how it is upgraded."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from poolhouse.commands.project import wheels
from poolhouse.pipeline.kit import version as kit_version
from poolhouse.project import ROOT
from tests.kit.e2e.conftest import Kit, fresh_environment, run
from tests.kit.engine import require_engine
from tests.kit.waiting import until

pytestmark = [pytest.mark.xdist_group("new-project"), pytest.mark.slow]

#: A package of the owner's own, beside worker/, with a dependency that nothing else needs.
BILLING = '''"""`invoice`: writes an amount in words."""

from __future__ import annotations

from inflect import engine
from poolhouse import Payload, TaskContext, task
from pydantic import BaseModel


class Amount(Payload):
    """What clients send."""

    euros: int


class Words(BaseModel):
    """What clients get."""

    words: str


@task("invoice", queue="slow")
def invoice(payload: Amount, ctx: TaskContext) -> Words:
    """Write an amount in words."""
    return Words(words=str(engine().number_to_words(payload.euros)))  # type: ignore[arg-type]
'''
#: Another, which calls a program of a Debian package.
PAYMENT_CODES = '''"""`payment_code`: draws a QR code."""

from __future__ import annotations

import subprocess

from poolhouse import Payload, TaskContext, task
from pydantic import BaseModel


class Reference(Payload):
    """What clients send."""

    reference: str


class Code(BaseModel):
    """What clients get."""

    size: int
    corner: str


@task("payment_code", queue="slow")
def payment_code(payload: Reference, ctx: TaskContext) -> Code:
    """Draw the code of a reference, two characters a module."""
    command = ("qrencode", "--type=ASCII", "--margin=0", payload.reference)
    rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return Code(size=len(rows), corner=rows[0][:16])
'''
CASE = """        Case(
            name="invoice",
            through="/tasks",
            submit=one("/tasks", {"task_type": "invoice", "payload": {"euros": 42}}),
            check=all_of(succeeded(), result({"words": "forty-two"})),
        ),
"""


#: The smallest code has 21 rows, and a finder pattern of 7 modules in its corner.
PAYMENT_CODE_CASE = """        Case(
            name="payment-code",
            through="/tasks",
            submit=one("/tasks", {"task_type": "payment_code", "payload": {"reference": "INV-42"}}),
            check=all_of(succeeded(), result({"size": 21, "corner": "##############  "})),
        ),
"""


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text, f"{path}: {before}"
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


@pytest.fixture(scope="module")
def shop(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new project; the tests below add to it, one after the other."""
    folder = tmp_path_factory.mktemp("new")
    bin_ = fresh_environment(folder / "kit", kit.folder, f"poolhouse[local] @ {kit.poolhouse.as_uri()}")
    said = run(bin_ / "poolhouse", "new", "shop", cwd=folder)
    assert "cd shop" in said
    yield folder / "shop"
    run("./invoke", "down", "--volumes", cwd=folder / "shop")


def test_it_passes_its_own_end_to_end_test_tests_and_checks(shop: Path) -> None:
    assert "all as expected" in run("./invoke", "e2e", "--backend", "embedded", cwd=shop)
    assert re.search(r"\d passed", run("./invoke", "test", cwd=shop))
    run("./invoke", "check", cwd=shop)


def test_it_holds_nothing_of_the_kits_own_and_its_locks_are_what_lock_makes(shop: Path) -> None:
    marks = ("#project|", "# kit: ", "# end of kit", "@NAME@", "@VERSION@")
    for path in json.loads((shop / ".poolhouse.json").read_text())["files"]:
        text = (shop / path).read_text(encoding="utf-8")
        assert not [mark for mark in marks if mark in text], path
    locks = {path: path.read_text() for path in shop.glob("requirements*.lock")}
    assert len(locks) == 3
    run("./invoke", "lock", cwd=shop)
    assert {path: path.read_text() for path in locks} == locks


def test_a_task_a_queue_and_a_package_of_ones_own_work(shop: Path) -> None:
    with (shop / "pipeline.toml").open("a") as file:
        file.write("\n[queues.slow]\nack_deadline_s = 30\n")
    run("./invoke", "new-task", "resize", "--queue", "slow", cwd=shop)
    (shop / "billing").mkdir()
    (shop / "billing" / "__init__.py").write_text('"""Invoices."""\n')
    (shop / "billing" / "invoices.py").write_text(BILLING)
    edit(shop / "pipeline.toml", 'handlers = ["worker.handlers"]', 'handlers = ["worker.handlers", "billing"]')
    edit(shop / "pyproject.toml", "dependencies = [\n", 'dependencies = [\n    "inflect>=7",\n')
    edit(shop / "local" / "e2e" / "cases.py", "    return [\n", f"    return [\n{CASE}")
    run("./invoke", "lock", cwd=shop)
    told = run("./invoke", "e2e", "--backend", "embedded", cwd=shop)
    assert "invoice" in told
    assert "all as expected" in told
    run("./invoke", "test", cwd=shop)
    run("./invoke", "check", cwd=shop)


def test_what_does_not_fit_the_declaration_is_told_with_its_line(shop: Path) -> None:
    declared = (shop / "pipeline.toml").read_text()
    wrong = '\n[schedules.nightly]\ncron = "0 3 * * *"\ntask_type = "inovice"\n'
    (shop / "pipeline.toml").write_text(declared + wrong)
    line = len((declared + wrong).splitlines())
    try:
        for words in (
            ("check",),
            ("deploy", "--project", "some-project", "--dry-run"),
            ("up", "--backend", "embedded"),
        ):
            done = subprocess.run(["./invoke", *words], cwd=shop, capture_output=True, text=True, check=False)
            said = "".join((done.stdout + done.stderr).splitlines())
            assert done.returncode != 0, words
            assert f"pipeline.toml:{line}: schedules.nightly: unknown task type 'inovice'" in said, (words, said)
    finally:
        (shop / "pipeline.toml").write_text(declared)
        run("./invoke", "down", cwd=shop)


def test_an_image_without_the_handlers_is_told_and_with_them_and_their_program_it_runs_on_compose(shop: Path) -> None:
    require_engine()
    said = run("./invoke", "rehearse", cwd=shop, code=1)
    assert "does not copy billing/__init__.py" in " ".join(said.split())
    edit(
        shop / "Dockerfile",
        "COPY --chmod=755 api ./api\n",
        "COPY --chmod=755 api ./api\nCOPY --chmod=755 billing ./billing\n",
    )
    edit(shop / ".dockerignore", "!worker\n", "!worker\n!billing\n")
    (shop / "billing" / "payment_codes.py").write_text(PAYMENT_CODES)
    edit(shop / "local" / "e2e" / "cases.py", "    return [\n", f"    return [\n{PAYMENT_CODE_CASE}")
    with (shop / "apt.txt").open("a") as file:
        file.write("qrencode  # draws what billing sends\n")
    run("./invoke", "images", cwd=shop, timeout_s=600)
    run("./invoke", "compose-file", cwd=shop)
    assert "worker-slow:" in (shop / "docker-compose.yml").read_text()
    told = run("./invoke", "e2e", "--backend", "compose", cwd=shop, timeout_s=600)
    assert "invoice" in told
    assert "payment-code" in told
    assert "all as expected" in told


def test_a_file_starts_its_task_on_compose(shop: Path) -> None:
    require_engine()
    with (shop / "pipeline.toml").open("a") as file:
        file.write('\n[triggers.guests]\nprefix = "uploads/guests/"\ntask_type = "greet"\nfield = "name"\n')
    run("./invoke", "up", "--backend", "compose", "--timeout", "180", cwd=shop, timeout_s=600)
    stack = json.loads(run("./invoke", "env", "--format", "json", cwd=shop))
    uploads = f"{stack['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/{stack['BUCKET_NAME']}/o"
    uploaded = requests.post(
        uploads, params={"uploadType": "media", "name": "uploads/guests/Ada"}, data=b"Ada", timeout=30
    )
    uploaded.raise_for_status()
    greeted = ("tasks", "--type", "greet", "--status", "succeeded", "--text", "Hello, guests/Ada!", "--count")
    until(lambda: run("./invoke", *greeted, cwd=shop).strip() == "1", timeout_s=60)
    run("./invoke", "down", cwd=shop)


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="the rehearsal runs the real gcloud")
def test_its_deploy_is_rehearsed(shop: Path) -> None:
    said = run("./invoke", "rehearse", cwd=shop, timeout_s=900)
    assert "second deploy" in said
    assert "left: nothing" in said


@pytest.mark.xdist_group("wheels")  # its projects are its own: beside the tests above
def test_an_upgrade_renews_what_was_left_alone_shows_what_was_edited_and_tells_what_is_new(
    kit: Kit, tmp_path: Path
) -> None:
    older = _older_kit(tmp_path / "older")
    bin_ = fresh_environment(tmp_path / "kit", older, f"poolhouse[local] @ {(older / _wheel('0.0.9')).as_uri()}")
    run(bin_ / "poolhouse", "new", "shop", cwd=tmp_path)
    shop = tmp_path / "shop"
    assert "# of before" in (shop / ".editorconfig").read_text()
    with (shop / ".gitattributes").open("a") as file:
        file.write("# my own\n")
    with (shop / "pipeline.toml").open("a") as file:
        file.write("\n[queues.slow]\n")
    run("./invoke", "compose-file", cwd=shop)

    told = run("./invoke", "upgrade", kit.poolhouse, cwd=shop)

    assert f"Poolhouse 0.0.9 -> {kit_version()}" in told
    assert "updated .editorconfig" in told
    assert (shop / ".editorconfig").read_text() == (ROOT / ".editorconfig").read_text()
    assert "kept .gitattributes, which you edited" in told
    assert "-# my own" in told
    assert (shop / ".gitattributes").read_text().endswith("# my own\n")
    newest = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert newest in told.splitlines()
    # Its own queue is no edit.
    assert "updated docker-compose.yml" in told
    assert "worker-slow:" in (shop / "docker-compose.yml").read_text()
    assert sorted(path.name for path in (shop / "vendor").glob("*.whl")) == [kit.poolhouse.name, kit.emulator.name]
    assert kit_version() in run("./invoke", "check", cwd=shop) + (shop / "pyproject.toml").read_text()
    # What was shown once is not shown again.
    assert "which you edited" not in run("./invoke", "upgrade", kit.poolhouse, cwd=shop)
    refused = run("./invoke", "upgrade", "no-such.whl", cwd=shop, code=2)
    assert "name the wheel of poolhouse" in refused


def _wheel(version: str) -> str:
    return f"poolhouse-{version}-py3-none-any.whl"


def _older_kit(folder: Path) -> Path:
    """The wheels of a version before this one, whose files differ a little; returns their folder."""
    source, made = folder / "source", folder / "wheels"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    edit(source / "poolhouse_pubsub" / "version.py", f'"{kit_version()}"', '"0.0.9"')
    for name in (".editorconfig", ".gitattributes", "docker-compose.yml"):
        with (source / name).open("a") as file:
            file.write("# of before\n")
    for part in wheels.DISTRIBUTIONS.values():
        wheels.build(source / part, made, "--wheel")
    return made
