"""What is counted of a canary, how often and how long."""

from __future__ import annotations

from structlog.testing import capture_logs

from poolhouse.cloud.canary.outcomes import LINES, count
from tests.kit.unit.cloud.canary.scene import API, MAIL, Log, line, outcomes
from tests.kit.unit.worker.conftest import Engine, engine

__all__ = ["engine"]


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
