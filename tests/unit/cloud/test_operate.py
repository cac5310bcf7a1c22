from __future__ import annotations

from typing import Any

from cloud.operate import log_filter, log_line, log_lines
from cloud.options import Options
from cloud.resource import Read

OPTIONS = Options(project="some-project", name="shop")


def entry(number: int) -> dict[str, Any]:
    return {
        "insertId": str(number),
        "timestamp": f"2026-11-24T10:00:{number:02}Z",
        "severity": "INFO",
        "resource": {"labels": {"worker_pool_name": "shop-mail"}},
        "jsonPayload": {"message": f"line {number}", "task_id": "abc", "time": "x"},
    }


def test_a_line_has_time_severity_place_message_and_fields() -> None:
    assert log_line(entry(1)).split() == ["2026-11-24T10:00:01", "INFO", "shop-mail", "line", "1", 'task_id="abc"']
    assert log_line({"textPayload": "plain"}).strip() == "plain"


def test_the_filter_is_for_one_service_or_all_of_the_pipeline() -> None:
    assert 'resource.labels.job_name:"shop-"' in log_filter(OPTIONS)
    assert 'resource.labels.service_name="shop-api"' in log_filter(OPTIONS, service="shop-api")
    assert 'timestamp>="2026"' in log_filter(OPTIONS, since="2026")


def test_following_shows_each_line_once_and_asks_from_the_last_one_on() -> None:
    class FakeGcloud:
        reads: list[str] = []  # noqa: RUF012 - one instance

        def read(self, read: Read) -> Any:
            self.reads.append(read.words[2])
            return [entry(2), entry(1)] if len(self.reads) == 1 else [entry(3), entry(2)]

    gcloud = FakeGcloud()
    lines = log_lines(gcloud, options=OPTIONS, follow=True, sleep=lambda seconds: None)  # type: ignore[arg-type]
    assert [next(lines).split()[4] for _ in range(3)] == ["1", "2", "3"]
    assert "timestamp" not in gcloud.reads[0]
    assert 'timestamp>="2026-11-24T10:00:02Z"' in gcloud.reads[1]
