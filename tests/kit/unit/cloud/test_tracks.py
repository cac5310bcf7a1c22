from __future__ import annotations

import pytest

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud.release_tracks import choose, from_table


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
                ("beta run worker-pools deploy", ("scaling", "image")),
                ("alpha run worker-pools deploy", ("scaling",)),
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
                ("run worker-pools deploy", ("instances", "scaling")),
                ("beta run worker-pools deploy", ("scaling",)),
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
    with pytest.raises(CloudError, match="no `gcloud run worker-pools deploy` in any track"):
        choose(from_table(table(("monitoring policies create", ("policy-from-file",)))))
