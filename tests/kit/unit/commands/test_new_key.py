"""`invoke new-key`: what it prints is what pipeline.toml takes."""

from __future__ import annotations

import pytest

from poolhouse.commands.project import new_key
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.api_access import digest
from poolhouse.pipeline.errors import ConfigError


def test_the_key_goes_to_standard_output_and_its_table_fits_into_pipeline_toml(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert new_key.run("partner-1", may="read, submit", per_minute=60, per_day=5_000) == 0
    out, err = capsys.readouterr()
    key = out.strip()
    assert key.startswith("phk_partner-1_")
    assert len(key) > 40
    assert key not in err
    table = err.partition("\n\n")[0]
    declared = topology.parse(f'[queues.a]\n[deploy]\npublic = "keys"\n{table}')
    (made,) = declared.deploy.keys.values()
    assert (made.sha256, made.may) == (digest(key), ("read", "submit"))
    assert (made.per_minute, made.per_day) == (60, 5_000)


def test_no_two_keys_are_alike(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        new_key.run("shop")
    assert len(set(capsys.readouterr().out.split())) == 2


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("Shop", {}, "'Shop' can't name a key"),
        ("shop", {"may": "write"}, "--may 'write': a key may read, submit, operate"),
        ("shop", {"per_minute": -1}, "--per-minute -1: Input should be greater than or equal to 1"),
        ("shop", {"per_minute": 1, "per_day": 10**12}, "--per-day 1000000000000: Input should be less than or equal"),
    ],
)
def test_what_can_not_be_is_named(name: str, options: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        new_key.run(name, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("public = true", r"pipeline.toml:3: deploy.public: Input should be 'none', 'keys'"),
        ('public = "keys"', 'deploy: public = "keys" lets nobody in without keys'),
        ("anonymous_per_minute = 60", 'set public = "keys", or leave them out'),
        ("anonymous_per_day = 60", 'set public = "keys", or leave them out'),
        ('public = "read"\nanonymous_per_day = 0', r"pipeline.toml:4: deploy.anonymous_per_day: "),
        (
            'public = "read"\n[deploy.keys.a]\nsha256 = "12"\nmay = ["read"]',
            "deploy.keys.a.sha256: 64 hexadecimal digits",
        ),
        ('public = "read"\nregion = "here"', "deploy.region: a region, such as europe-west1"),
        (f'public = "read"\n[deploy.keys.a]\nsha256 = "{"0" * 64}"\nmay = []', "deploy.keys.a.may: "),
        (
            f'public = "read"\n[deploy.keys.a]\nscope = "x"\nsha256 = "{"0" * 64}"\nmay = ["read"]',
            r"allowed: sha256, may",
        ),
        (
            "public = 'read'\n" + "\n".join(f'[deploy.keys.{n}]\nsha256 = "{"0" * 64}"\nmay = ["read"]' for n in "ab"),
            "two keys have the same sha256",
        ),
    ],
)
def test_a_declaration_that_can_not_be_is_refused_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        topology.parse(f"[queues.a]\n[deploy]\n{text}")


def test_a_stage_has_keys_of_its_own_beside_those_of_all() -> None:
    keys = "\n".join(
        f'[{place}.keys.{name}]\nsha256 = "{name * 64}"\nmay = ["read"]'
        for place, name in (("deploy", "a"), ("stages.prod.deploy", "b"))
    )
    text = f'[queues.a]\n[deploy]\npublic = "read"\n{keys}'
    assert set(topology.parse(text).deploy.keys) == {"a"}
    assert set(topology.parse(text, stage="prod").deploy.keys) == {"a", "b"}
