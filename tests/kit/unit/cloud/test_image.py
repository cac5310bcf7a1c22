from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from poolhouse.cloud import image
from poolhouse.cloud.errors import CloudError

ROOT = Path(__file__).parents[4]
DOCKERFILE = """\
# a comment with COPY secrets /x
ARG BASE=python
FROM ${BASE} AS dependencies
COPY requirements.lock /build/
RUN --mount=type=bind,source=wheels,target=/w \\
    --mount=type=cache,target=/root/.cache true
FROM ${BASE} AS runtime
COPY --from=dependencies /opt /opt
FROM runtime AS other
COPY never ./
FROM runtime AS production
COPY ["pipeline.toml", "./"]
COPY --chown=1:1 ./app/ \\
     ./app
"""
GPU = 'gpu = "nvidia-l4"\ncpu = 4\nmemory_mib = 16384'
PIPELINE = "[queues.mail]\n[queues.mail.workers]\nmax_instances = 3\nconcurrency = 2\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "requirements.lock").write_text("x==1")
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    (tmp_path / "app" / "__pycache__").mkdir(parents=True)
    (tmp_path / "app" / "main.py").write_text("print(1)")
    (tmp_path / "app" / "__pycache__" / "main.pyc").write_text("x")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "big.whl").write_text("x")
    return tmp_path


def test_the_inputs_are_those_of_the_last_stage_and_what_it_stands_on() -> None:
    found = image.inputs(DOCKERFILE)
    assert found.copied == ("requirements.lock", "pipeline.toml", "app")
    assert found.mounted == ("wheels",)


def test_the_tag_is_the_same_until_an_input_changes(root: Path) -> None:
    before = image.tag(root)
    (root / "README").write_text("not an input")
    (root / "app" / "__pycache__" / "main.pyc").write_text("y")
    assert image.tag(root) == before
    (root / "app" / "main.py").write_text("print(2)")
    assert image.tag(root) != before


def test_sizes_that_only_a_deploy_reads_make_no_new_image(root: Path) -> None:
    before = image.tag(root)
    (root / "pipeline.toml").write_text(PIPELINE.replace("max_instances = 3", f"max_instances = 30\n{GPU}"))
    assert image.tag(root) == before
    (root / "pipeline.toml").write_text(PIPELINE.replace("concurrency = 2", "concurrency = 20"))
    assert image.tag(root) != before


def test_only_the_inputs_are_sent_and_mounted_folders_are_empty(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("stage")
    image.stage(root, target)
    names = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert names == {"Dockerfile", "requirements.lock", "pipeline.toml", "app/main.py", "wheels/.keep"}


@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", "server.pem", "tls.key", "service-account.json", "service-account-prod.json", "ID_RSA",
     "my-credentials.json", ".secrets.local", "deploy-key.json", ".ssh/config"],
)  # fmt: skip
def test_what_is_called_like_a_secret_is_left_out_and_reported(
    root: Path, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = image.tag(root)
    path = root / "app" / "sub" / name
    path.parent.mkdir(parents=True)
    path.write_text("word")
    target = tmp_path_factory.mktemp("stage")
    image.stage(root, target)
    assert not list(target.rglob(path.name))
    assert image.left_out(root) == (f"app/sub/{name}",)
    assert image.tag(root) == before


def test_a_link_to_a_secret_is_one(root: Path) -> None:
    (root / ".env").write_text("WORD=x")
    (root / "app" / "settings.txt").symlink_to(root / ".env")
    assert image.left_out(root) == ("app/settings.txt",)


def test_the_folders_above_the_project_may_be_called_anything(root: Path) -> None:
    moved = root / ".docker" / "my.env" / "shop"
    moved.mkdir(parents=True)
    for name in ("Dockerfile", "requirements.lock", "pipeline.toml", "app", "wheels"):
        (root / name).rename(moved / name)
    assert moved / "app" / "main.py" in image.files(moved)
    assert image.left_out(moved) == ()


@pytest.mark.parametrize(
    "content", ["-----BEGIN PRIVATE KEY-----\nMII", "-----BEGIN RSA PRIVATE KEY-----", '{"type": "service_account"}']
)
def test_a_key_under_another_name_is_refused(root: Path, content: str) -> None:
    (root / "app" / "data.txt").write_text(content)
    with pytest.raises(CloudError, match=r"app/data\.txt holds a private key"):
        image.tag(root)


def test_links_are_followed_within_the_folder_alone(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (root / "shared.py").write_text("x = 1")
    (root / "app" / "inside.py").symlink_to(root / "shared.py")
    assert root / "app" / "inside.py" in image.files(root)
    outside = tmp_path_factory.mktemp("outside")
    (outside / "passwords.txt").write_text("word")
    for target in (outside, outside / "passwords.txt"):
        link = root / "app" / "link"
        link.symlink_to(target)
        with pytest.raises(CloudError, match=r"link is a link to .*, outside of"):
            image.files(root)
        link.unlink()


def test_a_link_to_a_folder_above_itself_is_refused(root: Path) -> None:
    (root / "app" / "loop").symlink_to(root / "app")
    with pytest.raises(CloudError, match="a folder that it is in itself"):
        image.files(root)


def test_a_local_build_leaves_out_the_same_secrets() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"**/{name}" for name in image.SECRETS} <= set(ignored)


def test_google_builds_on_the_base_image_that_the_dockerfile_names_by_its_digest() -> None:
    named = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert named is not None
    (step,) = json.loads(image.build_config("repo/image:tag"))["steps"]
    (chosen,) = (word.removeprefix("PYTHON_IMAGE=") for word in step["args"] if word.startswith("PYTHON_IMAGE="))
    assert re.fullmatch(re.escape(named[1]) + r"@sha256:[0-9a-f]{64}", chosen)


def test_a_build_without_signed_provenance_fails() -> None:
    config = json.loads(image.build_config("repo/image:tag"))
    assert config["options"]["requestedVerifyOption"] == "VERIFIED"
    assert config["images"] == ["repo/image:tag"]  # what a step pushes itself gets no provenance


def test_a_handler_module_that_the_image_would_lack_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root))
    for folder in ("app", "left_behind"):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / "some_handlers.py").write_text("")
    image.check_handlers(root, ["app.some_handlers", "json"])  # copied; installed
    with pytest.raises(CloudError, match=r"does not copy left_behind/some_handlers\.py"):
        image.check_handlers(root, ["left_behind.some_handlers"])
    for name in ("app.none", "none_at_all.handlers"):
        with pytest.raises(CloudError, match="no such module"):
            image.check_handlers(root, [name])


def test_a_missing_input_is_named(root: Path) -> None:
    (root / "requirements.lock").unlink()
    with pytest.raises(CloudError, match=r"copies requirements\.lock, which is not there"):
        image.tag(root)
