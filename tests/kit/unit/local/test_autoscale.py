"""What `invoke up --autoscale` decides for each queue, and shows."""

from __future__ import annotations

from poolhouse.local.backend import QueueScale
from poolhouse.local.embedded.autoscale import Autoscale
from poolhouse.pipeline.config.scaling import SCALE_DOWN_WINDOW_S
from poolhouse.pipeline.config.topology import parse

QUEUES = parse(
    "[queues.mail.workers]\nmin_instances = 1\nmax_instances = 4\ntarget_backlog = 10\n"
    "[queues.bulk.workers]\nmin_instances = 0\nmax_instances = 9\ntarget_backlog = 100"
).queues


def test_each_queue_is_scaled_by_its_own_backlog_within_its_own_bounds() -> None:
    scale = Autoscale(QUEUES)
    assert scale.decide(0, queue="mail", backlog=1000, current=1) == 4
    assert scale.decide(0, queue="bulk", backlog=1000, current=0) == 9
    assert scale.decide(0, queue="bulk", backlog=200, current=0) == 2


def test_an_unknown_backlog_changes_nothing() -> None:
    scale = Autoscale(QUEUES)
    assert scale.decide(0, queue="mail", backlog=30, current=1) == 3
    assert scale.decide(1, queue="mail", backlog=None, current=2) == 2
    [mail, _] = scale.figures({"mail": 2, "bulk": 0})
    assert (mail.backlog, mail.wanted) == (None, 3)


def test_instances_go_as_late_as_on_cloud_run_unless_told_otherwise() -> None:
    deployed, quick = Autoscale(QUEUES), Autoscale(QUEUES, window_s=5)
    for scale in (deployed, quick):
        assert scale.decide(0, queue="mail", backlog=40, current=4) == 4
    assert [scale.decide(6, queue="mail", backlog=0, current=4) for scale in (deployed, quick)] == [4, 1]
    assert deployed.decide(SCALE_DOWN_WINDOW_S + 1, queue="mail", backlog=0, current=4) == 1


def test_status_shows_what_was_seen_is_wanted_and_allowed() -> None:
    scale = Autoscale(QUEUES)
    scale.decide(0, queue="bulk", backlog=300, current=0)
    assert scale.figures({"mail": 1, "bulk": 2}) == (
        QueueScale(queue="mail", backlog=None, running=1, wanted=1, least=1, most=4),
        QueueScale(queue="bulk", backlog=300, running=2, wanted=3, least=0, most=9),
    )
