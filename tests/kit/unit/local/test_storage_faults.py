"""Which requests a fault of the storage proxy strikes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from poolhouse.local.storage.proxy import Faults


def _faults(seed: int = 1) -> Faults:
    return Faults(random.Random(seed))


def test_the_same_seed_and_requests_meet_the_same_faults() -> None:
    def fates(seed: int) -> list[Any]:
        faults = _faults(seed)
        faults.add("status", probability=0.3)
        faults.add("slow", probability=0.3, seconds=2)
        drawn = [faults.fate("GET", f"/{number}") for number in range(50)]
        return [(fate.delay_s, fate.fault and fate.fault.kind) for fate in drawn]

    assert fates(1) == fates(1)
    assert fates(1) != fates(2)


def test_a_request_may_be_slow_and_meet_one_other_fault() -> None:
    faults = _faults()
    first = faults.add("reset")
    faults.add("status")
    faults.add("slow", seconds=3)
    fate = faults.fate("GET", "/")
    assert (fate.delay_s, fate.fault) == (3, first)
    assert [fault.happened for fault in faults.all()] == [1, 0, 1]


def test_a_fault_strikes_only_what_it_concerns_and_so_often_as_it_may() -> None:
    faults = _faults()
    fault = faults.add("reset", methods=("POST",), contains="/upload/", count=2)
    requests = [("GET", "/upload/x"), ("POST", "/b/x"), *[("POST", "/upload/x")] * 3]
    assert [faults.fate(*request).fault for request in requests] == [None, None, fault, fault, None]


def test_faults_are_taken_away_one_by_one_or_all() -> None:
    faults = _faults()
    first, second = faults.add("reset"), faults.add("status")
    faults.remove(first)
    faults.remove(first)
    assert faults.fate("GET", "/").fault is second
    faults.clear()
    assert faults.fate("GET", "/").fault is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "fire"}, "no such fault: 'fire'; there are status, reset"),
        ({"kind": "slow", "seconds": -1}, "0 or more, not -1"),
        ({"kind": "reset", "probability": 2}, "0 to 1, not 2"),
        ({"kind": "reset", "count": -1}, "0 or more, not -1"),
        ({"kind": "status", "status": 200}, "400 to 599, not 200"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _faults().add(**options)
