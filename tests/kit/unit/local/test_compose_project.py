"""Whose stack is whose, which emulator it has, and what setup refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolhouse.local import logs, setup
from poolhouse.local.backend import Endpoints
from poolhouse.local.compose import emulator, engine, project
from poolhouse.local.compose import file as compose_file
from poolhouse.local.compose.engine import Container
from poolhouse.pipeline.config.topology import load
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT


def test_two_checkouts_share_no_name_and_one_keeps_its_own(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "poolhouse", tmp_path / "b" / "poolhouse"
    third = tmp_path / "My Tasks!"
    names = [project.checkout(root) for root in (first, second, third)]
    assert len(set(names)) == 3
    assert names[0] == project.checkout(first)
    assert names[2].startswith("poolhouse-my-tasks-")
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in names)


def test_another_state_directory_and_an_attached_stack_are_other_projects(tmp_path: Path) -> None:
    own = ROOT / ".poolhouse"
    names = {
        project.name(own, attached=False),
        project.name(own, attached=True),
        project.name(tmp_path, attached=False),
    }
    assert len(names) == 3


def test_a_name_in_dotenv_that_compose_refuses_is_reported_before_anything_is_built(tmp_path: Path) -> None:
    own, settings = (ROOT / ".poolhouse").resolve(), tmp_path / ".env"
    settings.write_text("COMPOSE_PROJECT_NAME=my_shop-2\n")
    assert project.name(own, attached=False, env_file=settings) == "my_shop-2"
    settings.write_text("COMPOSE_PROJECT_NAME=MyShop\n")
    with pytest.raises(ConfigError, match=r"COMPOSE_PROJECT_NAME=MyShop in \.env: .* lowercase"):
        project.name(own, attached=False, env_file=settings)


def test_a_folder_whose_name_is_not_utf_8_has_a_project_too() -> None:
    root = Path("/home/caf\udce9")
    assert project.checkout(root) == project.checkout(root)
    assert project.name(root, attached=False).isascii()


def test_images_are_the_checkouts_own_unless_settings_name_others() -> None:
    own = project.checkout()
    assert project.images({"POOLHOUSE_IMAGE": "mine:1"}) == {
        "production": "mine:1",
        "local": f"poolhouse-setup:{own}",
        "pubsub": f"poolhouse-pubsub:{own}",
    }


def test_a_test_has_no_stack_of_another_user(tmp_path: Path) -> None:
    assert project.unrecorded(tmp_path) is None


def test_stacks_that_compose_started_are_distinguished_from_those_of_up() -> None:
    listed = "one\t/src/docker-compose.yml\ntwo\t/src/docker-compose.yml,/src/.poolhouse/compose.override.json\n"
    assert project._projects(listed) == [("one", None), ("two", "/src/.poolhouse/compose.override.json")]


def _container(service: str, image: str = "x:1", *, published: dict[int, int] | None = None) -> Container:
    (made,) = engine.parse(
        [
            {
                "Id": service,
                "Name": f"/mine-{service}-1",
                "Config": {
                    "Image": image,
                    "Labels": {"com.docker.compose.service": service},
                    "Env": ["GOOGLE_CLOUD_PROJECT=p", "BUCKET_NAME=b"],
                },
                "State": {"Status": "exited"},
                "HostConfig": {
                    "PortBindings": {
                        f"{inside}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(outside)}]
                        for inside, outside in (published or {}).items()
                    }
                },
            }
        ]
    )
    return made


@pytest.mark.parametrize(("image", "word"), [("poolhouse-pubsub:mine", "poolhouse"), ("mirror:1", None)])
def test_a_stack_that_was_not_written_down_is_read_from_its_containers(image: str, word: str | None) -> None:
    found = (
        _container("api", published={8080: 1}),
        _container("pubsub", image, published={8085: 2}),
        _container("gcs", published={4443: 3}),
    )
    described = project._described("mine", found, overlaid=False)
    assert described is not None
    assert described.endpoints == Endpoints(
        api_url="http://127.0.0.1:1",
        pubsub_host="127.0.0.1:2",
        storage_url="http://127.0.0.1:3",
        project="p",
        bucket="b",
    )
    assert described.details["environment"]["STORAGE_PORT"] == "3"
    assert described.details["pubsub"] == word
    assert project._described("mine", found[:2], overlaid=False) is None


GOOGLES = compose_file.google_pubsub_image()


@pytest.mark.parametrize(
    ("word", "image_setting", "chosen", "image"),
    [
        (None, None, "poolhouse", None),
        ("poolhouse", GOOGLES, "poolhouse", None),
        ("google", None, "google", GOOGLES),
        ("google", "mirror/emulators:1", "google", "mirror/emulators:1"),
        (None, GOOGLES, "google", GOOGLES),
        (None, "mine:1", None, "mine:1"),
    ],
)
def test_ours_is_the_emulator_unless_another_is_asked_for(
    word: str | None, image_setting: str | None, chosen: str | None, image: str | None
) -> None:
    made = emulator.choose(word, {"PUBSUB_IMAGE": image_setting} if image_setting else {})
    assert (made.word, made.image) == (chosen, image)
    assert (made.backlog_source == "none") == (chosen == "google")


def test_up_reports_which_emulator_runs_and_what_the_other_one_could_not_do() -> None:
    ours, googles = (emulator.choose(word, {}).about() for word in emulator.WORDS)
    for about in (ours, googles):
        assert "does not send again what a killed worker held" in about
    assert ours.startswith("Pub/Sub: Poolhouse's emulator")
    assert googles.startswith("Pub/Sub: Google's emulator")


def test_an_emulator_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="--pubsub poolhouse or google"):
        emulator.choose("kafka", {})


def test_setup_refuses_queues_that_would_have_no_worker(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text("[queues.default]\n[queues.fresh]\n")
    declared = load(file)
    setup._check_workers(declared, None)
    setup._check_workers(declared, "default,fresh")
    with pytest.raises(ConfigError, match=r"no worker for the queue fresh: \./invoke compose-file"):
        setup._check_workers(declared, "default")
    with pytest.raises(ConfigError, match="a worker for the queue old, which is not declared"):
        setup._check_workers(declared, "default,fresh,old")


def test_lines_of_containers_are_labelled_by_instance() -> None:
    written = ['worker-default-1  | {"message": "a | b"}\n', "worker-default-2  | two\n", "Attaching to x\n"]
    assert list(logs.of_containers(written, "worker-default")) == [
        ("worker-default-1", '{"message": "a | b"}'),
        ("worker-default-2", "two"),
        ("", "Attaching to x"),
    ]
    assert next(logs.of_containers(written, "worker-default-2")) == ("worker-default-2", "two")
