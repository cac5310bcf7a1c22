"""A canary from its deploy to its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from poolhouse.cloud.canary import parts, rollout
from poolhouse.cloud.canary.watch import Clock
from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.gcloud import release_tracks
from poolhouse.cloud.kinds.shares import Canary
from poolhouse.cloud.resource import Json, Read
from poolhouse.commands import cloud
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError
from tests.kit.unit.cloud.canary.scene import API, LATEST, MAIL, OPTIONS, Gcloud, Log, item, outcomes
from tests.kit.unit.cloud.conftest import OLD, PIPELINE, TAG


class Rollout(Gcloud):
    """The same project, with a log."""

    def __init__(self, log: Log) -> None:
        """Args: log: what is found in Cloud Logging."""
        super().__init__()
        self.log, self.deploys = log, list[dict[str, Any]]()

    def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Json]:
        return self.log.read_all(reads) if "logging" in reads[0].arguments else super().read_all(reads)

    def deploy(self, *_: Any, **choices: Any) -> SimpleNamespace:
        self.deploys.append(choices)
        return SimpleNamespace(canaries={"service/shop-api": Canary(percent=10, stable="shop-api-1")}, tag=TAG)

    def run_to_its_end(self, topology: Topology, monkeypatch: pytest.MonkeyPatch, *, dry_run: bool = False) -> str:
        said = list[str]()
        monkeypatch.setattr(rollout, "deploy", self.deploy)
        monkeypatch.setattr(release_tracks, "installed", lambda gcloud: OLD)
        rollout.roll_out(
            self,  # type: ignore[arg-type]
            topology,
            options=OPTIONS,
            root=Path(),
            percent=10,
            watch_s=30,
            dry_run=dry_run,
            prune=True,
            ask=lambda question: True,
            say=said.append,
            clock=Clock(now=lambda: self.log.now, sleep=self.log.sleep),
        )
        return "\n".join(said)


class TestRollout:
    def test_a_good_release_is_promoted_by_its_tag_whatever_became_of_the_sources(
        self, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gcloud = Rollout(Log({"shop-api-2": outcomes(0, 20), "shop-api-1": outcomes(0, 180)}))
        assert "No part is worse" in gcloud.run_to_its_end(topology, monkeypatch)
        first, last = gcloud.deploys
        assert (first["canary"], first.get("release")) == (10, None)
        assert (last.get("canary"), last["release"], last["prune"]) == (None, TAG, True)
        assert gcloud.commands == []

    def test_a_dry_run_shows_the_first_step_and_says_what_follows(
        self, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gcloud = Rollout(Log({}))
        assert "Then both releases are watched for 30 s" in gcloud.run_to_its_end(topology, monkeypatch, dry_run=True)
        (only,) = gcloud.deploys
        assert (only["canary"], only["dry_run"]) == (10, True)
        assert gcloud.commands == []

    def test_a_worse_one_is_taken_back_from_every_part(
        self, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gcloud = Rollout(Log({"shop-mail-2": outcomes(20, 20), "shop-mail-1": outcomes(0, 20)}))
        with pytest.raises(CloudError, match=r"taken back.*\n  shop-mail: new 20 of 20 failed.*\n.*invoke logs"):
            gcloud.run_to_its_end(topology, monkeypatch)
        assert len(gcloud.commands) == 3
        assert len(gcloud.deploys) == 1

    def test_one_that_nothing_is_known_of_keeps_its_share(
        self, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gcloud = Rollout(Log({"shop-api-2": outcomes(0, 3)}))
        with pytest.raises(CloudError, match=r"20 requests or attempts.*\nThe new release keeps its share"):
            gcloud.run_to_its_end(topology, monkeypatch)
        assert (gcloud.commands, len(gcloud.deploys)) == ([], 1)

    def test_so_does_one_whose_log_can_not_be_read(self, topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
        class Closed(Log):
            def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Json]:
                raise GcloudFailed("logging read", "PERMISSION_DENIED")

        gcloud = Rollout(Closed({}))
        with pytest.raises(CloudError, match=r"(?s)PERMISSION_DENIED.*keeps its share"):
            gcloud.run_to_its_end(topology, monkeypatch)
        assert (gcloud.commands, len(gcloud.deploys)) == ([], 1)

    def test_what_another_deploy_has_changed_meanwhile_is_left_as_it_is(
        self, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gcloud = Rollout(Log({"shop-api-2": outcomes(20, 20), "shop-api-1": outcomes(0, 180)}))
        listed = [(API, MAIL), (API,)]
        monkeypatch.setattr(parts, "read", lambda *_, **__: listed.pop(0))
        with pytest.raises(CloudError, match="changed elsewhere"):
            gcloud.run_to_its_end(topology, monkeypatch)
        assert gcloud.commands == []


class TestBack:
    def test_what_runs_two_releases_is_found(self) -> None:
        divided = parts.read(Gcloud(), options=OPTIONS, tracks=OLD)  # type: ignore[arg-type]
        assert divided == (API, MAIL)
        whole = [item("shop-api", shares=LATEST, newest="shop-api-2")]
        assert parts.parse(whole, None, options=OPTIONS) == ()
        pinned = [item("shop-api", shares=[{"revisionName": "shop-api-1", "percent": 100}], newest="shop-api-2")]
        assert parts.parse(pinned, None, options=OPTIONS) == ()

    def test_rollback_ends_a_canary(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gcloud = Gcloud()
        (tmp_path / "pipeline.toml").write_text(PIPELINE)
        monkeypatch.setattr(cloud, "ROOT", tmp_path)
        monkeypatch.setattr(cloud, "Gcloud", lambda project: gcloud)
        monkeypatch.setattr(release_tracks, "installed", lambda gcloud: OLD)
        assert cloud.rollback(project="some-project", dry_run=True) == 0
        assert gcloud.commands == []
        shown = capsys.readouterr().out
        assert "traffic: 90% shop-api-1, 10% newest revision -> 100% shop-api-1" in shown
        assert "split: 50% shop-mail-1, 50% newest revision -> 100% shop-mail-1" in shown
        assert cloud.rollback(project="some-project", yes=True) == 0
        pools = ("beta", "run", "worker-pools")
        assert sorted(command.arguments for command in gcloud.commands) == [
            (*pools, "update", "shop-mail", "--region=europe-west1", "--scaling=1"),
            (*pools, "update-instance-split", "shop-mail", "--region=europe-west1", "--to-revisions=shop-mail-1=100"),
            ("run", "services", "update-traffic", "shop-api", "--region=europe-west1", "--to-revisions=shop-api-1=100"),
        ]

    @pytest.mark.parametrize(
        ("choices", "words"),
        [
            ({"canary": "100"}, "from 1 to 99"),
            ({"canary": "-1"}, "from 1 to 99"),
            ({"canary": "all"}, "from 1 to 99"),
            ({"watch": "10m"}, "--canary 10"),
            ({"canary": "0", "watch": "10m"}, "--canary 10"),
            ({"canary": "10", "watch": "soon"}, "--watch 'soon'"),
            ({"canary": "10", "watch": "0s"}, "for some time"),
        ],
    )
    def test_a_share_or_a_time_that_makes_no_sense_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, choices: dict[str, Any], words: str
    ) -> None:
        monkeypatch.setattr(cloud, "Gcloud", lambda project, env: None)
        with pytest.raises(ConfigError, match=words):
            cloud.run_deploy(project="some-project", **choices)
