"""The files that the kit gives a project: made from this repository's own, and kept up to date."""

from __future__ import annotations

import os
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from poolhouse import __main__ as program
from poolhouse.cloud import image
from poolhouse.commands import collection
from poolhouse.commands.project import new_project, project_files
from poolhouse.local.compose import workers
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

TEXTS = project_files.render(name="shop", version="1.2.3")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    project_files.write(tmp_path, TEXTS)
    return tmp_path


def test_a_shared_file_loses_the_kits_own_lines_and_gets_a_projects() -> None:
    text = "a\n# kit: why\nb\n# end of kit\n  # kit: why\n  c\n  # end of kit\n  #project| d\n#project| # e\nf\n"
    assert project_files.for_project(text) == "a\n  d\n# e\nf\n"


@pytest.mark.parametrize("path", project_files.SHARED)
def test_the_marks_of_shared_files_are_in_pairs_and_none_is_left(path: str) -> None:
    own = (ROOT / path).read_text(encoding="utf-8")
    assert own.count("# kit: ") == own.count("# end of kit")
    made = project_files.for_project(own)
    assert not [mark for mark in ("# kit: ", "# end of kit", "#project|") if mark in made]


def test_the_image_of_a_project_has_its_own_code_and_the_kit_by_its_lock() -> None:
    assert set(image.inputs(TEXTS["Dockerfile"]).copied) == {
        "requirements.lock",
        "apt.txt",
        "vendor",
        "worker",
        "api",
        "pipeline.toml",
    }
    assert "poolhouse" in image.inputs((ROOT / "Dockerfile").read_text()).copied[1]
    sent = {line[1:] for line in TEXTS[".dockerignore"].splitlines() if line.startswith("!")}
    assert sent == {
        *("apt.txt", "vendor", "worker", "api", "pipeline.toml", ".wheelhouse"),
        *("requirements.lock", "requirements-pubsub.lock"),
    }


@pytest.mark.parametrize(
    ("apt", "installed"),
    [
        (TEXTS["apt.txt"], []),
        ("", []),
        ("# none\n\nqrencode  # codes\nfonts-dejavu-core=2.37-6\n", ["qrencode", "fonts-dejavu-core=2.37-6"]),
    ],
    ids=["new", "empty", "two"],
)
def test_the_image_has_the_packages_of_apt_txt_and_asks_no_mirror_where_there_are_none(
    tmp_path: Path, apt: str, installed: list[str]
) -> None:
    instruction = next(line for line in image.instructions(TEXTS["Dockerfile"]) if "apt-get" in line)
    script = instruction.removeprefix("RUN").replace("/build/", f"{tmp_path}/").replace("/var/lib", f"{tmp_path}/lib")
    (tmp_path / "apt.txt").write_text(apt)
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/calls"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    subprocess.run(("sh", "-c", script), env={"PATH": path}, check=True)
    calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
    assert [call.split()[-1] for call in calls] == (["--quiet", installed[-1], "clean"] if installed else [])
    assert not installed or calls[1].split()[-len(installed) :] == installed


def test_the_compose_file_of_a_new_project_has_the_workers_of_its_queues(shop: Path) -> None:
    declared = topology.load(shop / "pipeline.toml")
    text = (shop / "docker-compose.yml").read_text(encoding="utf-8")
    assert workers.renewed(text, declared) == text
    found = {name for name in yaml.safe_load(text)["services"] if name.startswith("worker-")}
    assert found == {f"worker-{queue.name}" for queue in declared.queues}


def test_the_project_pins_the_kit_and_names_itself(shop: Path) -> None:
    project = tomllib.loads((shop / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["dependencies"]) == ("shop", ["poolhouse==1.2.3"])


def test_an_update_writes_what_is_new_keeps_what_was_edited_and_leaves_what_was_deleted(shop: Path) -> None:
    (shop / ".gitignore").unlink()
    (shop / ".editorconfig").write_text("mine\n")
    newer = {path: text + "# newer\n" for path, text in TEXTS.items()} | {"new.txt": "new\n"}
    changes = project_files.update(shop, newer)
    assert "Dockerfile" in changes.written
    assert (shop / "Dockerfile").read_text().endswith("# newer\n")
    assert "new.txt" in changes.written
    assert set(changes.edited) == {".editorconfig"}
    assert "+# newer" in changes.edited[".editorconfig"]
    assert (shop / ".editorconfig").read_text() == "mine\n"
    assert not (shop / ".gitignore").exists()
    assert (shop / "README.md").read_text() == TEXTS["README.md"]  # the owner's from the first day
    again = project_files.update(shop, newer)
    assert (again.written, again.edited) == ([], {})


def test_ones_own_queues_in_the_compose_file_are_no_edit(shop: Path) -> None:
    with (shop / "pipeline.toml").open("a") as file:
        file.write("\n[queues.slow]\n")
    workers.renew(path=shop / "docker-compose.yml", pipeline_file=shop / "pipeline.toml")
    newer = {**TEXTS, "docker-compose.yml": TEXTS["docker-compose.yml"] + "# newer\n"}
    changes = project_files.update(shop, newer)
    assert (changes.written, changes.edited) == (["docker-compose.yml"], {})
    text = (shop / "docker-compose.yml").read_text()
    assert "worker-slow:" in text
    assert text.endswith("# newer\n")


def test_an_update_over_a_broken_declaration_changes_nothing(shop: Path) -> None:
    before = (shop / "Dockerfile").read_text()
    (shop / "pipeline.toml").write_text("[queues\n")
    with pytest.raises(ConfigError, match=r"pipeline\.toml"):
        project_files.update(shop, {**TEXTS, "Dockerfile": "other\n"})
    assert (shop / "Dockerfile").read_text() == before


@pytest.mark.parametrize("example", project_files.examples())
def test_a_project_that_starts_as_an_example_has_its_code_its_packages_and_a_name_of_its_own(example: str) -> None:
    texts = project_files.render(name="shop", version="1.2.3", example=example)
    own = ROOT / "examples" / example
    assert texts["worker/handlers/__init__.py"] == TEXTS["worker/handlers/__init__.py"]
    for path in own.rglob("*.py"):
        assert texts[str(path.relative_to(own))] == path.read_text()
    assert texts["README.md"] == (own / "README.md").read_text()
    assert not [
        path for path, text in texts.items() if "greet" in text or "@NAME@" in text or "requirements.txt" in path
    ]
    project = tomllib.loads(texts["pyproject.toml"])["project"]
    needed = project_files.requirements(example)
    assert (project["name"], project["dependencies"]) == ("shop", [*needed, "poolhouse==1.2.3"])
    assert topology.parse(texts["pipeline.toml"]).name == "shop"


def test_the_commands_to_go_on_with_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(new_project, "create", lambda path, **more: [])
    folder = tmp_path / "my shop's" / "shop"
    program.new(folder)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  cd "))
    assert shlex.split(line) == ["cd", str(folder)]


def test_the_help_of_the_commands_names_every_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.main(["new", "--help"])
    texts = (capsys.readouterr().out, str(collection(of_the_kit=True)["new-project"].help["example"]))
    assert [name for text in texts for name in project_files.examples() if name not in text] == []


def test_an_example_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no example 'thumbs'.*nightly_report, thumbnails, webhooks"):
        project_files.render(name="shop", version="1.2.3", example="thumbs")
