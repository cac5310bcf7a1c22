from __future__ import annotations

import configparser
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from poolhouse.local.compose import build, engine, file, images, stand_ins, wheelhouse
from poolhouse.local.errors import StackError
from poolhouse.pipeline.image_digests import DIGESTS


def test_every_public_image_of_the_stack_is_wanted_and_has_a_recipe() -> None:
    wanted = images.wanted({})
    assert [image.role for image in wanted] == list(images.Role)
    assert {image.role for image in wanted} == set(images._RECIPES)
    assert all(":" in image.name for image in wanted)


def test_what_is_pulled_is_what_the_digest_names_under_the_name_that_compose_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(engine, "docker", lambda *words, **options: ran.append(words))
    monkeypatch.setattr(engine, "has_image", lambda name: False)
    name, other = file.storage_image({}), "mirror.example.com/fake-gcs-server:1"
    pinned = f"fsouza/fake-gcs-server@{DIGESTS[name]}"
    build.pull([name], lambda line: None)
    assert ran == [("pull", "--quiet", pinned), ("tag", pinned, name)]
    ran.clear()
    assert engine.can_pull(name)
    assert ran == [("manifest", "inspect", pinned)]
    ran.clear()
    build.pull([other], lambda line: None)  # one of the user's own
    assert ran == [("pull", "--quiet", other)]


def test_wheels_are_those_that_debian_bookworm_can_run() -> None:
    platforms = wheelhouse.platforms("arm64")
    assert platforms[0] == "manylinux_2_36_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(platforms)
    with pytest.raises(StackError, match="no wheels for the processor riscv64"):
        wheelhouse.platforms("riscv64")


def test_a_full_wheelhouse_is_left_alone_until_the_lock_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("a==1\n")
    house = tmp_path / "wheels"
    house.mkdir()
    (house / "a-1-py3-none-any.whl").touch()
    (house / "requirements.lock").write_text("a==1\n")
    monkeypatch.setattr(wheelhouse, "LOCKS", (lock,))
    monkeypatch.setattr(wheelhouse, "WHEELHOUSE", house)
    assert wheelhouse.fill(architecture="amd64") == 1

    lock.write_text("this is not a requirement\n")
    with pytest.raises(StackError, match="pip could not download"):
        wheelhouse.fill(architecture="amd64")
    assert not (house / "requirements.lock").exists(), "what is incomplete must not pass for whole"
    assert not list(house.glob("*.whl"))


def test_secrets_of_the_build_are_this_machines_bundle_and_pip_settings(tmp_path: Path) -> None:
    bundle, settings = tmp_path / "ca.pem", tmp_path / "pip.conf"
    bundle.touch()
    settings.touch()
    made = build.secrets({"SSL_CERT_FILE": str(bundle), "PIP_CONFIG_FILE": str(settings)}, folder=tmp_path)
    assert made == {"ca": bundle, "pip_conf": settings}
    settings.write_text(f"[global]\ncert = {bundle}\n")
    made = build.secrets(
        {"SSL_CERT_FILE": str(tmp_path / "missing.pem"), "PIP_CONFIG_FILE": str(settings)}, folder=tmp_path
    )
    assert made == {"ca": bundle, "pip_conf": settings}


def test_an_index_that_a_variable_names_is_the_builds_too(tmp_path: Path) -> None:
    settings, folder = tmp_path / "pip.conf", tmp_path / "private"
    folder.mkdir()
    settings.write_text(
        "[global]\nindex-url = https://old/simple\ntimeout = 9\n[install]\nindex-url = https://older/\n"
    )
    variables = {
        "PIP_CONFIG_FILE": str(settings),
        "PIP_INDEX_URL": "https://ann:50%25@index.example/simple",
        "PIP_TRUSTED_HOST": "index.example",
    }
    made = build.secrets(variables, folder=folder)["pip_conf"]
    assert made.parent == folder
    parser = configparser.RawConfigParser()
    parser.read(made)
    assert parser["global"]["timeout"] == "9"
    for section in ("global", "install"):
        assert parser[section]["index-url"] == variables["PIP_INDEX_URL"]
        assert parser[section]["trusted-host"] == "index.example"


