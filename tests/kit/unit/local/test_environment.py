"""What of a developer's environment reaches the processes of a stack."""

from __future__ import annotations

from pathlib import Path

import pytest
from requests.utils import get_environ_proxies

from poolhouse.local.processes import environment

ANYWHERE = ("127.0.0.1", "localhost", "::1")


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns", "nonsense", ""])
def test_time_is_utc_and_text_utf_8(zone: str) -> None:
    made = environment.child({"TZ": zone, "PYTHONUTF8": "0", "LC_ALL": "C"})
    assert (made["TZ"], made["PYTHONUTF8"], made["LC_ALL"]) == ("UTC", "1", "C")


@pytest.mark.parametrize("name", ["PYTHONHOME", "PYTHONWARNINGS", "PYTHONSAFEPATH", "PYTHONMALLOC", "PYTHON_GIL"])
def test_no_variable_of_another_python_is_passed_on(name: str) -> None:
    assert name not in environment.child({name: "x"})


def test_what_libraries_and_handlers_read_is_passed_on() -> None:
    own = {
        "PYTHON_KEYRING_BACKEND": "x",
        "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
        "GOOGLE_API_KEY": "secret",
        "DATABASE_URL": "postgres://",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LOG_LEVEL": "debug",
    }
    assert own.items() <= environment.child(own).items()


@pytest.mark.parametrize(
    ("name", "value"), [("LOG_LEVEL", "trace"), ("LOG_FORMAT", "pretty"), ("PORT", "80"), ("HOST", "x")]
)
def test_what_other_programs_mean_by_a_shared_name_is_not(name: str, value: str) -> None:
    assert name not in environment.child({name: value})


def test_folders_of_pythonpath_come_behind_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    made = environment.child({"PYTHONPATH": "/a:/b::/a"})
    assert "PYTHONPATH" not in made
    assert environment.search_path(made) == ["/a", "/b"]
    assert environment.search_path(environment.child({**made, "PYTHONPATH": "/c"})) == ["/c", "/a", "/b"]


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"http_proxy": "http://p:1"},
        {"HTTP_PROXY": "http://p:1", "NO_PROXY": "corp"},
        {"http_proxy": "http://p:1", "NO_PROXY": "127.0.0.1", "no_proxy": "corp, .intern"},
        {"all_proxy": "socks5://p:1", "no_proxy": "*"},
        {"http_proxy": "http://p:1", "No_Proxy": ",,"},
    ],
)
def test_no_proxy_is_asked_for_this_machine(own: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = environment.child(own)
    assert made["no_proxy"] == made["NO_PROXY"] == made["no_grpc_proxy"], "each program reads another one"
    assert set(ANYWHERE) <= set(made["no_proxy"].split(","))
    for name in {*own, *made}:
        monkeypatch.delenv(name, raising=False)
        if name in made:
            monkeypatch.setenv(name, made[name])
    assert not get_environ_proxies("http://127.0.0.1:8080/")
    assert not get_environ_proxies("http://localhost:8080/")


def test_handlers_reach_the_internet_through_the_proxy_and_its_exceptions_hold() -> None:
    made = environment.child({"HTTPS_PROXY": "http://p:1", "no_proxy": "corp,.intern"})
    assert made["HTTPS_PROXY"] == "http://p:1"
    assert made["NO_PROXY"].endswith("corp,.intern")
    assert "HTTPS_PROXY" not in environment.child({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}), "no proxy at all"


def test_a_relative_declaration_is_the_one_that_is_seen_from_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert environment.child({"PIPELINE_FILE": "my.toml"})["PIPELINE_FILE"] == str(tmp_path / "my.toml")


def test_it_is_the_same_for_a_child_of_a_child() -> None:
    own = {"http_proxy": "http://p:1", "NO_PROXY": "corp", "PYTHONPATH": "/a", "TZ": "Europe/Berlin", "MINE": "x"}
    assert environment.child(environment.child(own)) == environment.child(own)


def test_clients_in_this_process_keep_what_python_has_read_already() -> None:
    made = environment.client({"PYTHONHASHSEED": "1", "GRPC_POLL_STRATEGY": "x", "TZ": "Europe/Berlin"})
    assert made["PYTHONHASHSEED"] == "1"
    assert made["TZ"] == "Europe/Berlin"
    assert "GRPC_POLL_STRATEGY" not in made
