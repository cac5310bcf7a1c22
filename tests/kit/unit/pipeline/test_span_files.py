"""The files that all processes of a local stack append their spans to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.pipeline.traces import span_files
from poolhouse.pipeline.traces.span_files import SpanFiles
from poolhouse.pipeline.traces.spans import LONGEST_LINE, MOST_ATTRIBUTES, MOST_CHARACTERS, Event, InvalidSpan, Span
from tests.kit.unit.local.console.task.recorded import TRACE, span


def lines(folder: Path) -> list[Path]:
    return sorted(folder.glob("spans*"))


def test_spans_of_all_processes_are_read_by_the_task_of_their_trace(tmp_path: Path) -> None:
    first = span(1, name="submit", task_id="a", events=(Event(name="exception", attributes={"why": "é\ud800"[:1]}),))
    below = span(2, parent=1, name="storage put", start=1)
    other = span(3, name="submit", task_id="b", trace="b" * 32)
    SpanFiles(tmp_path / "traces").append([below, other])
    SpanFiles(tmp_path / "traces").append([first])
    files = SpanFiles(tmp_path / "traces")
    assert files.of_task("a") == [first, below]
    assert files.of_task("b") == [other]
    # The name of an object has the id too, and is no task.
    assert files.of_task("storage put") == []


def test_nothing_is_made_before_there_is_a_span(tmp_path: Path) -> None:
    files = SpanFiles(tmp_path / "traces")
    assert files.of_task("a") == []
    assert not files.exist
    assert list(tmp_path.iterdir()) == []
    files.append([span(1, task_id="a")])
    assert files.exist


def test_the_files_never_grow_beyond_their_limit_and_lose_the_oldest_spans(tmp_path: Path) -> None:
    size = len(span(1, task_id="t0001").line())
    files = SpanFiles(tmp_path, most_bytes=10 * size)
    for number in range(50):
        files.append([span(number + 1, task_id=f"t{number:04}", trace=f"{number + 1:032x}")])
        assert sum(path.stat().st_size for path in lines(tmp_path)) <= 10 * size
    found = [number for number in range(50) if files.of_task(f"t{number:04}")]
    assert found == list(range(found[0], 50))
    assert len(found) >= 4


def test_one_batch_that_is_larger_than_a_file_is_spread(tmp_path: Path) -> None:
    size = len(span(1, task_id="t").line())
    files = SpanFiles(tmp_path, most_bytes=10 * size)
    files.append([span(number, task_id="t") for number in range(1, 100)])
    assert sum(path.stat().st_size for path in lines(tmp_path)) <= 10 * size
    assert [each.span_id for each in files.of_task("t")][-1] == f"{99:016x}"


def test_lines_that_are_no_spans_and_one_that_is_being_written_are_passed_over(tmp_path: Path) -> None:
    files = SpanFiles(tmp_path)
    good = span(1, task_id="a")
    files.append([good])
    text = good.line().decode()
    hostile = [
        "",
        '"a"',
        '["a"]',
        '{"a": "a"}',
        text.replace(TRACE, "no id"),
        text.replace('"start_ns":', '"start_ns":-'),
        text.replace('"attributes":{', '"attributes":[{').replace('},"events"', '}],"events"'),
        text.strip().replace('"message":""', f'"message":"{"x" * LONGEST_LINE}"'),
        '{"a":' * 5000 + '"a"',
        json.dumps({**json.loads(text), "span_id": "f" * 16})[:-1],  # cut
    ]
    [path] = lines(tmp_path)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(hostile))
    assert files.of_task("a") == [good]


def test_of_a_trace_with_very_many_spans_the_newest_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_files, "MOST_SPANS", 10)
    files = SpanFiles(tmp_path)
    files.append([span(number, task_id="a", start=number) for number in range(1, 30)])
    assert [int(each.span_id, 16) for each in files.of_task("a")] == list(range(20, 30))


def test_texts_attributes_and_times_are_kept_within_bounds() -> None:
    document = {
        **json.loads(span(1).line()),
        "end_ns": 0,
        "name": "n" * 5000,
        "attributes": {f"a{number}": ["x" * 1100, 1] for number in range(80)},
        "events": [{"name": 7, "attributes": {}}] * 50,
    }
    found = Span.parse(json.dumps(document).encode())
    assert found.end_ns == found.start_ns
    assert len(found.name) == MOST_CHARACTERS
    assert len(found.attributes) == MOST_ATTRIBUTES
    assert max(map(len, found.attributes.values())) <= MOST_CHARACTERS
    assert len(found.events) == 16


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(json.loads(span(1, events=(Event(name="e"),)).line()))), JSON)
def test_a_field_with_anything_in_it_is_read_or_refused(name: str, value: Any) -> None:
    line = json.dumps({**json.loads(span(1).line()), name: value}).encode()
    try:
        found = Span.parse(line)
    except InvalidSpan:
        return
    assert Span.parse(found.line()) == found
