"""The objects that say how many calls instances have counted."""

from __future__ import annotations

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.limits.quota_store import QuotaStore
from poolhouse.pipeline.limits.reservation import Count
from poolhouse.pipeline.store import ABSENT
from poolhouse.testing.doubles import MemoryStore

DAY = "2026-03-01"


def test_each_instance_has_an_object_of_its_own_and_sees_the_others_in_one_listing() -> None:
    store = MemoryStore()
    quotas = QuotaStore(store)
    quotas.exchange(DAY, "key shop", "a", Count(1, 5), generation=ABSENT)
    quotas.exchange(DAY, "key shopping", "a", Count(100, 500), generation=ABSENT)
    quotas.exchange("2026-02-28", "key shop", "c", Count(200, 200), generation=ABSENT)
    before = store.calls
    counts = quotas.exchange(DAY, "key shop", "b", Count(2, 7), generation=ABSENT)
    assert store.calls - before == 2
    assert (counts.mine, counts.others) == (Count(2, 7), (Count(1, 5),))
    assert store.names(f"quotas/{DAY}/") == (
        f"quotas/{DAY}/key-shop/a",
        f"quotas/{DAY}/key-shop/b",
        f"quotas/{DAY}/key-shopping/a",
    )
    assert quotas.totals(DAY, ["key shop", "anonymous"]) == {"key shop": Count(3, 12), "anonymous": Count()}


def test_a_write_that_comes_late_replaces_no_later_one() -> None:
    quotas = QuotaStore(MemoryStore())
    first = quotas.exchange(DAY, "key shop", "a", Count(0, 5), generation=ABSENT)
    second = quotas.exchange(DAY, "key shop", "a", Count(5, 50), generation=first.generation)
    late = quotas.exchange(DAY, "key shop", "a", Count(0, 10), generation=first.generation)
    assert late == second
    assert late.mine == Count(5, 50)


def test_thousands_of_instances_are_listed_to_the_end() -> None:
    store = MemoryStore()
    quotas = QuotaStore(store)
    for number in range(1_001):
        store.put(names.quota(DAY, "anonymous", f"{number:04}"), b"{}", metadata={"used": "1", "reserved": "2"})
    assert quotas.totals(DAY, ["anonymous"]) == {"anonymous": Count(1_001, 2_002)}


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"used": "1"},
        {"used": "-5", "reserved": "1"},
        {"used": "٣", "reserved": "4"},
        {"used": "1" * 13, "reserved": "9"},
    ],
)
def test_what_is_no_count_counts_nothing(metadata: dict[str, str]) -> None:
    store = MemoryStore()
    store.put(names.quota(DAY, "anonymous", "x"), b"", metadata=metadata)
    assert QuotaStore(store).totals(DAY, ["anonymous"]) == {"anonymous": Count()}
    store.put(names.quota(DAY, "anonymous", "y"), b"", metadata={"used": "5", "reserved": "9" * 12})
    assert QuotaStore(store).totals(DAY, ["anonymous"]) == {"anonymous": Count(5, 10**12 - 1)}
