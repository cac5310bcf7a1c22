from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolhouse.cloud import extras
from poolhouse.cloud.deploy import prepare
from poolhouse.cloud.errors import CloudError
from poolhouse.pipeline.config.topology import Topology, load
from poolhouse.pipeline.text_files import read_toml

ROOT = Path(__file__).parents[4]
DOCKERFILE = (
    "FROM python AS dependencies\nCOPY requirements.lock /build/\nFROM python\nCOPY --from=dependencies /o /o\n"
)
CONSOLE = '[console]\ndeploy = true\nviewers = ["user:ann@example.com"]\n'
OTLP = "opentelemetry-exporter-otlp-proto-http"
Declare = Callable[[str], Topology]


@pytest.fixture
def declare(tmp_path: Path) -> Declare:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "requirements.lock").write_text("x==1\n")

    def write(more: str) -> Topology:
        (tmp_path / "pipeline.toml").write_text(f"[queues.mail]\n{more}")
        return load(tmp_path / "pipeline.toml")

    return write


def lock(root: Path, *names: str) -> None:
    (root / "requirements.lock").write_text("".join(f"{name}==1.45.2 \\\n    --hash=sha256:0\n" for name in names))


@pytest.mark.parametrize("table", ["[env]", "[queues.mail.env]"])
@pytest.mark.parametrize(
    ("value", "library"),
    [("otlp", OTLP), ("cloud_trace", OTLP), ("prometheus", "opentelemetry-exporter-prometheus")],
)
def test_an_exporter_whose_library_is_not_locked_is_refused(
    tmp_path: Path, declare: Declare, table: str, value: str, library: str
) -> None:
    declared = declare(f'{table}\nTRACES_EXPORTER = "{value}"')
    with pytest.raises(CloudError, match=rf'TRACES_EXPORTER = "{value}" needs {library}.*poolhouse\[telemetry\]'):
        extras.check(tmp_path, declared)
    lock(tmp_path, "x", library)
    extras.check(tmp_path, declared)


def test_a_console_whose_libraries_are_not_locked_is_refused(tmp_path: Path, declare: Declare) -> None:
    declared = declare(CONSOLE)
    with pytest.raises(CloudError) as refused:
        extras.check(tmp_path, declared)
    assert str(refused.value) == (
        "[console] deploy = true needs cryptography, jinja2, python-multipart, which requirements.lock lacks: the "
        "console would not start. Add poolhouse[console] to the dependencies in pyproject.toml, run ./invoke lock, and "
        "deploy again."
    )
    # Not those of other distributions that are called alike.
    lock(tmp_path, "cryptography", "fastapi-jinja2", "jinja2", "python-multipart-x")
    with pytest.raises(CloudError, match="needs python-multipart, which"):
        extras.check(tmp_path, declared)
    lock(tmp_path, "cryptography", "Jinja2", "python_multipart")
    extras.check(tmp_path, declared)


def test_a_deploy_asks_before_it_calls_google_cloud(tmp_path: Path, declare: Declare) -> None:
    nothing: Any = None  # no gcloud, no options
    with pytest.raises(CloudError, match=r"poolhouse\[console\]"):
        prepare(nothing, declare(CONSOLE), options=nothing, tracks=nothing, root=tmp_path)


@pytest.mark.parametrize(
    "more",
    ["", CONSOLE.replace("true", "false"), '[env]\nTRACES_EXPORTER = "none"\nMETRICS_EXPORTER = "global"'],
)
def test_what_needs_no_extra_is_not_refused(tmp_path: Path, declare: Declare, more: str) -> None:
    extras.check(tmp_path, declare(more))


def test_an_image_of_another_make_is_not_judged_by_its_lock_file(tmp_path: Path, declare: Declare) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY pipeline.toml ./\n")
    extras.check(tmp_path, declare(CONSOLE))


def test_the_extras_bring_what_is_looked_for_and_the_core_does_not(declare: Declare) -> None:
    project = read_toml(ROOT / "pyproject.toml")["project"]
    core = names(project["dependencies"])
    declared = declare(f'[env]\nTRACES_EXPORTER = "otlp"\nMETRICS_EXPORTER = "prometheus"\n{CONSOLE}')
    needed = tuple(extras.needs(declared))
    assert len(needed) == 3
    for need in needed:
        assert set(need.libraries) <= names(project["optional-dependencies"][need.extra])
        assert not set(need.libraries) & core


def test_an_earlier_image_is_held_to_the_present_declaration_as_far_as_it_is_known(declare: Declare) -> None:
    declared = declare(CONSOLE)
    with pytest.raises(
        CloudError, match=r"needs jinja2, python-multipart, which the image src-1 lacks.*another release"
    ):
        extras.check_release(lambda: frozenset({"cryptography"}), declared, tag="src-1")
    extras.check_release(lambda: frozenset({"cryptography", "jinja2", "python-multipart"}), declared, tag="src-1")
    extras.check_release(lambda: None, declared, tag="src-1")
    # Where nothing is needed, nothing is asked.
    extras.check_release(lambda: pytest.fail("asked"), declare(""), tag="src-1")


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!;]", requirement)[0] for requirement in requirements}
