"""Scores by phase, and their summary."""

import numpy as np

from IoUSynthLib.evaluation.scores import by_phase


def test_residual_tumour_is_told_from_tumour_before_resection():
    row = by_phase({"lesion": "cavity with residual", "Dice/overlay/tumour": 0.3, "Dice/overlay/cavity": 0.9})
    assert row["Dice/overlay/residual tumour"] == 0.3
    assert np.isnan(row["Dice/overlay/tumour before resection"])
    assert by_phase({"lesion": "low grade", "Dice/a/tumour": 0.6})["Dice/a/tumour before resection"] == 0.6
