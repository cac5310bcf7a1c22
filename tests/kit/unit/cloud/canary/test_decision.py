"""When a new release goes back."""

from __future__ import annotations

import pytest

from poolhouse.cloud.canary.decision import Verdict, conclude, judge, p_value
from tests.kit.unit.cloud.canary.scene import outcomes


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
        assert p_value(outcomes(4, 4), outcomes(0, 4)) == pytest.approx(1 / 70)
        assert p_value(outcomes(0, 4), outcomes(4, 4)) == 1

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
