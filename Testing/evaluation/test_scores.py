"""Scores by phase, and their summary."""

import numpy as np
import pytest

from IoUSynthLib.cases.case import UNLABELLED, Case
from IoUSynthLib.evaluation.phase import AFTER, BEFORE, UNKNOWN, phase_of
from IoUSynthLib.evaluation.protocol import Protocol
from IoUSynthLib.evaluation.scores import by_phase, overlap_scores, summarize
from IoUSynthLib.volume import Volume


def test_residual_tumour_is_told_from_tumour_before_resection():
    row = by_phase({"phase": "after resection", "Dice/overlay/tumour": 0.3, "Dice/overlay/cavity": 0.9})
    assert row["Dice/overlay/residual tumour"] == 0.3
    assert np.isnan(row["Dice/overlay/tumour before resection"])
    row = by_phase({"phase": "before resection", "Dice/a/tumour": 0.6})
    assert row["Dice/a/tumour before resection"] == 0.6
    assert np.isnan(list(by_phase({"phase": "unknown phase", "Dice/a/tumour": 0.6}).values())).all()


@pytest.mark.parametrize(
    ("names", "phase"),
    [
        (("", "ReMIND-003-pre"), BEFORE), (("", "ReMIND-003-post"), AFTER), (("", "P1-US_preimri"), AFTER),
        (("", "US_pre_imri"), AFTER), (("", "US_post_dura"), BEFORE),
        (("", "P1-postdura"), BEFORE), (("", "P1-preop"), BEFORE), (("", "prepared1"), UNKNOWN),
        (("after resection", "P1-pre"), AFTER),  # what the index states counts more than a name
        ((), UNKNOWN),
    ],
)  # fmt: skip
def test_the_phase_of_a_patient(names, phase):
    assert phase_of({"simulated": False}, *names) == phase


def test_the_phase_that_the_ultrasound_or_the_simulated_lesion_tells():
    assert phase_of({"simulated": False, "source": {"ultrasound": "post/case2_us_before.nii.gz"}}, "P2") == BEFORE
    assert phase_of({"simulated": False, "source": {"ultrasound": "Case2-US-after.nii"}}, "Case2") == AFTER
    assert phase_of({"lesion": {"kind": "cavity with residual"}}) == AFTER
    assert phase_of({"lesion": {"kind": "low grade"}}) == BEFORE


def test_not_every_case_has_every_column():
    summary = summarize([{"case": "a", "x/y": 1.0}, {"case": "b", "x/z": 2.0}, {"case": "c", "x/y": 3.0}])
    assert (summary["x/y"]["mean"], summary["x/y"]["n"], summary["x/z"]["n"]) == (2.0, 2, 1)
    assert "sd" not in summary["x/y"]


def test_only_present_classes_are_averaged():
    """Half of a tumour and none of a cavity found; then a study without cavity, in which one is called."""
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[:, :4, :4], labels[:, 5:7, 5:7] = 1, 2
    found = np.where((np.arange(8) < 2) & (labels == 1), 1, 0)
    whole = Volume(np.ones_like(labels), (1, 1, 1))
    scores = overlap_scores(Case({}, whole.with_array(labels), whole, {}), {"a": found})
    assert scores["Dice/a/tumour"] == pytest.approx(2 / 3)
    assert scores["Dice/a/present classes"] == pytest.approx(1 / 3)
    assert scores["NSD/a/present classes"] == scores["NSD/a/tumour"] / 2
    assert scores["HD95/a/present classes"] == scores["HD95/a/tumour"] > 0
    alone = whole.with_array(np.where(labels == 1, 1, 0))
    scores = overlap_scores(Case({}, alone, whole, {}), {"a": np.where(found == 1, 1, 2)})
    assert scores["Dice/a/present classes"] == scores["Dice/a/tumour"] == pytest.approx(2 / 3)
    assert not np.isfinite(scores["Dice/a/cavity"])


def test_outlines_count_in_the_fan_or_on_the_crop():
    """A tumour of which half lies in the fan, all of the crop called tumour, and no cavity."""
    labels = np.zeros((4, 10, 10), np.uint8)
    labels[:, 2:8, 2:8] = 1
    fan = np.zeros_like(labels)
    fan[:, :, :5] = 1
    case = Case({}, Volume(labels, (1, 1, 2)), Volume(fan, (1, 1, 2)), {})
    everything = {"all": np.ones_like(labels)}
    assert overlap_scores(case, everything)["Dice/all/tumour"] == pytest.approx(2 * 18 / (18 + 50))
    crop = overlap_scores(case, everything, Protocol(region="crop"))
    assert crop["Dice/all/tumour"] == crop["Dice/all/lesion"] == pytest.approx(2 * 36 / (36 + 100))
    assert np.isnan(crop["false ml/all/lesion"])
    assert crop["false ml/all/cavity"] == 0.0
    assert overlap_scores(case, {"all": 0 * labels})["missed/all/tumour"] == 1.0
    unlabelled = Case({}, Volume(np.full_like(labels, UNLABELLED)), Volume(fan), {})
    assert overlap_scores(unlabelled, everything) == {}
