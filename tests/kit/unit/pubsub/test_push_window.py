"""The pace of pushes: slow start, and backoff once a round."""

from __future__ import annotations

from poolhouse_pubsub.push.window import FIRST_SIZE, MAX_SIZE, Window


def test_each_success_lets_one_more_request_go_out() -> None:
    window = Window()
    for _ in range(5):
        window.succeeded()
    assert window.size == FIRST_SIZE + 5


def test_the_window_has_an_upper_and_a_lower_end() -> None:
    window = Window()
    for _ in range(2 * MAX_SIZE):
        window.succeeded()
    assert window.size == MAX_SIZE
    for _ in range(20):
        window.failed(window.round)
    assert window.size == 1


def test_failures_of_one_round_count_once() -> None:
    window = Window()
    sent_in = window.round
    assert [window.failed(sent_in) for _ in range(4)] == [0.1, 0.0, 0.0, 0.0]
    assert window.failed(window.round) == 0.2


def test_a_success_starts_the_backoff_anew_and_a_minute_is_its_end() -> None:
    window = Window()
    pauses = [window.failed(window.round) for _ in range(100)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == max(pauses) == 60.0
    window.succeeded()
    assert window.failed(window.round) == 0.1