def test_the_newest_emulator_of_the_installed_gcloud_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "sdk" / "platform" / "pubsub-emulator" / "lib"
    library.mkdir(parents=True)
    for version in ("0.8.19", "0.8.20"):
        (library / f"cloud-pubsub-emulator-{version}-all.jar").touch()
    monkeypatch.setattr(stand_ins, "_SDK_ROOTS", (str(tmp_path / "sdk"),))
    monkeypatch.setenv("PATH", "")
    assert stand_ins.emulator_jar().name == "cloud-pubsub-emulator-0.8.20-all.jar"


def test_no_emulator_to_make_an_image_from_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_ins, "_SDK_ROOTS", ())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StackError, match="gcloud components install pubsub-emulator"):
        stand_ins.emulator_jar()


def test_every_folder_of_the_storage_stand_in_is_declared_for_rootless_engines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(*command: str, cwd: Path | None = None) -> None:
        if command[0] == "apt-get":
            assert cwd is not None
            (cwd / "busybox-static_1_amd64.deb").touch()
        else:
            (Path(command[-1]) / "bin").mkdir(parents=True)
            (Path(command[-1]) / "bin" / "busybox").touch()

    monkeypatch.setattr(stand_ins, "_run", run)
    with stand_ins.storage().tar() as made, tarfile.open(made) as archive:
        names = archive.getnames()
    assert all(str(Path(name).parent) in {".", *names} for name in names)
    assert names.index("bin") < names.index("bin/busybox")


def test_no_mmdebstrap_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StackError, match="apt-get install mmdebstrap"), stand_ins.python().tar():
        pass


@pytest.mark.parametrize(
    ("here", "label", "pullable", "forced", "how"),
    [
        (True, None, False, False, "here"),
        (True, "made-of-nothing", False, False, "here"),
        (True, "made-of-less", False, False, "made"),
        (True, "made-of-less", True, False, "pulled"),
        (False, None, True, False, "pulled"),
        (False, None, False, False, "made"),
        (True, None, True, True, "made"),
    ],
)
def test_an_image_is_pulled_where_it_can_be_and_made_where_not(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    here: bool,
    label: str | None,
    pullable: bool,
    forced: bool,
    how: str,
) -> None:
    present = {"x:1"} if here else set()
    ran: list[tuple[str, ...]] = []

    def docker(*arguments: str, **options: object) -> str:
        ran.append(arguments)
        present.add("x:1")
        return ""

    @contextmanager
    def tar() -> Iterator[Path]:
        file = tmp_path / "root.tar"
        tarfile.open(file, "w").close()
        yield file

    monkeypatch.setattr(engine, "has_image", lambda name: name in present)
    monkeypatch.setattr(engine, "image_label", lambda name, wanted: label)
    monkeypatch.setattr(engine, "can_pull", lambda name: pullable)
    monkeypatch.setattr(images, "docker", docker)
    monkeypatch.setattr(engine, "docker", docker)
    recipe = stand_ins.Recipe(label="made-of-nothing", tar=tar)
    monkeypatch.setattr(images, "_RECIPES", {images.Role.PYTHON: lambda: recipe})
    said: list[str] = []
    wanted = images.Wanted(images.Role.PYTHON, "x:1")
    assert images._obtain(wanted, stand_in=forced, say=said.append).how == how
    assert [arguments[0] for arguments in ran] == {"here": [], "pulled": ["pull"], "made": ["import"]}[how]
    if how == "made":
        assert f"LABEL {images.STAND_IN_LABEL}=made-of-nothing" in ran[0]
    assert said[0].startswith("  x:1: ")
