"""What a handler meant by what it raised."""

from __future__ import annotations

from poolhouse.worker.errors import Interrupted, Reject, Retry, TaskCancelled, meaning_of


def test_code_that_catches_exceptions_does_not_catch_an_interruption() -> None:
    assert not issubclass(Interrupted, Exception)


def test_an_interruption_is_found_in_groups_and_behind_other_errors() -> None:
    told = TaskCancelled("now")
    group = BaseExceptionGroup("some", [ValueError("other"), BaseExceptionGroup("inner", [told])])
    assert meaning_of(group) is told
    behind = RuntimeError("while tidying up")
    behind.__context__ = told
    assert meaning_of(behind) is told
    circle = ValueError("circle")
    circle.__cause__ = KeyError()
    circle.__cause__.__cause__ = circle
    assert meaning_of(circle) is circle


def test_a_refusal_counts_where_it_is_all_that_a_group_holds() -> None:
    refusal, later = Reject("no"), Retry("later", after_s=3)
    assert meaning_of(ExceptionGroup("one", [ExceptionGroup("inner", [refusal])])) is refusal
    assert meaning_of(ExceptionGroup("one", [later])) is later
    both = ExceptionGroup("two", [refusal, ValueError()])
    assert meaning_of(both) is both
    assert meaning_of(refusal) is refusal
