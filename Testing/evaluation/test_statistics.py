"""Statistics by known answers; those of published scores are in test_published_tables."""

import numpy as np
import pytest
from scipy import stats

from IoUSynthLib.evaluation.statistics import (
    correlation,
    holm,
    mann_whitney,
    patient_interval,
    ranked,
    retention,
    signed_rank,
    utility_ratio,
)

NAN = float("nan")


def test_five_pairs_by_hand():
    """All differences are positive, which of 32 equally likely signs happens in two: all positive or all negative."""
    found = signed_rank([1.1, 2.2, 3.3, 4.4, 5.5, NAN], [1, 2, 3, 4, 5, 6])
    assert found == pytest.approx({"n": 5, "difference": 0.3, "statistic": 0.0, "p": 2 / 32})


@pytest.mark.parametrize("pairs", [([1, 2, 3, 4], [0, 0, 0, 0]), ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]), ([], [])])
def test_what_cannot_be_tested_has_no_p(pairs):
    assert np.isnan(signed_rank(*pairs)["p"])


def test_holm_by_hand():
    """Times 4, 3, 2, 1 in rising order, never below the one before, and at most 1; what is NaN is not counted."""
    assert holm([0.04, NAN, 0.005, 0.6, 0.03]) == pytest.approx([0.09, NAN, 0.02, 0.6, 0.09], nan_ok=True)
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_groups_are_compared_on_patients():
    """Ten studies of one patient are one patient; the group of the other three is above it in all of three pairs."""
    values = [0.1] * 10 + [0.4, 0.6, 0.7, 0.8, NAN]
    patients = ["a"] * 10 + ["b", "b", "c", "d", "e"]
    found = mann_whitney(values, patients, {"a": "High", "b": "Low", "c": "Low", "d": "Low", "e": "High"})
    assert found["n"] == {"High": 1, "Low": 3}
    assert found["statistic"] == 0.0
    assert found["p"] == pytest.approx(stats.mannwhitneyu([0.1], [0.5, 0.7, 0.8]).pvalue)
    with pytest.raises(ValueError, match="two groups are compared, not 1: Low"):
        mann_whitney([1.0, 2.0], ["a", "b"], {"a": "Low", "b": "Low"})


def test_families_that_rise_on_falling_lines():
    """Within each of three families the figures fall on lines of slope -1; the families lie on one of slope 1."""
    first = [1.0, 2, 3, 11, 12, 13, 21, 22, 23]
    second = [3.0, 2, 1, 13, 12, 11, 23, 22, 21]
    families = [name for name in "abc" for _ in range(3)]
    assert correlation(first, second)["pearson"] > 0.95
    within = correlation(first, second, families)
    assert within["pearson"] == within["spearman"] == pytest.approx(-1)
    # By hand: the means taken away, -1 0 1 against 2 -1 -1 in each family.
    within = correlation(first, [2.0, -1, -1, 12, 9, 9, 22, 19, 19], families)
    assert within["pearson"] == pytest.approx(-9 / np.sqrt(6 * 18))
    t = within["pearson"] * np.sqrt(5 / (1 - within["pearson"] ** 2))
    assert within["pearson p"] == pytest.approx(2 * stats.t.cdf(t, 5))


def test_a_figure_that_never_differs_has_no_correlation():
    assert np.isnan(correlation([1.0, 2, 3, 4], [5.0] * 4)["pearson"])


def test_patients_are_drawn_not_studies():
    patients = [name for name in "abcdefgh" for _ in range(2)]
    constant = np.full(16, 0.3)
    assert patient_interval(lambda drawn: drawn @ constant / drawn.sum(1), patients) == pytest.approx((0.3, 0.3))
    values = np.repeat(np.random.default_rng(0).normal(size=8), 2)

    def mean(drawn):
        return drawn @ values / drawn.sum(1)

    by_patient = patient_interval(mean, patients)
    assert by_patient == patient_interval(mean, patients)
    assert by_patient != patient_interval(mean, patients, seed=1)
    # Studies of a patient that say the same make the interval no narrower than that of the patients alone.
    half = 1.96 * values[::2].std() / np.sqrt(8)
    assert np.diff(by_patient)[0] == pytest.approx(2 * half, rel=0.1)
    by_study = patient_interval(mean, [str(number) for number in range(16)])
    assert np.diff(by_study)[0] == pytest.approx(2 * half / np.sqrt(2), rel=0.1)


def test_ratio_and_retention_are_two_things():
    synthetic, real = [0.3, 0.4, 0.5, NAN], [0.6, 0.1, 0.5, 0.9]
    assert utility_ratio(synthetic, real) == pytest.approx((0.5 + 1) / 2)
    assert retention(synthetic, real) == pytest.approx(1.2 / 1.2)
    assert np.isnan(utility_ratio([0.3], [0.1]))
    assert np.isnan(retention([], []))


def test_less_error_is_better():
    means = {"a": 0.3, "b": 0.1, "c": 0.3}
    assert ranked(means, "MAE") == ["b", "a", "c"]
    assert ranked(means, "SSIM") == ["a", "c", "b"]
