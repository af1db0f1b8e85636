"""The comparison of segmenters on the tiny models, which call the black hole a cavity."""

import numpy as np
import pytest

pytest.importorskip("torch")

from IoUSynthLib.cases.case import Case
from IoUSynthLib.evaluation.simulated import _overlap
from IoUSynthLib.evaluation.tables import trust_table
from IoUSynthLib.models.bundle import load
from IoUSynthLib.pipeline import synthesize
from IoUSynthLib.preprocessing import field_of_view
from IoUSynthLib.volume import Volume


@pytest.fixture
def scores(tiny_models, ultrasound):
    """Scores of a case whose black hole is the tumour, by the kind of its lesion."""
    volume = Volume(ultrasound.array, (0.8,) * 3, ultrasound.origin, ultrasound.direction)
    z, y, x = np.indices(volume.array.shape)
    hole = volume.with_array((np.hypot(np.hypot(x - 28, y - 44), z - 30) < 6).astype(np.uint8))
    fan = volume.with_array(np.ones_like(hole.array))  # larger than the field of view that the pipeline finds
    images = {"ioUS": volume, "T2w": volume, "FLAIR": volume}
    result = synthesize(volume, device="cpu")
    assert np.array_equal(result.valid.array > 0, field_of_view(volume.array))
    arms = {"same again": (load("lesion-3d"), False)}
    return lambda kind: _overlap(Case(images, hole, fan, {"lesion": {"kind": kind}}), result, arms)


def test_told_the_phase_a_hole_before_the_resection_is_tumour(scores):
    dice = scores("high grade")
    for name in ("overlay", "same again"):
        assert dice[f"Dice/{name}, told the phase/tumour"] > dice[f"Dice/{name}/tumour"] + 0.2
        assert dice[f"false ml/{name}, told the phase/cavity"] == 0 < dice[f"false ml/{name}/cavity"]


def test_after_the_resection_nothing_changes(scores):
    dice = scores("cavity with residual")
    for name in ("overlay", "same again"):
        assert dice[f"Dice/{name}, told the phase/tumour"] == dice[f"Dice/{name}/tumour"]


def test_an_arm_sees_what_the_pipeline_sees(scores):
    dice = scores("high grade")
    assert dice["Dice/same again/tumour"] == pytest.approx(dice["Dice/overlay/tumour"], abs=0.01)
    assert dice["false ml/same again/cavity"] == pytest.approx(dice["false ml/overlay/cavity"], rel=0.05)


def test_an_outline_of_nothing_counts_as_a_dice_of_0():
    """Two doubtful outlines, one of them of nothing, and three others; one case has no outline."""
    pairs = [(0.2, 0.1), (0.3, float("nan")), (0.6, 0.5), (0.7, 0.25), (0.9, 0.9), (float("nan"), 0.0)]
    rows = [{"expected Dice/overlay/tumour": expected, "Dice/overlay/tumour": true} for expected, true in pairs]
    line = trust_table(rows).splitlines()[-1]
    assert line == "| tumour, overlay | 5 | 0.80 | 0.54 | 0.35 | 2 | 0.05 | 3 | 0.55 | 1 |"
