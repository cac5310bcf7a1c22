"""Settings from the environment."""

from __future__ import annotations

import pytest

from poolhouse.pipeline.config import settings
from poolhouse.pipeline.errors import ConfigError


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p-12345")
    monkeypatch.setenv("BUCKET_NAME", "bucket")


def test_handlers_are_named_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_HANDLERS", "worker.handlers, mine ,")
    assert settings.load().handlers == ("worker.handlers", "mine")


def test_every_missing_or_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(ConfigError) as caught:
        settings.load()
    assert "GOOGLE_CLOUD_PROJECT: Field required" in str(caught.value)
    assert "LOG_LEVEL: Input should be 'DEBUG', 'INFO'" in str(caught.value)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "")
    assert settings.load().log_level == "INFO"


@pytest.mark.parametrize("written", ["debug", "Debug", "DEBUG"])
def test_a_log_level_is_understood_in_any_case(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("LOG_LEVEL", written)
    assert settings.load(google_cloud_project="p", bucket_name="bucket").log_level == "DEBUG"


@pytest.mark.parametrize("name", ["My Bucket", "UPPER", "-dash", "dash-", "a/b", "é-bucket"])
def test_a_name_that_no_bucket_can_have_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ConfigError, match=r"BUCKET_NAME: .* is no bucket name: lower-case letters"):
        settings.load(google_cloud_project="p", bucket_name=name)
