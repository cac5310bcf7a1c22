"""Names that clients choose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import InvalidName


@pytest.mark.parametrize("name", ["a", "a/b.csv", "Grüße/日本.txt", "..a", "a..b", "x" * 200, " ", "a b.txt"])
def test_ordinary_names_pass_unchanged(name: str) -> None:
    assert names.check_file_name(name) == name
    assert names.upload(name) == f"uploads/{name}"


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "empty"),
        ("..", "segment"),
        ("a/../b", "segment"),
        ("./a", "segment"),
        ("/etc/passwd", "segment"),
        ("a//b", "segment"),
        ("a/", "segment"),
        ("a\\b", "backslash"),
        ("a\x00b", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\u2028b", "control"),
        ("\ud800", "Unicode"),
        ("x" * 201, "200 bytes"),
        ("é" * 101, "200 bytes"),
        ("/".join(["x" * 100] * 11), "bytes"),
    ],
)
def test_a_name_that_breaks_a_rule_is_refused_by_that_rule(name: str, rule: str) -> None:
    with pytest.raises(InvalidName, match=rule):
        names.check_file_name(name)


@given(st.text(max_size=300))
def test_whatever_passes_stays_below_its_prefix_and_within_cloud_storages_limits(name: str) -> None:
    try:
        checked = names.processed(name)
    except InvalidName:
        return
    assert checked.startswith("processed/")
    assert len(f"{checked}.report.json".encode()) <= 1024
    assert not {"", ".", ".."} & set(checked.split("/"))


@pytest.mark.parametrize("task_id", ["", "../a", "a/b", "a..b", "-a", ".a", "a" * 129, "a b", "ä"])
def test_an_id_that_could_be_a_path_is_refused(task_id: str) -> None:
    with pytest.raises(InvalidName):
        names.record(task_id)


def test_every_prefix_is_one_of_files_or_of_the_kit() -> None:
    prefixes = {value for name, value in vars(names).items() if isinstance(value, str) and value.endswith("/")}
    assert prefixes == {names.UPLOADS, names.PROCESSED, *names.OF_THE_KIT}
