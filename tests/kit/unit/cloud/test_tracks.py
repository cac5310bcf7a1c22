from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud.release_tracks import choose, completion_table, from_table


def table(*commands: tuple[str, tuple[str, ...]]) -> dict[str, object]:
    tree: dict[str, object] = {"commands": {}, "flags": {}}
    for words, flags in commands:
        node = tree
        for word in words.split():
            node = node["commands"].setdefault(word, {"commands": {}, "flags": {}})  # type: ignore[attr-defined]
        node["flags"] = {f"--{flag}": "value" for flag in flags}
    return tree


def test_an_older_gcloud_has_beta_pools_and_alpha_policies() -> None:
    tracks = choose(
        from_table(
            table(
                ("beta run worker-pools replace", ("async",)),
                ("beta run worker-pools update", ("scaling",)),
                ("alpha run worker-pools replace", ("async",)),
                ("alpha monitoring policies create", ("policy-from-file",)),
                ("beta services identity create", ("service",)),
                ("beta monitoring channels list", ("filter",)),
            )
        )
    )
    assert tracks.worker_pools == ("beta", "run", "worker-pools")
    assert tracks.instances_flag == "scaling"
    assert tracks.policies == ("alpha", "monitoring", "policies")


def test_a_newer_gcloud_has_both_released_with_the_newer_flag() -> None:
    tracks = choose(
        from_table(
            table(
                ("run worker-pools replace", ("async",)),
                ("run worker-pools update", ("instances", "scaling")),
                ("beta run worker-pools replace", ("async",)),
                ("monitoring policies create", ("policy-from-file",)),
                ("services identity create", ("service",)),
                ("monitoring channels list", ("filter",)),
            )
        )
    )
    assert tracks.worker_pools == ("run", "worker-pools")
    assert tracks.identity == ("services", "identity")
    assert tracks.instances_flag == "instances"
    assert tracks.policies == ("monitoring", "policies")


def test_a_gcloud_without_worker_pools_is_reported() -> None:
    with pytest.raises(CloudError, match="no `gcloud run worker-pools replace` in any track"):
        choose(from_table(table(("monitoring policies create", ("policy-from-file",)))))


@pytest.mark.parametrize("write", [json.dumps, repr], ids=["JSON", "Python"])
def test_the_table_of_an_installation_is_read_in_either_form(write: Callable[[object], str], tmp_path: Path) -> None:
    tree = table(("run worker-pools deploy", ("instances",)))
    program = tmp_path / "bin" / "gcloud"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert completion_table(str(program)) is None
    file = tmp_path / "data" / "cli" / "gcloud_completions.py"
    file.parent.mkdir(parents=True)
    file.write_text(f"# -*- coding: utf-8 -*- #\n# A comment with = {{ in it.\n\nTABLE = {write(tree)}\n")
    assert completion_table(str(program)) == tree
