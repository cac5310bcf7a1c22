"""The pipeline from an upload to its thumbnails, on the level that `--backend` names."""

from __future__ import annotations

from poolhouse.pipeline.tasks.records import Status
from poolhouse.testing.pipeline import Pipeline

from tests.photos import decoded, photo
from worker.handlers.make_thumbnails import Thumbnails, make_thumbnails


def size_of(pipeline: Pipeline, name: str) -> tuple[int, int]:
    return decoded(pipeline.store.get(name)[0]).size


def test_an_uploaded_picture_gets_its_thumbnails(pipeline: Pipeline) -> None:
    [task] = pipeline.upload("pictures/trip/lake.jpg", photo(800, 600), "image/jpeg")
    pipeline.run_until_idle()
    made = Thumbnails.model_validate(task.result())
    assert [(copy.file, copy.width, copy.height) for copy in made.thumbnails] == [
        ("pictures/trip/lake.jpg/640.webp", 640, 480),
        ("pictures/trip/lake.jpg/160.webp", 160, 120),
    ]
    assert size_of(pipeline, "processed/pictures/trip/lake.jpg/160.webp") == (160, 120)


def test_files_elsewhere_start_nothing(pipeline: Pipeline) -> None:
    assert pipeline.upload("documents/lake.jpg", photo()) == ()


def test_a_picture_that_is_uploaded_again_gets_new_thumbnails(pipeline: Pipeline) -> None:
    for width in (800, 1600):
        pipeline.upload("pictures/lake.jpg", photo(width, 800))
        pipeline.run_until_idle()
    assert size_of(pipeline, "processed/pictures/lake.jpg/160.webp") == (160, 80)


def test_what_is_no_picture_becomes_a_dead_letter_at_once(pipeline: Pipeline) -> None:
    [task] = pipeline.upload("pictures/notes.txt", b"milk, bread")
    pipeline.run_until_idle()
    assert task.status is Status.FAILED
    assert len(task.attempts) == 1
    pipeline.assert_dead_lettered(task, reason="no picture that can be decoded")


def test_a_picture_that_was_deleted_meanwhile_is_given_up(pipeline: Pipeline) -> None:
    task = pipeline.submit(make_thumbnails, picture="pictures/gone.jpg", sides=[160])
    pipeline.run_until_idle()
    pipeline.assert_dead_lettered(task, reason="uploads/pictures/gone.jpg was deleted before its task ran")


def test_storage_that_fails_now_and_then_delays_a_thumbnail_and_no_more(pipeline: Pipeline) -> None:
    pipeline.faults.on("storage.write", error=503, times=2, contains="processed/")
    [task] = pipeline.upload("pictures/lake.jpg", photo())
    pipeline.run_until_idle()
    assert task.status is Status.SUCCEEDED
    assert len(task.attempts) == 3


def test_it_comes_to_the_same_wherever_a_worker_dies_or_a_call_fails(pipeline: Pipeline) -> None:
    for turn in pipeline.crash_points():
        with turn:
            pipeline.upload("pictures/lake.jpg", photo(80, 60))
