"""A canary: which shares it has, what is counted of it, when it goes back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from poolhouse.cloud.canary import parts, planning
from poolhouse.cloud.canary.decision import Verdict, by_chance, conclude, judge
from poolhouse.cloud.canary.outcomes import LINES, Outcomes, count
from poolhouse.cloud.canary.parts import Part
from poolhouse.cloud.canary.watch import Clock, Comparison, watch
from poolhouse.cloud.kinds.shares import Canary
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan import desired
from poolhouse.cloud.plan.planner import Action, plan
from poolhouse.cloud.resource import Command, Json, Read, Resource
from poolhouse.commands import cloud
from poolhouse.pipeline.config.topology import Topology, parse
from poolhouse.pipeline.errors import ConfigError
from tests.kit.unit.cloud.conftest import NUMBER, OLD, PIPELINE, TAG
from tests.kit.unit.cloud.test_catalogue import by_id
from tests.kit.unit.worker.conftest import Engine, engine

__all__ = ["engine"]

OPTIONS = Options(project="some-project", name="shop")
API = Part(kind="service", name="shop-api", new="shop-api-2", old="shop-api-1", percent=10)
MAIL = Part(kind="pool", name="shop-mail", new="shop-mail-2", old="shop-mail-1", percent=50)
START = datetime(2026, 11, 29, 12, tzinfo=UTC)


def outcomes(failed: int, ended: int) -> Outcomes:
    return Outcomes(failed=failed, ended=ended)


class TestDecision:
    @pytest.mark.parametrize(
        ("new", "old", "verdict"),
        [
            ((0, 40), (0, 360), "good"),
            ((3, 20), (0, 180), "good"),  # one chance in 1,150
            ((4, 20), (0, 180), "worse"),  # one in 13,000
            ((10, 10), (0, 90), "few"),  # ten requests are not judged, whatever they say
            ((20, 20), (0, 180), "worse"),
            ((20, 40), (180, 360), "good"),  # as bad as before
            ((0, 19), (0, 360), "few"),
            ((20, 20), (0, 0), "few"),  # nothing to compare it with
            ((19, 1000), (10, 1000), "good"),  # less than a hundredth more
            ((1000, 1000), (0, 1000), "worse"),
            ((0, 0), (0, 179), "few"),
            ((0, 0), (0, 180), "silent"),  # it should have had 20
        ],
    )
    def test_a_release_is_worse_if_its_error_rate_is_higher_by_more_than_chance(
        self, new: tuple[int, int], old: tuple[int, int], verdict: Verdict
    ) -> None:
        assert judge(outcomes(*new), outcomes(*old), percent=10) == verdict

    def test_the_probability_is_that_of_fishers_exact_test(self) -> None:
        # The lady tasting tea, all eight cups right: 1 in 70 (Fisher, The Design of Experiments).
        assert by_chance(outcomes(4, 4), outcomes(0, 4)) == pytest.approx(1 / 70)
        assert by_chance(outcomes(0, 4), outcomes(4, 4)) == 1

    @pytest.mark.parametrize(
        ("verdicts", "conclusion"),
        [
            (["good", "few"], "promote"),
            (["good", "worse"], "take back"),
            (["good", "silent"], "take back"),
            (["few", "few"], "stay"),
            ([], "stay"),
        ],
    )
    def test_one_bad_part_is_enough_to_go_back_and_one_good_one_to_go_on(
        self, verdicts: list[Verdict], conclusion: str
    ) -> None:
        assert conclude(verdicts) == conclusion


def line(revision: str, **payload: object) -> Json:
    return {"resource": {"labels": {"revision_name": revision}}, "jsonPayload": payload}


class TestOutcomes:
    def test_calls_that_the_api_fails_and_attempts_that_fail_are_counted(self) -> None:
        entries = [
            *(line("shop-api-2", message="request", status=status) for status in (202, 404, 500, 503.0)),
            *(
                line("shop-mail-2", message="task ended", outcome=outcome)
                for outcome in ("succeeded", "retried", "failed", "dead", "cancelled", "stopped", "lost")
            ),
        ]
        assert count(entries) == {"shop-api-2": outcomes(2, 4), "shop-mail-2": outcomes(3, 4)}
        assert count(None) == {}

    def test_the_lines_of_workers_are_those_that_are_counted(self, engine: Engine) -> None:
        with capture_logs() as lines:
            engine.attempts.process(engine.task("echo", "t-1"))
            engine.attempts.process(engine.task("no_such_type", "t-2"))
        ended = [line("r", **entry) for entry in lines if entry["event"] == "task ended"]
        assert count(ended)["r"].ended == len(ended) > 0


class Log:
    """Cloud Logging, and a clock that moves as it is waited for."""

    def __init__(self, *looks: dict[str, Outcomes]) -> None:
        """Args: looks: the outcomes that each look finds."""
        self.looks, self.now, self.waits, self.asked = list(looks), START, list[float](), list[Read]()

    def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Json]:
        self.asked += reads
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return {read.arguments: [*self.entries(read.arguments[2], found)] for read in reads}

    def entries(self, condition: str, found: dict[str, Outcomes]) -> list[Json]:
        return [
            line(revision, status=500 if number < seen.failed else 200)
            for revision, seen in found.items()
            if f'"{revision}"' in condition
            for number in range(seen.ended)
        ]

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += timedelta(seconds=seconds)

    def watch(self, *watched: Part, length_s: float = 70) -> tuple[Comparison, ...]:
        clock = Clock(now=lambda: self.now, sleep=self.sleep)
        return watch(self, watched, length_s=length_s, clock=clock, say=lambda text: None)  # type: ignore[arg-type]


class TestWatch:
    def test_it_lasts_as_long_as_it_was_told_to_and_compares_part_by_part(self) -> None:
        log = Log({"shop-api-2": outcomes(0, 30), "shop-api-1": outcomes(1, 270), "shop-mail-1": outcomes(0, 5)})
        found = log.watch(API, MAIL)
        assert log.waits == [30, 30, 10]
        assert [str(comparison) for comparison in found] == [
            "shop-api: new 0 of 30 failed (0.0%), old 1 of 270 failed (0.4%)",
            "shop-mail: new 0 of 0 failed (0.0%), old 0 of 5 failed (0.0%); too few to judge",
        ]

    def test_it_ends_at_the_first_look_at_which_a_part_is_worse(self) -> None:
        good = {"shop-api-2": outcomes(0, 20), "shop-api-1": outcomes(0, 180)}
        log = Log(good, {**good, "shop-api-2": outcomes(9, 40)})
        (found,) = log.watch(API, length_s=600)
        assert log.waits == [30, 30]
        assert found.verdict == "worse"

    def test_each_release_is_asked_for_by_itself_and_only_since_the_watch_began(self) -> None:
        log = Log({})
        log.watch(API, MAIL, length_s=1)
        assert [read.arguments[2:] for read in log.asked] == [
            (
                f'resource.labels.revision_name=("{name}") AND jsonPayload.message="{message}" '
                'AND timestamp>="2026-11-29T12:00:00Z"',
                f"--limit={LINES}",
                "--order=desc",
            )
            for name, message in (
                ("shop-api-2", "request"),
                ("shop-api-1", "request"),
                ("shop-mail-2", "task ended"),
                ("shop-mail-1", "task ended"),
            )
        ]


def item(name: str, *, shares: list[Json], newest: str, kind: str = "traffic", image: str = "old@sha256:1") -> Json:
    """A service or pool as a listing shows it; all but shares and labels is as no deploy would leave it."""
    return {
        "metadata": {"name": name, "labels": {"poolhouse": "shop"}},
        "spec": {kind: shares, "template": {"spec": {"containers": [{"image": image}]}}},
        "status": {"latestReadyRevisionName": newest},
    }


LATEST = [{"latestRevision": True, "percent": 100}]
DIVIDED = [{"revisionName": "shop-api-1", "percent": 90}, {"latestRevision": True, "percent": 10}]


def resources(topology: Topology, canaries: dict[str, Canary] | None = None) -> tuple[Resource, ...]:
    return desired.resources(
        topology, options=OPTIONS, tracks=OLD, project_number=NUMBER, tag=TAG, image="new@sha256:2", canaries=canaries
    )


def snapshot(topology: Topology, *, service: Json, pool: Json) -> dict[tuple[str, ...], Json]:
    wanted = resources(topology)
    return {
        by_id(wanted, "service/shop-api").read.arguments: [service],
        by_id(wanted, "pool/shop-mail").read.arguments: [pool],
    }


def words(action: Action) -> list[tuple[str, ...]]:
    """The verb of each command of an action, and the flags that divide."""
    dividing = ("--no-traffic", "--no-promote", "--to-revisions", "--to-latest", "--scaling")
    return [
        tuple(
            word
            for word in command.arguments
            if word in {"deploy", *dividing} or word.startswith(("update-", *dividing))
        )
        for command in action.commands
    ]


class TestPlan:
    def carried_out(self, topology: Topology, *, service: Json, pool: Json) -> dict[str, list[tuple[str, ...]]]:
        """The commands of a canary of 10 %, by their resource."""
        there = snapshot(topology, service=service, pool=pool)
        at_once = plan(resources(topology), there)
        found = planning.canaries(at_once, there, percent=10, options=OPTIONS)
        actions = plan(resources(topology, dict(found)), there).work
        return {action.resource.id: words(action) for action in actions if action.resource.id in found}

    def test_the_new_revision_is_deployed_without_a_share_and_then_gets_one(self, topology: Topology) -> None:
        found = self.carried_out(
            topology,
            service=item("shop-api", shares=LATEST, newest="shop-api-1"),
            pool=item("shop-mail", shares=LATEST, newest="shop-mail-1", kind="instanceSplits"),
        )
        assert found == {
            "service/shop-api": [
                ("deploy", "--no-traffic"),
                ("update-traffic", "--to-revisions=LATEST=10,shop-api-1=90"),
            ],
            # A pool of one instance: one more, of which the new revision has half.
            "pool/shop-mail": [
                ("deploy", "--scaling=2", "--no-promote"),
                ("update-instance-split", "--to-revisions=LATEST=50,shop-mail-1=50"),
            ],
        }

    @pytest.mark.parametrize(
        "shares",
        [DIVIDED, [{"revisionName": "shop-api-1", "percent": 100}]],
        ids=["a canary that was interrupted", "one that was taken back"],
    )
    def test_the_next_canary_is_compared_with_the_same_release(self, topology: Topology, shares: list[Json]) -> None:
        found = self.carried_out(
            topology,
            service=item("shop-api", shares=shares, newest="shop-api-2"),
            pool=item("shop-mail", shares=LATEST, newest="shop-mail-1", kind="instanceSplits"),
        )
        assert found["service/shop-api"][-1] == ("update-traffic", "--to-revisions=LATEST=10,shop-api-1=90")

    def test_a_large_pool_keeps_the_share_and_one_that_is_scaled_its_size(self) -> None:
        canary = {"pool/shop-mail": Canary(percent=10, stable="shop-mail-1")}
        large = parse(PIPELINE.replace("min_instances = 0\nmax_instances = 3", "min_instances = 9\nmax_instances = 20"))
        pool = by_id(resources(large, canary), "pool/shop-mail")
        assert (pool.wanted["instances"], pool.wanted["split"]) == (10, "90% shop-mail-1, 10% newest revision")
        scaled = desired.resources(
            large, options=Options(project="some-project", name="shop", autoscale=True), tracks=OLD,
            project_number=NUMBER, tag=TAG, image="new@sha256:2", canaries=canary,
        )  # fmt: skip
        assert "instances" not in by_id(scaled, "pool/shop-mail").wanted

    def test_a_first_deploy_and_a_pool_that_only_changes_its_size_have_none(self, topology: Topology) -> None:
        first = plan(resources(topology), {})
        assert planning.canaries(first, {}, percent=10, options=OPTIONS) == {}

    def test_jobs_that_are_there_wait_for_the_end(self, topology: Topology) -> None:
        jobs = by_id(resources(topology), "job/shop-dead-letters").read.arguments
        task = {"template": {"spec": {"template": {"spec": {"containers": [{"image": "old@sha256:1"}]}}}}}
        there = {jobs: [{"metadata": {"name": "shop-dead-letters"}, "spec": task}]}
        whole = plan(resources(topology), there)
        first = planning.first_step(whole)
        left_out = [action.resource.id for action in whole.actions if action not in first.actions]
        assert left_out == ["job/shop-dead-letters"]


class Gcloud:
    """A project with a canary of the API and of one pool, and what is run in it."""

    program = "gcloud"

    def __init__(self) -> None:
        """Begin with nothing run."""
        self.commands = list[Command]()

    def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Json]:
        pool = [{"revisionName": "shop-mail-1", "percent": 50}, {"latestRevision": True, "percent": 50}]
        listed = {
            "services": [item("shop-api", shares=DIVIDED, newest="shop-api-2")],
            "worker-pools": [item("shop-mail", shares=pool, newest="shop-mail-2", kind="instanceSplits")],
        }
        return {read.arguments: next(listed[word] for word in read.arguments if word in listed) for read in reads}

    def run(self, command: Command, **_: Any) -> str:
        self.commands.append(command)
        return ""


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
        monkeypatch.setattr(cloud.release_tracks, "installed", lambda gcloud: OLD)
        assert cloud.rollback(project="some-project", dry_run=True) == 0
        assert gcloud.commands == []
        assert "service shop-api: 10% of shop-api-2 back to shop-api-1" in capsys.readouterr().out
        assert cloud.rollback(project="some-project", yes=True) == 0
        pools = ("beta", "run", "worker-pools")
        assert [command.arguments for command in gcloud.commands] == [
            ("run", "services", "update-traffic", "shop-api", "--region=europe-west1", "--to-revisions=shop-api-1=100"),
            (*pools, "update-instance-split", "shop-mail", "--region=europe-west1", "--to-revisions=shop-mail-1=100"),
            (*pools, "update", "shop-mail", "--region=europe-west1", "--scaling=1"),
        ]

    @pytest.mark.parametrize(
        ("choices", "words"),
        [
            ({"canary": 100}, "from 1 to 99"),
            ({"canary": -1}, "from 1 to 99"),
            ({"watch": "10m"}, "--canary 10"),
            ({"canary": 10, "watch": "soon"}, "--watch 'soon'"),
            ({"canary": 10, "watch": "0s"}, "for some time"),
        ],
    )
    def test_a_share_or_a_time_that_makes_no_sense_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, choices: dict[str, Any], words: str
    ) -> None:
        monkeypatch.setattr(cloud, "Gcloud", lambda project, env: None)
        with pytest.raises(ConfigError, match=words):
            cloud.run_deploy(project="some-project", **choices)
