"""`invoke quotas`."""

from __future__ import annotations

import json

import pytest

from poolhouse.commands.tasks import quotas
from poolhouse.pipeline import names
from poolhouse.pipeline.config.api_access import ApiAccess, ApiKey
from tests.kit.unit.commands.conftest import Screen, Served


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that has two quotas; `served` starts after it."""
    shop = ApiKey(sha256="0" * 64, may=("submit",), per_day=5_000)
    access = ApiAccess(anonymous="operate", anonymous_per_day=100, keys={"shop": shop})
    monkeypatch.setenv("API_ACCESS", access.model_dump_json())


@pytest.mark.usefixtures("declared")
def test_quotas_are_listed_with_what_is_used_of_them_today(request: pytest.FixtureRequest, screen: Screen) -> None:
    served: Served = request.getfixturevalue("served")
    name = names.quota(f"{served.clock():%Y-%m-%d}", "key shop", "a")
    served.store.put(name, b"{}", metadata={"used": "1234", "reserved": "1300"})
    assert quotas.show(served.api, terminal=screen.terminal) == 0
    assert screen.rows[0][:5] == ["caller", "used", "on", "2026-03-01", "(UTC)"]
    assert screen.rows[2] == ["key", "shop", "1,234", "of", "5,000", "66", "3,766"]
    assert quotas.show(served.api, as_json=True, terminal=(lines := Screen()).terminal) == 0
    assert json.loads(lines.out.getvalue().splitlines()[1]) == {
        "day": "2026-03-01",
        "caller": "key shop",
        "per_day": 5_000,
        "used": 1_234,
        "reserved": 66,
    }


def test_without_quotas_the_declaration_is_named(served: Served, screen: Screen) -> None:
    assert quotas.show(served.api, terminal=screen.terminal) == 0
    assert "per_day under [deploy.keys.NAME]" in screen.said


def test_shared_rates_are_listed_with_what_is_used_in_this_minute(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, screen: Screen
) -> None:
    shop = ApiKey(sha256="0" * 64, may=("submit",), per_minute=60)
    monkeypatch.setenv(
        "API_ACCESS", ApiAccess(anonymous="operate", share_rates=True, keys={"shop": shop}).model_dump_json()
    )
    served: Served = request.getfixturevalue("served")
    name = names.quota(f"{served.clock():%Y-%m-%dT%H%M}", "key shop", "a")
    served.store.put(name, b"{}", metadata={"used": "12", "reserved": "15"})
    assert quotas.show(served.api, terminal=screen.terminal) == 0
    assert screen.rows[1] == ["key", "shop", "12", "of", "60", "3", "48"]
